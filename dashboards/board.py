"""All boards: built to files, with what Grafana needs to load them, and compared with files that were built before."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from alerts.slo import BUILT_IN, Slo, parse_slos
from collector.request import ObservedBy
from dashboards.on_call import on_call
from dashboards.panels import DATASOURCE_TYPE, DATASOURCE_UID, Board, to_json

BOARDS: Sequence[Callable[[Sequence[Slo], ObservedBy], Board]] = (on_call,)
"""Every board, made from the SLOs in force and the observer whose rows reports use."""

_DATASOURCE = f"""\
# Grafana's connection to llm-slo's Postgres. Grafana fills in the variables from its own environment:
#   LLM_SLO_POSTGRES            host:port
#   LLM_SLO_POSTGRES_DATABASE   database
#   LLM_SLO_POSTGRES_USER       a role that may only read
#   LLM_SLO_POSTGRES_PASSWORD   its password
apiVersion: 1
datasources:
  - name: llm-slo
    uid: {DATASOURCE_UID}
    type: {DATASOURCE_TYPE}
    access: proxy
    url: ${{LLM_SLO_POSTGRES}}
    user: ${{LLM_SLO_POSTGRES_USER}}
    editable: false
    jsonData:
      database: ${{LLM_SLO_POSTGRES_DATABASE}}
      # Right on loopback only; elsewhere verify-full, with the certificate that it asks for.
      sslmode: disable
      # The oldest server that llm-slo runs on.
      postgresVersion: 1400
      maxOpenConns: 8
      connMaxLifetime: 14400
      timeInterval: 1m
    secureJsonData:
      password: ${{LLM_SLO_POSTGRES_PASSWORD}}
"""

_PROVIDER = """\
# Boards from files. Mount the directory that `llm-slo boards build --out DIR` wrote at /etc/grafana/llm-slo, and its
# provisioning/ at /etc/grafana/provisioning. Boards come from code: what is changed in Grafana's pages is not kept.
apiVersion: 1
providers:
  - name: llm-slo
    folder: LLM serving
    type: file
    disableDeletion: true
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: /etc/grafana/llm-slo/boards
"""

PROVISIONING: Mapping[Path, str] = {
    Path("provisioning/datasources/llm-slo.yaml"): _DATASOURCE,
    Path("provisioning/dashboards/llm-slo.yaml"): _PROVIDER,
}
"""Grafana's provisioning files, by their path under the directory that is built."""


def build(out: Path, slos: Sequence[Slo] | None = None, observed_by: ObservedBy = ObservedBy.GATEWAY) -> list[Path]:
    """Write one JSON file per board and the provisioning files under ``out``; the same input gives the same bytes.

    ``slos`` set thresholds and name budgets; the built-in ones where not given. ``observed_by`` is chosen when a board opens.

    :returns: the files written, in the order in which they were
    :raises OSError: where ``out`` cannot be written
    """
    files = _files(slos, observed_by)
    for path, text in files.items():
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return [out / path for path in files]


def check(golden: Path, slos: Sequence[Slo] | None = None, observed_by: ObservedBy = ObservedBy.GATEWAY) -> list[str]:
    """Compare what would be built with the files under ``golden``.

    :returns: one text per file that is missing, differs (a unified diff) or belongs to no board; empty where all is equal
    """
    files = _files(slos, observed_by)
    differences = []
    for path, text in files.items():
        if not (golden / path).is_file():
            differences.append(f"{path}: missing")
            continue
        found = (golden / path).read_text(encoding="utf-8")
        if found != text:
            lines = difflib.unified_diff(found.splitlines(), text.splitlines(), f"{path}", f"{path} as built", lineterm="", n=2)
            differences.append("\n".join(lines))
    strays = sorted(path.relative_to(golden) for path in golden.rglob("*") if path.is_file())
    differences += [f"{path}: belongs to no board" for path in strays if path not in files]
    return differences


def _files(slos: Sequence[Slo] | None, observed_by: ObservedBy) -> dict[Path, str]:
    in_force = parse_slos(BUILT_IN.read_text(encoding="utf-8"), BUILT_IN.name, observed_by) if slos is None else slos
    boards = [make(in_force, observed_by) for make in BOARDS]
    return {Path("boards") / f"{board.uid}.json": to_json(board) for board in boards} | dict(PROVISIONING)
