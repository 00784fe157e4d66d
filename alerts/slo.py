"""SLOs: an objective, the share of requests that must pass it, and the period that is promised for. Read from slos.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from alerts.burn import RULES
from collector.config import Config
from collector.document import parse_document
from collector.errors import ConfigError
from collector.objective import GROUP_BY, Objective, Sli
from collector.request import ObservedBy

BUILT_IN = Path(__file__).with_name("slos.yaml")
"""The SLOs of an installation that states none."""

Dimension = Literal["environment", "model", "tenant", "replica"]
Severity = Literal["page", "ticket"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Selector(_Section):
    environment: tuple[str, ...] = Field((), description="Environments it holds for; all where empty")
    model: tuple[str, ...] = Field((), description="Models it holds for; all where empty")
    tenant: tuple[str, ...] = Field((), description="Tenants it holds for; all where empty")
    replica: tuple[str, ...] = Field((), description="Replicas it holds for; all where empty")


class _Entry(_Section):
    name: str = Field(description="Label `slo` of its alerts", pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    description: str = Field("", description="What is promised, in one sentence; goes into the page")
    sli: Sli = Field(description="What is measured")
    threshold: float | None = Field(
        None, gt=0, le=86_400, validate_default=True, description="Limit of a good request [s]; none for availability"
    )
    target: float = Field(gt=0, lt=100, description="Requests that must be good [%]")
    period_days: int = Field(30, ge=1, le=30, description="Rolling period of the error budget; minutes are kept for 35 [days]")
    selector: _Selector = Field(default_factory=_Selector, description="Which requests it is about")
    observed_by: Literal["gateway", "client", "engine"] | None = Field(
        None, description="Whose rows are judged; the configuration's primary_observer where not given"
    )
    group_by: tuple[Dimension, ...] = Field(("model",), description="One stream, and one alert, per value of these")
    min_failures: int = Field(4, ge=1, description="Failed requests without which nothing is raised")
    severity: Severity = Field("page", description="`page` wakes somebody, `ticket` does not")
    advice: str = Field("", description="First thing to do; goes into the page", max_length=300)
    runbook_url: str | None = Field(None, description="Link in the page", pattern=r"^https?://")

    @field_validator("threshold")
    @classmethod
    def _threshold_fits_the_sli(cls, threshold: float | None, validated: ValidationInfo) -> float | None:
        sli = validated.data.get("sli")
        if sli is Sli.AVAILABILITY and threshold is not None:
            raise ValueError("availability takes none: a request is good or failed")
        if sli not in (Sli.AVAILABILITY, None) and threshold is None:
            raise ValueError(f"{sli} needs one, in seconds")
        return threshold

    @field_validator("target")
    @classmethod
    def _target_can_page(cls, target: float) -> float:
        problem = _impossible(_share(target))
        if problem is not None:
            raise ValueError(problem)
        return target

    @field_validator("group_by")
    @classmethod
    def _dimensions_differ(cls, group_by: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
        if len(set(group_by)) != len(group_by):
            raise ValueError("a dimension is named twice")
        return group_by


class _File(_Section):
    slos: tuple[_Entry, ...] = Field(description="The SLOs")


class Slo(NamedTuple):
    """An objective with its target. ``target`` is the share of good requests, 0 to 1, exactly as it was written."""

    name: str
    description: str
    objective: Objective
    target: Fraction
    period_days: int
    min_failures: int
    severity: Severity
    advice: str
    runbook_url: str | None

    @property
    def budget(self) -> Fraction:
        """Share of requests that may fail, 0 to 1."""
        return 1 - self.target

    @property
    def target_text(self) -> str:
        """The target as a person writes it: ``99.5 %``."""
        return f"{percent(self.target)} %"

    def model_of(self, labels: Mapping[str, str]) -> str | None:
        """The model that a stream of this SLO is about, where it is about one."""
        only = self.objective.models[0] if len(self.objective.models) == 1 else None
        return labels.get("model", only)


def percent(share: Fraction) -> str:
    """A share as per cent, with as many digits as it needs."""
    return f"{float(share * 100):.6f}".rstrip("0").rstrip(".")


def load_slos(config: Config) -> tuple[Slo, ...]:
    """The SLOs of a configuration: those of its file, else the built-in ones.

    :raises ConfigError: naming file, line, key and what was expected
    """
    path = config.slos or BUILT_IN
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    return parse_slos(text, str(path), config.primary_observed_by)


def parse_slos(text: str, source: str, observed_by: ObservedBy) -> tuple[Slo, ...]:
    """Parse the text of an SLO file. ``observed_by`` is whose rows are judged where an SLO does not say.

    :raises ConfigError: naming ``source``, line, key and what was expected
    """
    document = parse_document(text, source, _File)
    names = [entry.name for entry in document.slos]
    if not names:
        raise ConfigError(
            f"{source}:1: slos: at least one SLO expected; leave `slos` out of the configuration for the built-in ones"
        )
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{source}: two SLOs are named {name!r}; alerts could not be told apart")
    return tuple(_slo(entry, observed_by) for entry in document.slos)


def _impossible(target: Fraction) -> str | None:
    """The arithmetic, where a burn that a rule waits for can never be seen."""
    budget, rule = 1 - target, max(RULES, key=lambda rule: rule.factor)
    if rule.factor * budget < 1:
        return None
    factor, smallest = f"{float(rule.factor):g}", percent(1 - 1 / rule.factor)
    return (
        f"{percent(target)} % can never page. When every request fails the burn is 1 / (1 − {float(target):g}) = "
        f"{float(1 / budget):.4g}, and the rule waits for {factor}: {factor} × {percent(budget)} % = "
        f"{percent(rule.factor * budget)} % of the requests would have to fail. The target must be above {smallest} %"
    )


def _share(target: float) -> Fraction:
    # Through the decimal text: 99.9 as a binary float is not 999/1000, and a budget computed from it is not 1/1000.
    return Fraction(repr(target)) / 100


def _slo(entry: _Entry, observed_by: ObservedBy) -> Slo:
    objective = Objective(
        sli=entry.sli,
        threshold_seconds=entry.threshold,
        observed_by=ObservedBy[entry.observed_by.upper()] if entry.observed_by else observed_by,
        environments=entry.selector.environment,
        models=entry.selector.model,
        tenants=entry.selector.tenant,
        replicas=entry.selector.replica,
        group_by=tuple(name for name in GROUP_BY if name in entry.group_by),
    )
    return Slo(
        name=entry.name,
        description=entry.description,
        objective=objective,
        target=_share(entry.target),
        period_days=entry.period_days,
        min_failures=entry.min_failures,
        severity=entry.severity,
        advice=entry.advice,
        runbook_url=entry.runbook_url,
    )
