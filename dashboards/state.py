"""How things are and what happened, as queries: alerts, error budgets, replicas, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Integer,
    String,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    select,
    union_all,
    values,
)

from alerts.alert import State
from alerts.slo import Slo
from collector.event import EventKind
from collector.sample import Health
from collector.schema import alerts, environments, events, flips, models, replica_states, replicas, slo_minute, streams
from dashboards.query import (
    ENVIRONMENT,
    MODEL,
    RANGE_END,
    RANGE_START,
    REPLICA,
    VARIABLES,
    Format,
    Query,
    name_of,
    render,
    time_filter,
)

ACTIVE = (State.FIRING, State.RESOLVING)
"""Somebody has been told, and not yet that it is over."""
OPEN = (*ACTIVE, State.PENDING)
ENDINGS = (EventKind.DEATH, EventKind.OOM, EventKind.ENGINE_DOWN, EventKind.ZOMBIE, EventKind.GAUGES_FROZEN)
RESTARTS = (EventKind.RESTART, EventKind.ENGINE_READY)
EVENT_LIMIT = 200

_ALERT = alerts.c
_REPLICA = replica_states.c


def firing_count() -> Query:
    """Alerts that fire now."""
    statement = select(func.count().label("firing")).select_from(alerts).where(_concerns(), _ALERT.state.in_(ACTIVE))
    return render(statement, Format.TABLE)


def open_alerts() -> Query:
    """Alerts that fire now or may soon, the oldest page first: since when, what, whom, and the verdict."""
    severity = _ALERT.labels["severity"].astext
    statement = (
        select(
            _ALERT.starts_at.label("Since"),
            _ALERT.state.label("State"),
            severity.label("Severity"),
            _ALERT.name.label("Alert"),
            func.coalesce(_ALERT.annotations["summary"].astext, cast(_ALERT.annotations, String)).label("Verdict"),
            cast(_ALERT.labels.op("-")("severity").op("-")("alertname"), String).label("Labels"),
        )
        .where(_concerns(), _ALERT.state.in_(OPEN))
        .order_by(severity, _ALERT.state, _ALERT.starts_at)
    )
    return render(statement, Format.TABLE)


def alert_regions() -> Query:
    """From when to when alerts fired, for annotations: those that began in the range, and those firing since before it."""
    after = {"partition_by": flips.c.fingerprint, "order_by": (flips.c.at, flips.c.id), "rows": (1, None)}
    over = func.min(flips.c.at).filter(flips.c.to_state.in_((State.RESOLVED, State.INACTIVE)))
    changes = (
        select(flips, over.over(**after).label("over_at")).where(time_filter(flips.c.at)).cte("changes")  # type: ignore[arg-type]
    )
    began = (
        select(
            changes.c.at.label("time"),
            func.coalesce(changes.c.over_at, RANGE_END).label("timeend"),
            (_ALERT.name + literal(": ") + changes.c.reason).label("text"),
            _tags().label("tags"),
        )
        .select_from(changes.join(alerts, _ALERT.fingerprint == changes.c.fingerprint))
        .where(_concerns(), changes.c.to_state == State.FIRING, changes.c.from_state.not_in(ACTIVE))
    )
    lasting = select(
        RANGE_START.label("time"),
        RANGE_END.label("timeend"),
        (_ALERT.name + literal(": fires since before this range")).label("text"),
        _tags().label("tags"),
    ).where(_concerns(), _ALERT.state.in_(ACTIVE), _ALERT.starts_at < RANGE_START)
    return render(select(union_all(began, lasting).cte("regions")).order_by("time"), Format.TABLE)


def engine_marks() -> Query:
    """Moments at which an engine died or came back, for annotations."""
    source = events.outerjoin(replicas, replicas.c.id == events.c.replica_id)
    statement = (
        select(
            events.c.at.label("time"),
            (name_of(replicas.c.name) + literal(": ") + _words(events.c.kind)).label("text"),
            events.c.kind.label("tags"),
        )
        .select_from(source)
        .where(_event_chosen(), events.c.kind.in_((*ENDINGS, *RESTARTS)))
        .order_by("time")
    )
    return render(statement, Format.TABLE)


def recent_events() -> Query:
    """What happened to engines, the newest first."""
    source = events.outerjoin(replicas, replicas.c.id == events.c.replica_id).outerjoin(
        models, models.c.id == events.c.model_id
    )
    statement = (
        select(
            events.c.at.label("Time"),
            name_of(replicas.c.name).label("Replica"),
            name_of(models.c.name).label("Model"),
            _words(events.c.kind).label("Event"),
            cast(events.c.detail, String).label("Detail"),
        )
        .select_from(source)
        .where(_event_chosen())
        .order_by(events.c.at.desc(), events.c.id.desc())
        .limit(EVENT_LIMIT)
    )
    return render(statement, Format.TABLE)


def replicas_not_ready() -> Query:
    """Replicas whose health is not "ready" now."""
    statement = select(func.count().label("not ready")).select_from(replica_states)
    return render(statement.where(_replica_chosen(), _REPLICA.health != int(Health.READY)), Format.TABLE)


def replica_table() -> Query:
    """How each replica is now, those in trouble first."""
    health = case({int(state): state.name.lower() for state in Health}, value=_REPLICA.health)
    source = (
        replica_states.outerjoin(replicas, replicas.c.id == _REPLICA.replica_id)
        .outerjoin(models, models.c.id == _REPLICA.model_id)
        .outerjoin(environments, environments.c.id == _REPLICA.environment_id)
    )
    statement = (
        select(
            name_of(replicas.c.name).label("Replica"),
            name_of(models.c.name).label("Model"),
            name_of(environments.c.name).label("Environment"),
            health.label("Health"),
            _REPLICA.health_since.label("Health since"),
            _REPLICA.health_status.label("HTTP status"),
            _REPLICA.scraped_at.label("Last scrape"),
            _REPLICA.process_started_at.label("Process started"),
            _REPLICA.requests_running.label("Running"),
            _REPLICA.requests_waiting.label("Waiting"),
            _trouble().label("Trouble"),
        )
        .select_from(source)
        .where(_replica_chosen())
        .order_by((_REPLICA.health == int(Health.READY)), "Replica")
    )
    return render(statement, Format.TABLE)


def budgets(slos: Sequence[Slo]) -> Query:
    """Error budgets at the end of the range, over each SLO's own period, the emptiest first: one row per stream."""
    rows = _budget_rows(slos).c
    statement = select(
        rows.slo.label("SLO"),
        rows.labels.label("For"),
        rows.target.label("Target"),
        (1 - rows.failing).label("Good"),
        rows.bad.label("Failed"),
        rows.left.label("Budget left"),
        rows.days.label("Period"),
    ).order_by(rows.left, rows.slo, rows.labels)
    return render(statement, Format.TABLE)


def worst_budget(slos: Sequence[Slo]) -> Query:
    """The smallest share of any error budget that is left at the end of the range: below 0 when more than all is spent."""
    return render(select(func.min(_budget_rows(slos).c.left).label("budget left")), Format.TABLE)


def _budget_rows(slos: Sequence[Slo]) -> CTE:
    slo = values(
        column("objective_id", String),
        column("slo", String),
        column("target", Double),
        column("days", Integer),
        name="slo",
        literal_binds=True,
    ).data([(slo.objective.id, slo.name, float(slo.target), slo.period_days) for slo in slos])
    minute = slo_minute.c
    longest = max(slo.period_days for slo in slos)
    bad = func.sum(minute.bad)
    failing = bad / func.nullif(func.sum(minute.good) + bad, 0)
    keys = (slo.c.slo, slo.c.target, slo.c.days, streams.c.labels)
    return (
        select(*keys, bad.label("bad"), failing.label("failing"), (1 - failing / (1 - slo.c.target)).label("left"))
        .select_from(
            slo.join(streams, streams.c.objective_id == slo.c.objective_id).join(slo_minute, minute.stream_id == streams.c.id)
        )
        .where(
            # The bound of the longest period is a constant, which the key's index needs.
            minute.minute >= RANGE_END - func.make_interval(0, 0, 0, longest),
            minute.minute >= RANGE_END - func.make_interval(0, 0, 0, slo.c.days),
            minute.minute <= RANGE_END,
        )
        .group_by(*keys)
        .cte("budgets")
    )


def _concerns() -> ColumnElement[bool]:
    """Alerts that do not name what is chosen by concern it all the same."""
    return and_(*(variable.admits_name(_ALERT.labels[variable.name].astext) for variable in VARIABLES))


def _event_chosen() -> ColumnElement[bool]:
    return and_(time_filter(events.c.at), MODEL.admits(events.c.model_id), REPLICA.admits(events.c.replica_id))


def _replica_chosen() -> ColumnElement[bool]:
    return and_(
        ENVIRONMENT.admits(_REPLICA.environment_id), MODEL.admits(_REPLICA.model_id), REPLICA.admits(_REPLICA.replica_id)
    )


def _trouble() -> ColumnElement[str]:
    return case(
        (_REPLICA.zombie, "zombie: health fails while /metrics looks idle"),
        (_REPLICA.gauges_frozen_since.is_not(None), "gauges frozen while requests are said to run"),
        (_REPLICA.scrape_failed_at.is_not(None), "scrapes fail"),
        else_="",
    )


def _tags() -> ColumnElement[str]:
    return func.concat_ws(",", _ALERT.name, _ALERT.labels["severity"].astext)


def _words(kind: ColumnElement[Any]) -> ColumnElement[str]:
    return func.replace(kind, "_", " ")
