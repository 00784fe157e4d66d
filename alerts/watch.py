"""The watch over the streams of all SLOs: exact counts in memory, and what they say of each alert. No socket, no clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from alerts.alert import Alert, Condition, Observation, Severity, fingerprint
from alerts.burn import (
    TICKETS,
    Counts,
    Rule,
    Tally,
    hold_seconds,
    onset,
    slow_breach,
    spent,
)
from alerts.detect import GATE_SHARE, REPLAY_SECONDS, Judgement, Past, Premise, Scan, Signal, detect, judge, premise
from alerts.finding import Harm, Text, clock
from alerts.slo import Slo
from alerts.story import Exhaustion, exhaustion
from collector.config import Config
from collector.objective import Sli

HARM_SECONDS = 300
"""Window in which failures say that users are hurt; one of ``burn.WINDOWS`` [s]."""


TICKET_HOLD_SECONDS = 600.0
"""How long a ticket's rules must be quiet before it is closed [s]: longer than its counts are old."""


class Pulse(NamedTuple):
    """Verdicts on the requests of one stream that ended in one second (whole seconds since 1970)."""

    stream: int
    second: int
    good: int
    bad: int
    late: bool = False
    """Whether they came too long after their second to say anything of now."""


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
    ticket: bool = False
    """Whether it is about a slow burn, which wakes nobody."""
    page: str = ""
    """Fingerprint of the alert that wakes somebody for the same SLO and stream."""

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
        """One for each SLO and stream, by whose counts of seconds people are woken."""
        self.tickets: tuple[Series, ...] = ()
        """As many again, for slow burns."""
        self._pasts: dict[int, Past] = {}
        self._since_past: dict[int, Tally] = {}
        self._scans: dict[str, Scan] = {}
        self._premises: dict[str, Premise] = {}

    def set_streams(self, streams: Iterable[Stream]) -> None:
        """Take the streams that there are now. Counts of those that were known stay."""
        pages, tickets = [], []
        for stream in streams:
            self._counts.setdefault(stream.id, Counts(self._now))
            for slo in self._slos:
                if slo.objective.id == stream.objective_id:
                    pages.append(_series(slo, stream, identity(slo, stream, self._config), ticket=False))
                    tickets.append(_series(slo, stream, identity(slo, stream, self._config), ticket=True))
        self.series, self.tickets = tuple(pages), tuple(tickets)
        for one in self.series:
            self._scans.setdefault(one.fingerprint, Scan(one.slo.budget))
        self._by_stream = {stream_id: [one for one in pages if one.stream.id == stream_id] for stream_id in self._counts}
        self._set_premises()

    def knows(self, stream: int) -> bool:
        """Whether a stream belongs to one of the SLOs."""
        return stream in self._counts

    def set_past(self, pasts: Mapping[int, Past]) -> None:
        """Take what minutes say, by stream, of all that was counted so far; what is counted from now on is added."""
        self._pasts = dict(pasts)
        self._since_past = {}
        self._set_premises()

    def _set_premises(self) -> None:
        for one in self.series:
            past = self._pasts.get(one.stream.id, Past())
            slo = one.slo
            self._premises[one.fingerprint] = premise(slo.budget, slo.min_failures, past, len(self.series), self._now)

    def count(self, pulses: Iterable[Pulse]) -> None:
        """Count verdicts, in the windows and in the period, and let the fast rule see those that came in time."""
        for pulse in sorted(pulses, key=_second):
            counts = self._counts.get(pulse.stream)
            if counts is None:
                continue
            counts.add(pulse.second, pulse.good, pulse.bad)
            tally = self._since_past.get(pulse.stream, Tally(0, 0))
            self._since_past[pulse.stream] = Tally(tally.good + pulse.good, tally.bad + pulse.bad)
            if pulse.late or pulse.second <= self._now - REPLAY_SECONDS:
                continue
            for one in self._by_stream[pulse.stream]:
                by = self._premises[one.fingerprint]
                self._scans[one.fingerprint].step(min(pulse.second, self._now + 1), pulse.good, pulse.bad, by.clustering)

    def advance(self, now: int) -> None:
        """Let time pass for every stream."""
        self._now = max(self._now, now)
        for counts in self._counts.values():
            counts.advance(now)

    def observe(self, series: Series, alert: Alert | None, *, blind: bool) -> Observation:
        """What the counts say of one alert. Without a collector that lives they prove a breach, and nothing else."""
        seen = judge(self._counts[series.stream.id], self._scans[series.fingerprint], self._premises[series.fingerprint], alert)
        condition, reason = seen.condition, _why(seen, series.slo, alert is not None and alert.active)
        if blind and condition is not Condition.BREACH:
            condition, reason = Condition.NO_DATA, "no collector lives"
        return Observation(condition, reason, Severity(series.slo.severity), hold_seconds(alert.flaps if alert else 0))

    def observe_ticket(self, series: Series, alert: Alert | None, *, blind: bool, paged: bool) -> Observation:
        """What minutes say of a slow burn. Where somebody has been paged for the same, there is no ticket beside it."""
        rule = self._slow_rule(series)
        active = alert is not None and alert.active
        condition, reason = Condition.CLEAR, "no slow rule burns"
        if blind or series.stream.id not in self._pasts:
            condition, reason = Condition.NO_DATA, "no collector lives" if blind else "no minute has been read yet"
        elif rule is not None and (active or not paged):
            said = f"burn at least {float(rule.factor):g} over {_span(rule.long_seconds)} and {_span(rule.short_seconds)}"
            condition, reason = Condition.BREACH, said
        return Observation(condition, reason, Severity.TICKET, TICKET_HOLD_SECONDS)

    def _slow_rule(self, series: Series) -> Rule | None:
        past = self._pasts.get(series.stream.id, Past())
        minimum = premise(series.slo.budget, series.slo.min_failures, past, 1, self._now).min_failures
        rule = slow_breach(past.windows, series.slo.budget, minimum) if past.windows else None
        # A stream of an hour's age has not burned for six.
        old = rule is not None and past.first is not None and self._now - past.first >= rule.short_seconds
        return rule if old else None

    def text(self, series: Series, now: datetime) -> Text:
        """What a page says of a series that burns, or a ticket of one that burns slowly."""
        slo, counts = series.slo, self._counts[series.stream.id]
        burn = self.burns(series)
        recent = counts.window(HARM_SECONDS)
        began = None if series.ticket else onset(counts, slo.budget)
        since = now if began is None else _time(began)
        what = series.model or ", ".join(series.stream.labels.values()) or "all requests"
        others = ", ".join(value for name, value in series.stream.labels.items() if name != "model")
        where = f" ({others})" if others and series.model else ""
        failed = _failed(slo)
        facts: tuple[str, ...] = (
            f"{slo.name} of {what}{where}: target {slo.target_text}. {slo.description}".strip(),
            f"{failed.capitalize()} in the last 5 min: {recent.bad} of {recent.good + recent.bad} requests.",
            f"Burn {burn['burn_5m']:.1f} over 5 min, {burn['burn_1h']:.1f} over 1 h, {burn['burn_6h']:.1f} over 6 h.",
            f"Error budget of {slo.period_days} days: {self.spent(series):.1%} spent.",
        )
        if series.ticket:
            return self._slow_text(series, what + where, facts, now)
        found = detect(counts, self._scans[series.fingerprint], self._premises[series.fingerprint])
        if found is not None:
            facts = (*facts, f"Seen by {_reason(found, slo)}.")
        rate = f"{recent.bad} of {recent.good + recent.bad} {failed} in 5 min"
        summary = f"{what}{where}: {slo.name} {slo.target_text}, {rate}, burn {burn['burn_1h']:.0f} (1h), since {clock(since)}"
        return Text(summary, facts, since)

    def _slow_text(self, series: Series, what: str, facts: tuple[str, ...], now: datetime) -> Text:
        past, budget = self._pasts[series.stream.id], series.slo.budget
        windows = sorted({seconds for rule in TICKETS for seconds in (rule.long_seconds, rule.short_seconds)})
        burns = {seconds: past.window(seconds).burn(budget) for seconds in windows}
        slow = ", ".join(f"{burn:.1f} over {_span(seconds)}" for seconds, burn in burns.items())
        rule = self._slow_rule(series) or TICKETS[-1]
        began = now - timedelta(seconds=rule.short_seconds)
        summary = f"{what}: {series.slo.name} {series.slo.target_text} burns slowly, {slow}"
        return Text(summary, (*facts, f"Burn {slow}: more than the budget allows, and too slow to wake anybody."), began)

    def burns(self, series: Series) -> dict[str, float]:
        """Burn over 5 minutes, 30 minutes, 1 hour and 6 hours, by the name of the annotation."""
        counts = self._counts[series.stream.id]
        names = {"burn_5m": 300, "burn_30m": 1800, "burn_1h": 3600, "burn_6h": 21_600}
        return {name: counts.window(seconds).burn(series.slo.budget) for name, seconds in names.items()}

    def spent(self, series: Series) -> float:
        """Share of the period's budget that is gone; above 1 when it is overdrawn."""
        return spent(self._period(series), series.slo.budget)

    def _period(self, series: Series) -> Tally:
        past = self._pasts.get(series.stream.id, Past()).window(series.slo.period_days * 86_400)
        since = self._since_past.get(series.stream.id, Tally(0, 0))
        return Tally(past.good + since.good, past.bad + since.bad)

    def exhaustion(self, series: Series) -> Exhaustion | None:
        """When the rest of the period's budget is gone, if it goes on as in the last 5 minutes."""
        recent = self._counts[series.stream.id].window(HARM_SECONDS)
        return exhaustion(self._period(series), recent, HARM_SECONDS, float(series.slo.budget))

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


def _series(slo: Slo, stream: Stream, labels: dict[str, str], *, ticket: bool) -> Series:
    page = fingerprint(labels)
    if ticket:
        labels = labels | {"alertname": "SLOSlowBurn"}
    return Series(slo, stream, labels, fingerprint(labels), ticket, page)


def _why(seen: Judgement, slo: Slo, active: bool) -> str:
    """The reason, as flips keep it."""
    condition, signal = seen.condition, seen.signal
    burn = f"a burn of {float(seen.factor):g}"
    if active and condition is Condition.CLEAR:
        return f"requests pass again: {burn} is ruled out at 100 to 1"
    if condition is Condition.NO_DATA:
        return "too few requests to tell"
    if signal is None:
        return f"no rule burns any more, and {burn} is not ruled out yet" if active else "no rule burns"
    return _reason(signal, slo) + ("" if signal.confirmed else "; too few or too close together to page")


def _reason(found: Signal, slo: Slo) -> str:
    if found.breach is None:
        counted = f"{found.failures} {_failed(slo)} in {found.span_seconds} s"
        return f"the fast rule: {counted}, more than {float(GATE_SHARE):.1%} of the budget of 30 days"
    rule = found.breach.rule
    said = f"burn at least {float(rule.factor):g} over {_span(rule.long_seconds)} and {_span(rule.short_seconds)}"
    return f"the windows: {said}, {found.failures} {_failed(slo)} in {_span(rule.long_seconds)}"


def _second(pulse: Pulse) -> int:
    return pulse.second


def _failed(slo: Slo) -> str:
    return "failed" if slo.objective.sli is Sli.AVAILABILITY else "too slow"


def _span(seconds: int) -> str:
    if seconds >= 86_400:
        return f"{seconds // 86_400}d"
    return f"{seconds // 3600}h" if seconds >= 3600 else f"{seconds // 60}m"


def _time(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
