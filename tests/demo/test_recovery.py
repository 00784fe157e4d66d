from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.exposition import parse
from demo.order import BrokenPromise
from demo.recovery import Balance, compare, seen_between
from demo.vitals import collector_vitals
from tests.demo.test_vitals import COLLECTOR

BEFORE = collector_vitals(
    parse(COLLECTOR.replace("pending 20", "pending 0").replace("received_total 100", "received_total 80"))
)


def after(rows: int, **changes: Any) -> Balance:
    """Ten spans later, of which eight are rows and two duplicates."""
    settled = {**BEFORE.settled, "rows": BEFORE.settled["rows"] + 8, "duplicate": BEFORE.settled["duplicate"] + 2}
    changed: dict[str, Any] = {"received": BEFORE.received + 10, "settled": settled, "refused": BEFORE.refused + 1} | changes
    return Balance(BEFORE._replace(**changed), rows)


def test_what_was_acknowledged_is_told_by_what_became_of_it() -> None:
    said = compare(Balance(BEFORE, 500), after(508))
    assert "acknowledged 10 spans (8 rows, 2 duplicate); 8 rows stored; 1 refused" == said


@pytest.mark.parametrize("later", [after(507), after(508, received=BEFORE.received + 11)])
def test_row_or_span_that_is_missing_is_a_broken_promise(later: Balance) -> None:
    with pytest.raises(BrokenPromise, match="something is missing"):
        compare(Balance(BEFORE, 500), later)


def test_counts_of_two_processes_are_not_compared() -> None:
    said = compare(Balance(BEFORE, 500), after(508, started=BEFORE.started + 60, received=3))
    assert "started again" in said


def test_calls_are_those_that_clients_saw_end_within_the_time(tmp_path: Path) -> None:
    record = tmp_path / "clients.jsonl"
    calls = [json.dumps({"trace_id": f"{number:032x}", "ended": float(number)}) for number in range(5)]
    record.write_text("\n".join(calls) + '\n{"trace_id": "half')
    assert {f"{number:032x}" for number in (1, 2, 3)} == seen_between(record, 1, 3)
    assert set() == seen_between(tmp_path / "none.jsonl", 0, 9)
