"""Rollups: minutes recomputed from rows, hours made of minutes, days made of hours; pulses folded into minutes of verdicts."""

from collector.rollup.minute import recompute
from collector.rollup.roller import coarsen, roll
from collector.schema.level import BUCKET, LEVELS

__all__ = ["BUCKET", "LEVELS", "coarsen", "recompute", "roll"]
