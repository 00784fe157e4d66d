"""The live view: what the daemon makes of the last minute, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.store.status import AlertStatus, SloStatus
from collector.event import EventKind
from collector.reads.live import EngineDeath, ReplicaNow, Traffic, Undelivered
from collector.request import Outcome
from collector.sample import Health
from demo.vitals import Vitals

COLOURS = {
    Outcome.OK: "green",
    Outcome.VALIDATION: "cyan",
    Outcome.AUTH: "cyan",
    Outcome.RATE_LIMIT: "cyan",
    Outcome.CANCELLED: "bright_black",
    Outcome.CONTENT_FILTER: "cyan",
    Outcome.UNKNOWN: "bright_black",
}
"""Colour of an outcome; what is our fault is red."""


class Picture(NamedTuple):
    """What Postgres tells."""

    traffic: Traffic
    replicas: Sequence[ReplicaNow]
    slos: Sequence[SloStatus]
    alerts: Sequence[AlertStatus]
    deaths: Sequence[EngineDeath]
    undelivered: Sequence[Undelivered]


class View(NamedTuple):
    """Everything that one frame shows."""

    at: datetime
    vitals: Vitals
    picture: Picture | None
    """None while Postgres is away."""


def render(view: View) -> RenderableType:
    """One frame."""
    parts: list[RenderableType] = [_headline(view)]
    if view.picture is not None:
        picture = view.picture
        parts += [_traffic(picture.traffic), _replicas(picture.replicas, view.at), _slos(picture.slos)]
        parts += [_death(death, view.at) for death in picture.deaths]
        parts += _alerts(picture.alerts, view.at)
    return Group(*parts, *_trouble(view))


def _headline(view: View) -> Text:
    text = Text(f"llm-slo  {view.at:%H:%M:%S} UTC  ", style="bold")
    if view.picture is None:
        return text.append("Postgres is away: no rows are read, no alert is evaluated", style="bold red")
    firing = [alert for alert in view.picture.alerts if alert.state in ("firing", "resolving")]
    text.append(f"last {view.picture.traffic.seconds:.0f} s   ")
    return text.append(f"{len(firing)} alerts firing", style="bold red") if firing else text.append("no alerts", style="green")


def _trouble(view: View) -> list[Text]:
    """What is out of the ordinary with the daemon itself; nothing when all is well."""
    lines = [*_collector(view), *_alerter(view)]
    for sink in view.picture.undelivered if view.picture is not None else ():
        error = f": {sink.last_error}" if sink.last_error else ""
        waited = _ago(view.at, sink.since)
        lines.append(f"sink {sink.sink}: {sink.count} undelivered for {waited}, after {sink.attempts} attempts{error}")
    return [Text(line, style="yellow") for line in lines]


def _collector(view: View) -> Iterator[str]:
    collector = view.vitals.collector
    if collector is None:
        yield "collector: does not answer"
        return
    if collector.pending:
        doing = "waits for Postgres" if view.picture is None else "is replayed"
        yield (
            f"spool: {collector.pending} spans, {collector.spool_bytes / 1000:.0f} kB, the oldest for "
            f"{collector.spool_oldest_seconds:.0f} s; it {doing}"
        )
    if collector.refused:
        yield f"collector: {collector.refused} spans were refused since its start, and their senders told to come again"
    if collector.missing:
        yield f"collector: {collector.missing} acknowledged spans are missing"


def _alerter(view: View) -> Iterator[str]:
    alerter = view.vitals.alerter
    if alerter is None:
        yield "alerter: does not answer"
        return
    if alerter.blind:
        yield "alerter: pages that monitoring is blind, without Postgres"
    if not alerter.leads and view.picture is not None:
        yield "alerter: does not lead yet"
    if view.picture is None:
        told = ", ".join(f"{sink} {result} {count}" for (sink, result), count in sorted(alerter.attempts.items()))
        yield f"alerter: attempts to tell people since its start: {told or 'none'}"


def _death(death: EngineDeath, at: datetime) -> Text:
    what = "died" if death.kind is EventKind.DEATH else "met a memory fault"
    return Text(f"ENGINE {death.replica} {what} {_ago(at, death.at)} ago: {death.cause}, by its log", style="red")


def _traffic(traffic: Traffic) -> RenderableType:
    table = _table("req/s", "in tok/s", "out tok/s", "cache hits", "TTFT p50", "p99", "latency p50", "p99")
    ratio = traffic.cache_hit_ratio
    table.add_row(
        f"{traffic.requests / traffic.seconds:.1f}",
        f"{traffic.input_tokens / traffic.seconds:.0f}",
        f"{traffic.output_tokens / traffic.seconds:.0f}",
        "–" if ratio is None else f"{ratio:.0%}",
        _milliseconds(traffic.ttft_p50_seconds),
        _milliseconds(traffic.ttft_p99_seconds),
        _milliseconds(traffic.latency_p50_seconds),
        _milliseconds(traffic.latency_p99_seconds),
    )
    outcomes = Text("outcomes  ", style="bright_black")
    for outcome, count in traffic.outcomes.items():
        outcomes.append(f"{outcome.name.lower()} {count}  ", style=COLOURS.get(outcome, "red"))
    return Group(table, outcomes)


def _replicas(replicas: Iterable[ReplicaNow], at: datetime) -> Table:
    table = _table("replica", "model", "health", "since", "running", "waiting")
    for one in replicas:
        table.add_row(
            one.replica,
            one.model,
            Text(one.health.name.lower(), style="green" if one.health is Health.READY else "bold red"),
            _ago(at, one.health_since),
            _count(one.requests_running),
            _count(one.requests_waiting),
        )
    return table


def _slos(slos: Iterable[SloStatus]) -> Table:
    table = _table("SLO", "stream", "target", "burn 5m", "burn 1h", "budget left", "state")
    for slo in slos:
        table.add_row(
            slo.slo,
            " ".join(f"{key}={value}" for key, value in slo.labels.items()),
            f"{slo.target:.2%}",
            f"{slo.burn_5m:.1f}×",
            f"{slo.burn_1h:.1f}×",
            Text(f"{slo.budget_left:.0%}", style="green" if slo.budget_left > 0 else "red"),
            Text(slo.state, style="bold red" if slo.state == "firing" else ""),
        )
    return table


def _alerts(alerts: Iterable[AlertStatus], at: datetime) -> list[RenderableType]:
    return [
        Text(
            f"{alert.state.upper()} {alert.labels.get('severity', '')} {_ago(at, alert.starts_at)}  "
            f"{alert.annotations.get('summary', alert.name)}",
            style="bold red" if alert.state in ("firing", "resolving") else "bright_black",
        )
        for alert in alerts
    ]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.0f} ms"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _ago(now: datetime, then: datetime | None) -> str:
    if then is None:
        return "–"
    seconds = max(0, int((now - then).total_seconds()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
