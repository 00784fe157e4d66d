"""The watch over the streams of all SLOs: exact counts in memory, and what they say of each alert. No socket, no clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

from alerts.alert import Alert, Condition, Observation, Severity
from alerts.burn import FASTEST, HOLD_SECONDS, Counts, Tally, breach, onset, recovered, spent
from alerts.slo import Slo
from alerts.symptoms import Harm, Text, clock
from collector.config import Config
from collector.objective import Sli

HARM_SECONDS = 300
"""Window in which failures say that users are hurt; one of ``burn.WINDOWS`` [s]."""


class Pulse(NamedTuple):
    """Verdicts on the requests of one stream that ended in one second (whole seconds since 1970)."""

    stream: int
    second: int
    good: int
    bad: int


class Stream(NamedTuple):
    """One series of verdicts. ``labels`` are its group-by values."""

    id: int
    objective_id: str
    labels: Mapping[str, str]


def parse_labels(text: str) -> dict[str, str]:
    """A stream's labels as the database holds them: canonical JSON."""
    return {str(name): str(value) for name, value in json.loads(text).items()}


class Series(NamedTuple):
    """One SLO on one stream: what one alert is about."""

    slo: Slo
    stream: Stream
    labels: Mapping[str, str]
    """Identity of its alert."""
    fingerprint: str

    @property
    def model(self) -> str | None:
        """The model that it is about, where it is about one."""
        return self.slo.model_of(self.stream.labels)


class Watch:
    """The streams, their counts over the last 6 h, and what the period has spent."""

    def __init__(self, slos: Sequence[Slo], config: Config, now: int) -> None:
        self._slos = slos
        self._config = config
        self._now = now
        self._counts: dict[int, Counts] = {}
        self.series: tuple[Series, ...] = ()
        self._periods = sorted({slo.period_days for slo in slos})
        self._spent: dict[tuple[int, int], Tally] = {}

    def set_streams(self, streams: Iterable[Stream]) -> None:
        """Take the streams that there are now. Counts of those that were known stay."""
        series = []
        for stream in streams:
            self._counts.setdefault(stream.id, Counts(self._now))
            for slo in self._slos:
                if slo.objective.id == stream.objective_id:
                    labels = identity(slo, stream, self._config)
                    series.append(Series(slo, stream, labels, Alert(labels=labels, since=_time(0)).fingerprint))
        self.series = tuple(series)

    def knows(self, stream: int) -> bool:
        """Whether a stream belongs to one of the SLOs."""
        return stream in self._counts

    def set_spent(self, period_days: int, verdicts: Mapping[int, Tally]) -> None:
        """Take the verdicts of a whole period, by stream, for those counted so far; what is counted from now on is added."""
        for stream in self._counts:
            self._spent[stream, period_days] = verdicts.get(stream, Tally(0, 0))

    def count(self, pulses: Iterable[Pulse]) -> None:
        """Count verdicts, in the windows and in the period."""
        for pulse in pulses:
            counts = self._counts.get(pulse.stream)
            if counts is None:
                continue
            counts.add(pulse.second, pulse.good, pulse.bad)
            for period_days in self._periods:
                tally = self._spent.get((pulse.stream, period_days), Tally(0, 0))
                self._spent[pulse.stream, period_days] = Tally(tally.good + pulse.good, tally.bad + pulse.bad)

    def advance(self, now: int) -> None:
        """Let time pass for every stream."""
        self._now = max(self._now, now)
        for counts in self._counts.values():
            counts.advance(now)

    def observe(self, series: Series, alert: Alert | None, *, blind: bool) -> Observation:
        """What the counts say of one alert. Without a collector that lives they prove a breach, and nothing else."""
        severity = Severity(series.slo.severity)
        condition, reason = self._condition(series, alert)
        if blind and condition is not Condition.BREACH:
            condition, reason = Condition.NO_DATA, "no collector lives"
        return Observation(condition, reason, severity, HOLD_SECONDS)

    def _condition(self, series: Series, alert: Alert | None) -> tuple[Condition, str]:
        slo, counts = series.slo, self._counts[series.stream.id]
        active = alert is not None and alert.active
        forgiven = None if alert is None or active or alert.ends_at is None else int(alert.ends_at.timestamp())
        found = breach(counts, slo.budget, slo.min_failures, forgiven=forgiven)
        if active:
            factor = found.rule.factor if found else FASTEST
            over = recovered(counts, slo.budget, factor)
            if over:
                return Condition.CLEAR, f"requests pass again: a burn of {float(factor):g} is ruled out at 100 to 1"
            if over is None:
                return Condition.NO_DATA, "too few requests to tell"
        if found is None:
            if active:
                return Condition.UNSURE, f"no rule burns any more, and a burn of {float(FASTEST):g} is not ruled out yet"
            return Condition.CLEAR, "no rule burns"
        rule = found.rule
        said = f"burn at least {float(rule.factor):g} over {_span(rule.long_seconds)} and {_span(rule.short_seconds)}"
        reason = f"{said}, {found.failures} {_failed(slo)} in {_span(rule.long_seconds)}"
        if found.confirmed:
            return Condition.BREACH, reason
        return (Condition.UNSURE if active else Condition.SUSPECT), f"{reason}; too few or too close together to page"

    def text(self, series: Series, now: datetime) -> Text:
        """What a page says of a series that burns."""
        slo, counts = series.slo, self._counts[series.stream.id]
        burn = self.burns(series)
        recent = counts.window(HARM_SECONDS)
        began = onset(counts, slo.budget)
        since = now if began is None else _time(began)
        what = series.model or ", ".join(series.stream.labels.values()) or "all requests"
        others = ", ".join(value for name, value in series.stream.labels.items() if name != "model")
        where = f" ({others})" if others and series.model else ""
        failed = _failed(slo)
        facts = (
            f"{slo.name} of {what}{where}: target {slo.target_text}. {slo.description}".strip(),
            f"{failed.capitalize()} in the last 5 min: {recent.bad} of {recent.good + recent.bad} requests.",
            f"Burn {burn['burn_5m']:.1f} over 5 min, {burn['burn_1h']:.1f} over 1 h, {burn['burn_6h']:.1f} over 6 h.",
            f"Error budget of {slo.period_days} days: {self.spent(series):.1%} spent.",
        )
        rate = f"{recent.bad} of {recent.good + recent.bad} {failed} in 5 min"
        summary = f"{what}{where}: {slo.name} {slo.target_text}, {rate}, burn {burn['burn_1h']:.0f} (1h), since {clock(since)}"
        return Text(summary, facts, since)

    def burns(self, series: Series) -> dict[str, float]:
        """Burn over 5 minutes, 30 minutes, 1 hour and 6 hours, by the name of the annotation."""
        counts = self._counts[series.stream.id]
        names = {"burn_5m": 300, "burn_30m": 1800, "burn_1h": 3600, "burn_6h": 21_600}
        return {name: counts.window(seconds).burn(series.slo.budget) for name, seconds in names.items()}

    def spent(self, series: Series) -> float:
        """Share of the period's budget that is gone; above 1 when it is overdrawn."""
        return spent(self._spent.get((series.stream.id, series.slo.period_days), Tally(0, 0)), series.slo.budget)

    def harm(self) -> dict[str, Harm]:
        """By model: the last 5 minutes as the availability SLOs see them. Users are hurt when enough requests failed, and
        when more failed than the objective allows: a large fleet has some failures at any time."""
        found: dict[str, Harm] = {}
        for slo in self._slos:
            if slo.objective.sli is not Sli.AVAILABILITY:
                continue
            for model, tally in self._by_model(slo):
                hurt = tally.bad >= self._config.page_failures(model) and tally.burns(Fraction(1), slo.budget)
                known = found.get(model)
                if known is None or (hurt, tally.bad) > (known.hurt, known.tally.bad):
                    found[model] = Harm(tally, hurt)
        return found

    def _by_model(self, slo: Slo) -> Iterator[tuple[str, Tally]]:
        sums: dict[str, Tally] = {}
        for series in self.series:
            if series.slo is slo and series.model is not None:
                sum_, part = sums.get(series.model, Tally(0, 0)), self._counts[series.stream.id].window(HARM_SECONDS)
                sums[series.model] = Tally(sum_.good + part.good, sum_.bad + part.bad)
        yield from sums.items()


def identity(slo: Slo, stream: Stream, config: Config) -> dict[str, str]:
    """The labels that make the alert of one SLO on one stream."""
    return {
        "alertname": "SLOBurn",
        "slo": slo.name,
        "sli": slo.objective.sli.value,
        "cluster": config.cluster,
        "environment": config.environment,
        **stream.labels,
    }


def _failed(slo: Slo) -> str:
    return "failed" if slo.objective.sli is Sli.AVAILABILITY else "too slow"


def _span(seconds: int) -> str:
    return f"{seconds // 3600}h" if seconds >= 3600 else f"{seconds // 60}m"


def _time(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
