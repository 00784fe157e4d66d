"""Thresholds of panels, from the SLOs in force: a board is red where an objective is missed, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from alerts.slo import Slo
from collector.objective import Sli
from dashboards.style import Colour, Step

BUDGET_STEPS = (Step(None, Colour.BAD), Step(0, Colour.WARNING), Step(0.25, Colour.GOOD))
"""By the share of an error budget that is left."""


def availability_steps(slos: Sequence[Slo]) -> tuple[Step, ...]:
    """By the strictest target of availability, 0 to 1; one neutral step where no SLO has one."""
    target = max((float(slo.target) for slo in slos if slo.objective.sli is Sli.AVAILABILITY), default=None)
    return (Step(None, Colour.QUIET),) if target is None else (Step(None, Colour.BAD), Step(target, Colour.GOOD))


def latency_steps(slos: Sequence[Slo], sli: Sli, within: Colour = Colour.QUIET) -> tuple[Step, ...]:
    """By the strictest limit of an SLI's SLOs [s], ``within`` below it; one neutral step where no SLO has one."""
    limits = [slo.objective.threshold_seconds for slo in slos if slo.objective.sli is sli]
    limit = min((limit for limit in limits if limit is not None), default=None)
    return (Step(None, Colour.QUIET),) if limit is None else (Step(None, within), Step(limit, Colour.BAD))
