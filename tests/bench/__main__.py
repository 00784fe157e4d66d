"""Measure, print and write down: ``make bench``. MEMORY_SECONDS=600 for the long form."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from collector import migration, postgres
from collector.garbage import collect_rarely
from tests.bench import decoding, engine, path
from tests.bench.measure import Ratio

RESULTS = Path(__file__).parents[2] / "bench" / "results.json"
MEMORY_SECONDS = float(os.environ.get("MEMORY_SECONDS", "60"))


def main() -> None:
    """Everything in one run."""
    console = Console()
    collect_rarely()
    ratios = [*decoding.compare(), *engine.compare()]
    fleet = asyncio.run(engine.scrape_fleet())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, postgres.start(Path(directory)) as server:
        migration.upgrade(server.conninfo)
        postmaster = int(next(Path(directory).rglob("postmaster.pid")).read_text().split()[0])
        ratios += asyncio.run(path.compare(server.conninfo, postmaster, Path(directory) / "spool"))
        memory = asyncio.run(path.hold(server.conninfo, Path(directory) / "spool", MEMORY_SECONDS))
        with psycopg.connect(server.conninfo) as connection:
            version = connection.info.parameter_status("server_version")
    _print(console, ratios)
    console.print(
        f"{fleet.engines} engines, gauges every {engine.ROUND_SECONDS} s: {fleet.milliseconds:.2f} ms of CPU a target and "
        f"round, {fleet.cores:.2f} cores, without Postgres"
    )
    console.print(
        f"memory after {memory.seconds:.0f} s and {memory.spans:,} spans: {memory.ended / 2**20:.0f} MiB, "
        f"{(memory.ended - memory.began) / 2**20:+.1f} MiB since the first third"
    )
    results = {
        "measured_at": datetime.now(UTC).date().isoformat(),
        "machine": {
            "cores": os.cpu_count(),
            "shared": "CPU time is measured, not time on the clock",
            "python": platform.python_version(),
            "postgres": version,
        },
        "ratios": [_document(one) for one in ratios],
        "fleet": fleet._asdict(),
        "memory": memory._asdict(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def _document(one: Ratio) -> dict[str, Any]:
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in one._asdict().items()}


def _print(console: Console, ratios: list[Ratio]) -> None:
    table = Table("what", "CPU µs", "against", "CPU µs", "ratio", "from", "to", title="Medians of repetitions made in turns")
    for one in ratios:
        table.add_row(
            *(one.name, f"{one.ours_us:.1f}", one.than, f"{one.its_us:.1f}"),
            *(f"{value:.1f}" for value in (one.median, one.least, one.most)),
        )
    console.print(table)


if __name__ == "__main__":
    main()
