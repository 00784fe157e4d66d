"""``llm-slo usage``: what tenants used, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from psycopg import OperationalError
from rich.console import Console
from rich.table import Table

from collector.config import Config, load_config
from collector.errors import AddressUnavailable, ConfigError, ForeignDataDirectory, ServerFailed, UnsuitableDatabase
from collector.reading import ask
from collector.reads.name import UnknownName
from collector.reads.plan import NotKept, Period, Unit
from collector.request import Outcome
from collector.session import CONFIG, leave
from reports.moment import WrongMoment, parse_moment, parse_zone
from reports.usage import Cut, Question, Usage, Used, read_usage

_NUMBERS = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated_input_tokens",
    "estimated_output_tokens",
    "requests_without_tokens",
)


@click.command()
@CONFIG
@click.option("--tenant", "tenants", multiple=True, help="A tenant; may be given several times. All of them unless given.")
@click.option("--model", "models", multiple=True, help="A model; may be given several times. All of them unless given.")
@click.option("--from", "start", help="2026-10, 2026-10-24 or 2026-10-24T13:00. The first of this month unless given.")
@click.option("--to", "end", help="As --from; up to and without this moment. Now unless given.")
@click.option(
    "--by",
    "cuts",
    multiple=True,
    type=click.Choice([cut.value for cut in Cut]),
    help="What it is told apart by; may be given several times. Tenant unless given.",
)
@click.option(
    "--timezone", "zone_name", default="UTC", show_default=True, help="Where days and months begin, and --from, --to."
)
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def usage(
    config_path: Path | None,
    tenants: tuple[str, ...],
    models: tuple[str, ...],
    start: str | None,
    end: str | None,
    cuts: tuple[str, ...],
    zone_name: str,
    style: str,
) -> None:
    """Requests and tokens of a period: by outcome, cached and reasoning tokens apart, estimated counts apart from counted ones.

    Whose rows count is primary_observer; health checks and probes do not. Exit code 2 for an unknown tenant or model.

    \b
    Example:
      llm-slo usage --from 2026-10 --to 2026-11 --by tenant --by day --timezone Europe/Berlin --format csv
    """
    try:
        config = load_config(config_path)
        question = _question(config, tenants, models, start, end, cuts or (Cut.TENANT.value,), zone_name)
        read = partial(read_usage, question=question, now=datetime.now(UTC), retention=config.retention)
        answer = ask(config, read)
    except (ConfigError, WrongMoment, UnknownName, NotKept) as error:
        leave(str(error), 2)
    except (ForeignDataDirectory, ServerFailed, UnsuitableDatabase) as error:
        leave(str(error), 2)
    except AddressUnavailable as error:
        leave(str(error), 3)
    except OperationalError as error:
        leave(f"the database cannot be reached: {str(error).splitlines()[0]}", 1)
    _show(answer, style)


def _question(
    config: Config,
    tenants: tuple[str, ...],
    models: tuple[str, ...],
    start: str | None,
    end: str | None,
    cuts: tuple[str, ...],
    zone_name: str,
) -> Question:
    zone, now = parse_zone(zone_name), datetime.now(UTC)
    period = Period(
        parse_moment(start if start is not None else f"{now.astimezone(zone):%Y-%m}", zone),
        parse_moment(end, zone) if end is not None else now,
    )
    if period.start >= period.end:
        raise WrongMoment(f"--from {period.start.isoformat()} is not before --to {period.end.isoformat()}")
    return Question(
        period=period,
        zone=zone,
        observed_by=config.primary_observed_by,
        tenants=tenants,
        models=models,
        cuts=tuple(Cut(cut) for cut in cuts),
    )


def _show(answer: Usage, style: str) -> None:
    if answer.nearest is not None:
        click.echo(f"llm-slo: {_nothing(answer)}", err=True)
    if style == "json":
        click.echo(json.dumps(_object(answer), indent=2))
    elif style == "csv":
        click.echo(_csv(answer), nl=False)
    elif answer.used:
        Console(width=None if sys.stdout.isatty() else 200).print(_table(answer))


def _nothing(answer: Usage) -> str:
    zone, found = answer.question.zone, answer.nearest
    assert found is not None
    period = " to ".join(time.astimezone(zone).isoformat(timespec="minutes") for time in answer.question.period)
    parts = [
        f"the last before it ends at {found.before.astimezone(zone).isoformat(timespec='minutes')}" if found.before else "",
        f"the first after it begins at {found.after.astimezone(zone).isoformat(timespec='minutes')}" if found.after else "",
    ]
    where = " and ".join(part for part in parts if part) or "there is none at any other time either"
    return f"no requests from {period}, as the {answer.question.observed_by.name.lower()} saw them; {where}"


def _columns(answer: Usage) -> list[str]:
    cuts = answer.question.cuts
    return [*(["period"] if answer.question.unit else []), *(cut.value for cut in (Cut.TENANT, Cut.MODEL) if cut in cuts)]


def _label(one: Used, answer: Usage) -> str:
    local = one.period.start.astimezone(answer.question.zone)
    match answer.question.unit:
        case Unit.MONTH:
            return f"{local:%Y-%m}"
        case Unit.DAY:
            return f"{local:%Y-%m-%d}"
        case _:
            return local.isoformat(timespec="minutes")


def _keys(one: Used, answer: Usage) -> dict[str, str | None]:
    said = {"period": _label(one, answer), "tenant": one.tenant, "model": one.model}
    return {name: said[name] for name in _columns(answer)}


def _numbers(one: Used) -> dict[str, int]:
    return {name: getattr(one, name) for name in _NUMBERS}


def _object(answer: Usage) -> dict[str, object]:
    def fields(one: Used) -> dict[str, object]:
        return _numbers(one) | {"outcomes": {outcome.name.lower(): count for outcome, count in one.outcomes.items()}}

    question = answer.question
    return {
        "from": question.period.start.astimezone(question.zone).isoformat(),
        "to": question.period.end.astimezone(question.zone).isoformat(),
        "timezone": question.zone.key,
        "observed_by": question.observed_by.name.lower(),
        "read_from": list(answer.grains),
        "used": [_keys(one, answer) | fields(one) for one in answer.used],
        "total": fields(answer.total),
    }


def _csv(answer: Usage) -> str:
    text = io.StringIO()
    outcomes = list(Outcome)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_columns(answer), *_NUMBERS, *(outcome.name.lower() for outcome in outcomes)])
    for one in answer.used:
        counts = [one.outcomes.get(outcome, 0) for outcome in outcomes]
        writer.writerow([*_keys(one, answer).values(), *_numbers(one).values(), *counts])
    return text.getvalue()


def _table(answer: Usage) -> Table:
    # What nobody has is no column: a terminal is narrow.
    total = {name: sum for name, sum in _numbers(answer.total).items() if sum}
    table = Table(*_columns(answer), show_footer=True)
    for name, sum in total.items():
        table.add_column(name.replace("_", " "), justify="right", footer=f"{sum:,}")
    table.add_column("by outcome", footer=_outcomes(answer.total))
    for one in answer.used:
        numbers = _numbers(one)
        shown = (f"{numbers[name]:,}" for name in total)
        table.add_row(*(str(key) for key in _keys(one, answer).values()), *shown, _outcomes(one))
    return table


def _outcomes(one: Used) -> str:
    return ", ".join(f"{outcome.name.lower()} {count:,}" for outcome, count in one.outcomes.items())
