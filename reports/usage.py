"""What tenants used: requests by outcome and tokens, from the rows of one observer, counted apart from estimated."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from collector.config import Retention
from collector.reads.level import By, Connection, Selection, plan
from collector.reads.name import ids_of, names_of
from collector.reads.nearest import Nearest, nearest
from collector.reads.plan import Period, Unit, slots
from collector.reads.total import Total, totals
from collector.request import BillingFlag, ObservedBy, Outcome
from collector.schema import models, tenants


class Cut(StrEnum):
    """What usage is told apart by."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    TENANT = "tenant"
    MODEL = "model"


_TIMES = {Cut.HOUR: Unit.HOUR, Cut.DAY: Unit.DAY, Cut.MONTH: Unit.MONTH}
_NAMES = {Cut.TENANT: By.TENANT, Cut.MODEL: By.MODEL}
_ALWAYS = (By.OUTCOME, By.BILLING_FLAGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whose usage is asked for. No tenants, or no models, are all of them."""

    period: Period
    zone: ZoneInfo
    observed_by: ObservedBy
    tenants: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()

    @property
    def unit(self) -> Unit | None:
        """The calendar unit that it is told apart by; the finest where there are several."""
        return next((unit for cut, unit in _TIMES.items() if cut in self.cuts), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What was used in one period by one tenant, of one model, as far as these are told apart."""

    period: Period
    tenant: str | None = None
    model: str | None = None
    requests: int
    outcomes: Mapping[Outcome, int]
    input_tokens: int
    """Cached ones included."""
    cached_tokens: int
    output_tokens: int
    """Reasoning included."""
    reasoning_tokens: int
    estimated_input_tokens: int
    """Part of ``input_tokens`` that a client library counted with a tokenizer of its own."""
    estimated_output_tokens: int
    requests_without_tokens: int
    """Requests whose tokens nobody stated: refused and failed ones, mostly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """An answer, and what it was read from. ``nearest`` is given where there was nothing."""

    question: Question
    used: Sequence[Used]
    total: Used
    grains: Sequence[str]
    nearest: Nearest | None


async def read_usage(connection: Connection, question: Question, *, now: datetime, retention: Retention) -> Usage:
    """Answer, within one snapshot. Requests of health checks and probes are nobody's usage.

    :raises UnknownName: there is no such tenant or model
    :raises NotKept: the period begins or ends where nothing is kept that finely any more
    """
    selection = Selection(
        observed_by=question.observed_by,
        tenants=await ids_of(connection, tenants, question.tenants) if question.tenants else None,
        models=await ids_of(connection, models, question.models) if question.models else None,
    )
    named = [cut for cut in question.cuts if cut in _NAMES]
    by = (*(_NAMES[cut] for cut in named), *_ALWAYS)
    unit = question.unit
    cut = [question.period] if unit is None else slots(question.period, unit, question.zone)
    how = await plan(connection, cut, selection, by, now=now, retention=retention)
    found = await totals(connection, how, selection, by)
    groups: dict[tuple[Period, tuple[int, ...]], list[Total]] = defaultdict(list)
    for total in found:
        groups[total.slot, total.key[: len(named)]].append(total)
    names = {Cut.TENANT: await names_of(connection, tenants), Cut.MODEL: await names_of(connection, models)}
    used = []
    for (period, ids), parts in groups.items():
        said = {one.value: names[one].get(id, "unknown") for one, id in zip(named, ids, strict=True)}
        used.append(_used(period, parts, tenant=said.get("tenant"), model=said.get("model")))
    return Usage(
        question=question,
        used=sorted(used, key=lambda one: (one.period, one.tenant or "", one.model or "")),
        total=_used(question.period, found),
        grains=how.grains,
        nearest=None if found else await nearest(connection, how, selection),
    )


def _used(period: Period, parts: Sequence[Total], tenant: str | None = None, model: str | None = None) -> Used:
    outcomes: Counter[Outcome] = Counter()
    for part in parts:
        outcomes[Outcome(part.key[-2])] += part.requests
    estimated = [part for part in parts if BillingFlag.ESTIMATED in BillingFlag(part.key[-1])]
    return Used(
        period=period,
        tenant=tenant,
        model=model,
        requests=sum(part.requests for part in parts),
        outcomes={outcome: outcomes[outcome] for outcome in sorted(outcomes)},
        input_tokens=sum(part.input_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        reasoning_tokens=sum(part.reasoning_tokens for part in parts),
        estimated_input_tokens=sum(part.input_tokens for part in estimated),
        estimated_output_tokens=sum(part.output_tokens for part in estimated),
        requests_without_tokens=sum(part.requests - part.rows_with_tokens for part in parts),
    )
