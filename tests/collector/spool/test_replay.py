from __future__ import annotations

import pytest

from collector.spool.replay import LARGEST_RATE, pause_seconds


@pytest.mark.parametrize(
    ("took", "spans", "expected"),
    [(0.5, 100, 0.5), (0.0, 1000, 1000 / LARGEST_RATE), (0.08, 1000, 0.08), (0.01, 1000, 0.09), (0.0, 0, 0.0)],
)
def test_replay_has_at_most_half_of_a_connection_and_a_largest_rate(took: float, spans: int, expected: float) -> None:
    assert expected == pytest.approx(pause_seconds(took, spans))
