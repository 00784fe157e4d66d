"""Frames of the live view as they are in a terminal, by the lines that matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from rich.console import Console

from collector.event import EventKind
from collector.exposition import parse
from collector.reads.live import EngineDeath, Traffic, Undelivered
from collector.request import Outcome
from demo.live import Picture, View, render
from demo.vitals import AlerterVitals, Vitals, collector_vitals
from tests.demo.test_vitals import COLLECTOR

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TRAFFIC = Traffic(
    seconds=60,
    requests=120,
    outcomes={Outcome.OK: 110, Outcome.OOM: 10},
    input_tokens=6000,
    cached_tokens=300,
    cacheable_tokens=600,
    output_tokens=1200,
    ttft_p50_seconds=0.05,
    ttft_p99_seconds=None,
    latency_p50_seconds=0.5,
    latency_p99_seconds=2.0,
)
IDLE = collector_vitals(parse("process_start_time_seconds 1.7e+09\nllm_slo_spans_received_total 0"))
LEADER = AlerterVitals(leads=True, blind=False, attempts={})


def shown(vitals: Vitals, picture: Picture | None) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(render(View(NOW, vitals, picture)))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def picture(**fields: Any) -> Picture:
    nothing: dict[str, Any] = {"replicas": (), "slos": (), "alerts": (), "deaths": (), "undelivered": ()}
    return Picture(**({"traffic": TRAFFIC} | nothing | fields))


def test_when_all_is_well_nothing_is_said_of_the_daemon_itself() -> None:
    frame = shown(Vitals(IDLE, LEADER), picture())
    assert "no alerts" in frame
    assert "ok 110  oom 10" in frame
    assert [] == [word for word in ("spool", "sink", "alerter:", "collector:", "ENGINE") if word in frame]


def test_while_postgres_is_away_it_shows_what_waits_and_who_was_told() -> None:
    alerter = AlerterVitals(leads=False, blind=True, attempts={("pager", "delivered"): 3})
    frame = shown(Vitals(collector_vitals(parse(COLLECTOR)), alerter), None)
    assert "Postgres is away" in frame
    assert "spool: 20 spans, 2 kB, the oldest for 12 s; it waits for Postgres" in frame
    assert "7 spans were refused" in frame
    assert "monitoring is blind" in frame
    assert "pager delivered 3" in frame


def test_replay_is_shown_as_such() -> None:
    assert "it is replayed" in shown(Vitals(collector_vitals(parse(COLLECTOR)), LEADER), picture())


def test_processes_that_do_not_answer_are_named() -> None:
    frame = shown(Vitals(None, None), None)
    assert "collector: does not answer" in frame
    assert "alerter: does not answer" in frame


def test_death_is_shown_with_its_cause() -> None:
    deaths = [EngineDeath(at=NOW - timedelta(seconds=9), replica="vllm-0", kind=EventKind.DEATH, cause="oom")]
    assert "ENGINE vllm-0 died 9 s ago: oom" in shown(Vitals(IDLE, LEADER), picture(deaths=deaths))


def test_sink_that_takes_nothing_is_shown_with_its_last_error() -> None:
    waiting = [Undelivered(sink="pager", count=2, since=NOW - timedelta(seconds=30), attempts=5, last_error="HTTP 503")]
    frame = shown(Vitals(IDLE, LEADER), picture(undelivered=waiting))
    assert "sink pager: 2 undelivered for 30 s, after 5 attempts: HTTP 503" in frame
