"""``llm-slo init``: look around, write a configuration, and print the wiring of what stands around."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click

from collector.config import load_config
from collector.errors import ConfigError
from collector.session import leave
from collector.setup.probe import LITELLM, PROMETHEUS, Surroundings, look_around
from collector.setup.text import config_text
from collector.setup.wiring import Program, wiring


@click.command()
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("llm-slo.yaml"), show_default=True, help="The file to write."
)
@click.option("--target", "targets", multiple=True, metavar="URL", help="Base URL of an engine; any number of times.")
@click.option("--prometheus", default=PROMETHEUS, show_default=True, metavar="URL", help="A Prometheus that scrapes engines.")
@click.option("--litellm", default=LITELLM, show_default=True, metavar="URL", help="A LiteLLM proxy.")
@click.option("--environment", default="production", show_default=True, help="Environment of everything here.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("--json", "as_json", is_flag=True, help="What was found, as one JSON object on standard output.")
@click.option(
    "--print",
    "program",
    type=click.Choice([one.value for one in Program]),
    help="Print the wiring of one program, and do nothing.",
)
def init(
    output: Path,
    targets: tuple[str, ...],
    prometheus: str,
    litellm: str,
    environment: str,
    force: bool,
    as_json: bool,
    program: str | None,
) -> None:
    """Look for engines, LiteLLM, Prometheus and Kubernetes, and write a configuration that `llm-slo up` takes as it is.

    \b
    Example:
      llm-slo init --target http://gpu-1:8000
      llm-slo init --print litellm
    """
    if program is not None:
        click.echo(_wiring(Program(program), output), nl=False)
        return
    if output.exists() and not force:
        leave(f"{output} is there already: --force overwrites it", 2)
    bad = next((url for url in targets if not url.startswith(("http://", "https://"))), None)
    if bad is not None:
        leave(f"--target {bad}: expected http://HOST:PORT", 2)
    click.echo("looking for engines, LiteLLM, Prometheus and Kubernetes", err=True)
    found = asyncio.run(look_around(targets, prometheus=prometheus, litellm=litellm))
    missing = [url for url in targets if url.rstrip("/") not in {one.url.rstrip("/") for one in found.engines}]
    output.write_text(config_text(found, environment=environment))
    if as_json:
        click.echo(json.dumps(_object(found, output, missing)))
    for line in _said(found, output, missing):
        click.echo(line, err=True)
    sys.exit(1 if missing else 0)


def _wiring(program: Program, path: Path) -> str:
    """With the addresses of the configuration, where there is one."""
    try:
        config = load_config(path if path.exists() else None)
    except ConfigError as error:
        leave(str(error), 2)
    listen, named = config.listen, {}
    if config.targets:
        named["replica"] = config.targets[0].replica_name
        if config.targets[0].model is not None:
            named["model"] = config.targets[0].model
    return wiring(program, grpc=listen.otlp_grpc, http=listen.otlp_http, web=listen.web, alerter=listen.alerter, **named)


def _object(found: Surroundings, output: Path, missing: list[str]) -> dict[str, object]:
    engines = [{"url": one.url, "engine": one.engine, "version": one.version, "models": one.models} for one in found.engines]
    return {
        "config": str(output),
        "engines": engines,
        "missing": missing,
        "prometheus": found.prometheus,
        "litellm": found.litellm,
        "kubernetes": found.kubernetes,
    }


def _said(found: Surroundings, output: Path, missing: list[str]) -> list[str]:
    lines = [f"found {one.engine} at {one.url}: {', '.join(one.models) or 'no model yet'}" for one in found.engines]
    lines += [f"nothing that is known answers at {url}: it is not in the file" for url in missing]
    if not found.engines:
        lines.append("found no engine: add it under targets")
    if found.litellm:
        lines.append(f"found LiteLLM at {found.litellm}: llm-slo init --print litellm")
    if found.prometheus:
        lines.append(f"found Prometheus at {found.prometheus}: llm-slo init --print prometheus")
    return [*lines, f"wrote {output}; next: llm-slo up --config {output}"]
