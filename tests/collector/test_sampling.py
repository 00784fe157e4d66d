from __future__ import annotations

import pytest

from collector.sampling import sampling_weight


@pytest.mark.parametrize(
    ("expected", "trace_state"),
    [
        (1.0, ""),
        (1.0, "vendor=th:8"),
        (1.0, "ot=th:0"),
        (2.0, "ot=th:8"),
        (4.0, "ot=th:c"),
        (4.0, "vendor=1,ot=rv:abcdefabcdefab;th:c,other=2"),
        (1.0, "ot=th:zz"),
    ],
)
def test_weight_is_the_inverse_of_the_sampling_probability(expected: float, trace_state: str) -> None:
    assert expected == sampling_weight(trace_state)
