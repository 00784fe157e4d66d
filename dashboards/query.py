"""From columns to the SQL of a panel: Grafana's macros and variables as SQLAlchemy expressions, and what is built of them.

Every query starts from the columns of ``collector.schema``, so that a renamed column breaks the build and not a board.

Two things that the expressions here take care of, once:

- *All* must be cheap. A variable's *All* is the text ``NULL``, which Grafana inserts as it is, without quotes. So
  ``(${tenant:sqlstring}) IS NULL`` is true for *All* and false for every list of quoted names, whatever the names are; both
  are constants, and the planner drops the branch that is not taken.
- Every dashboard row is one level of the rollup's marginals. A sum over two levels counts twice, so a query states for
  tenant, model and replica whether it takes them together or apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Integer,
    SmallInteger,
    Table,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement, Label, Select

from collector.request import ObservedBy, TrafficClass
from collector.schema import ALL, environments, models, replicas, rollup_minute, tenants
from collector.schema.base import Time
from collector.sketch import GAMMA, VERSION

MINUTE_SECONDS = 60
ALL_VALUE = "NULL"
"""What Grafana inserts for *All*: an absent name, which no tenant can be called."""


class Format(StrEnum):
    """What a panel expects of its rows. ``time_series``: a column ``time``, numbers, and text that becomes labels."""

    TIME_SERIES = "time_series"
    TABLE = "table"


class Query(NamedTuple):
    """A statement as Grafana takes it."""

    sql: str
    format: Format


def render(statement: Select[Any], format: Format) -> Query:
    """The statement as text, with values in place and macros still to be expanded by Grafana."""
    # "named" leaves a % alone, which the default style doubles.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    return Query(str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})), format)


# Macros: what Grafana replaces before it sends the statement


class _TimeFilter(FunctionElement[bool]):
    inherit_cache = True


class _TimeGroup(FunctionElement[float]):
    inherit_cache = True


@compiles(_TimeFilter)
def _compile_time_filter(element: _TimeFilter, compiler: SQLCompiler, **options: Any) -> str:
    return f"$__timeFilter({compiler.process(element.clauses, **options)})"


@compiles(_TimeGroup)
def _compile_time_group(element: _TimeGroup, compiler: SQLCompiler, **options: Any) -> str:
    return f"$__timeGroup({compiler.process(element.clauses, **options)}, $__interval)"


def time_filter(time: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a time lies in the board's range, both ends included."""
    return _TimeFilter(time)


def slot(time: ColumnElement[Any]) -> Label[float]:
    """The start of the interval that a time lies in, named ``slot`` [epoch seconds].

    Grafana reads the macro as an old form of itself where a comma follows its first occurrence, so this must come first in a
    SELECT, and GROUP BY goes by the label.
    """
    return _TimeGroup(time).label("slot")


RANGE_START: ColumnElement[Any] = cast(literal_column("$__timeFrom()"), Time)
RANGE_END: ColumnElement[Any] = func.least(cast(literal_column("$__timeTo()"), Time), func.now())
"""The end of the board's range, or now where that is earlier (as for "today")."""
_INTERVAL_SECONDS: ColumnElement[Any] = literal_column("$__interval_ms", Integer) / literal_column("1000.0", Double)


def whole_minutes(minute: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a minute lies in the range as a whole: the running minute would look like a collapse of traffic."""
    return and_(time_filter(minute), minute < func.date_trunc("minute", RANGE_END))


def whole_seconds(slot: ColumnElement[Any]) -> ColumnElement[float]:
    """The seconds of a slot that ``whole_minutes`` lets through: the first and the last slot are seldom complete."""
    first = func.ceil(func.extract("epoch", RANGE_START) / MINUTE_SECONDS) * MINUTE_SECONDS
    last = func.extract("epoch", func.date_trunc("minute", RANGE_END))
    return func.least(slot + _INTERVAL_SECONDS, last) - func.greatest(slot, first)


# Variables


class Variable(NamedTuple):
    """A choice at the top of the board: names of one dictionary."""

    name: str
    label: str
    dictionary: Table

    @property
    def is_all(self) -> ColumnElement[bool]:
        """Whether *All* is chosen."""
        return literal_column(f"(${{{self.name}:sqlstring}}) IS NULL")

    @property
    def ids(self) -> ColumnElement[Any]:
        """The ids of the chosen names, as an array; empty for *All*."""
        chosen: ColumnElement[Any] = literal_column(f"(${{{self.name}:sqlstring}})")
        return func.array(select(self.dictionary.c.id).where(self.dictionary.c.name.op("IN")(chosen)).scalar_subquery())

    def admits(self, id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether the id's name is chosen; everything is for *All*."""
        return or_(self.is_all, id == func.any(self.ids))

    def admits_name(self, name: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether a name is chosen, or absent."""
        return or_(self.is_all, name.is_(None), name.op("IN")(literal_column(f"(${{{self.name}:sqlstring}})")))


ENVIRONMENT = Variable("environment", "Environment", environments)
MODEL = Variable("model", "Model", models)
TENANT = Variable("tenant", "Tenant", tenants)
REPLICA = Variable("replica", "Replica", replicas)
VARIABLES = (ENVIRONMENT, MODEL, TENANT, REPLICA)

OBSERVER = "observed_by"
"""Variable of whose rows count: one party's, never a sum of them."""
OBSERVERS: Mapping[ObservedBy, str] = {ObservedBy.GATEWAY: "gateway", ObservedBy.CLIENT: "client"}


def choices(variable: Variable) -> str:
    """The statement that lists what a variable offers."""
    names = variable.dictionary.c
    return render(select(names.name).where(names.id != ALL).order_by(names.name), Format.TABLE).sql


def name_of(name: ColumnElement[Any]) -> ColumnElement[str]:
    """A dictionary's name from an outer join; ids without an entry are those of "not stated"."""
    return func.coalesce(name, "unknown")


# Levels of the rollup


class Share(Enum):
    """How a query takes one dimension of the rollup."""

    TOGETHER = "together"
    """The marginal row, whatever is chosen."""
    APART = "apart"
    """One row per value that is chosen."""
    CHOSEN = "chosen"
    """The marginal row for *All*, else one row per value that is chosen."""


def level(*, tenant: Share, model: Share, replica: Share) -> ColumnElement[bool]:
    """The rows of one level. The rollup keeps (tenant, model) and (model, replica), never tenant and replica at once."""
    minute = rollup_minute.c
    return and_(
        _share(minute.tenant_id, TENANT, tenant),
        _share(minute.model_id, MODEL, model),
        _share(minute.replica_id, REPLICA, replica),
    )


def chosen_level() -> ColumnElement[bool]:
    """The level that the variables ask for. A tenant and a replica at once are not kept: then the tenant counts."""
    by_replica = and_(TENANT.is_all, ~REPLICA.is_all)
    return or_(
        and_(by_replica, level(tenant=Share.TOGETHER, model=Share.APART, replica=Share.APART)),
        and_(~by_replica, level(tenant=Share.CHOSEN, model=Share.CHOSEN, replica=Share.TOGETHER)),
    )


def _share(id: ColumnElement[Any], variable: Variable, share: Share) -> ColumnElement[bool]:
    match share:
        case Share.TOGETHER:
            return id == ALL
        case Share.APART:
            return and_(id != ALL, variable.admits(id))
        case Share.CHOSEN:
            marginal = postgresql.array([literal(ALL)])
            return id == func.any(case((variable.is_all, marginal), else_=variable.ids))


def counted_minutes() -> ColumnElement[bool]:
    """What every query of the rollup has in common: whole minutes of one observer, without health checks and probes."""
    minute = rollup_minute.c
    return and_(
        whole_minutes(minute.minute),
        minute.observed_by == literal_column(f"${{{OBSERVER}:sqlstring}}", SmallInteger),
        minute.traffic_class != int(TrafficClass.SYNTHETIC),
        ENVIRONMENT.admits(minute.environment_id),
    )


def grouping(keys: Sequence[ColumnElement[Any]]) -> list[Any]:
    """What GROUP BY goes by: labels by their name (see ``slot``), columns as they are."""
    return [key.name if isinstance(key, Label) else key for key in keys]


# Quantiles of sketches


def quantiles(
    quantity: str, where: ColumnElement[bool], keys: Sequence[ColumnElement[Any]], shares: Mapping[str, float]
) -> CTE:
    """Quantiles of a sketched quantity: one row per combination of ``keys``, one column per name of ``shares``.

    Nearest rank, as ``collector.sketch.quantile`` computes it: sketches are added bucket by bucket, and the first bucket at
    which the running count reaches ⌈q · total⌉ stands for the quantile, in the unit of the quantity.
    """
    columns = rollup_minute.c
    part = (
        func.unnest(columns[f"{quantity}_buckets"], columns[f"{quantity}_counts"])
        .table_valued(column("bucket", SmallInteger), column("rows", Integer))
        .render_derived(name="part")
    )
    added = (
        select(*keys, part.c.bucket, func.sum(part.c.rows).label("rows"))
        .select_from(rollup_minute.join(part, true()))
        .where(where, columns.sketch_version == VERSION)
        .group_by(*grouping(keys), part.c.bucket)
        .cte("added")
    )
    names = [key.name for key in keys]
    group = [added.c[name] for name in names]
    running = select(
        *group,
        added.c.bucket,
        func.sum(added.c.rows).over(partition_by=group or None, order_by=added.c.bucket).label("seen"),
        func.sum(added.c.rows).over(partition_by=group or None).label("total"),
    ).cte("running")
    group = [running.c[name] for name in names]
    return (
        select(*group, *(_representative(running, share).label(name) for name, share in shares.items()))
        .group_by(*group)
        .cte("quantiles")
    )


def _representative(running: CTE, share: float) -> ColumnElement[Any]:
    reached = running.c.seen >= func.ceil(literal_column(str(share)) * running.c.total)
    first = func.min(running.c.bucket).filter(reached)
    gamma = cast(literal_column(repr(GAMMA)), Double)
    return 2 * func.power(gamma, first) / (gamma + 1)
