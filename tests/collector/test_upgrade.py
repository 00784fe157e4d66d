from __future__ import annotations

from datetime import UTC, datetime, timedelta

from collector.event import ChangeKind, EventKind
from collector.metrics import KV_CACHE_USAGE, PREEMPTIONS, REQUESTS_RUNNING, Family
from collector.upgrade import SETTLED, Known, see_families, see_version

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
OLD = frozenset({REQUESTS_RUNNING, KV_CACHE_USAGE, PREEMPTIONS})


def upgraded(before: frozenset[Family] = OLD) -> Known:
    """A replica that told 0.27.1 and what it had, and now tells 0.32.0."""
    known, change = see_version(Known(), "0.27.1", "vllm-0", "m", AT)
    assert change is None, "the first version that is seen is no change"
    known, event = see_families(known, before, "vllm-0", "m", AT)
    assert event is None
    known, change = see_version(known, "0.32.0", "vllm-0", "m", AT)
    assert change is not None
    assert (ChangeKind.VERSION, "found", "vllm-0", "m") == (change.kind, change.source, change.replica, change.model)
    assert {"from": "0.27.1", "to": "0.32.0"} == change.detail
    return known


def test_metric_that_a_new_version_no_longer_has_is_told_once_it_has_settled() -> None:
    known = upgraded()
    left = frozenset({REQUESTS_RUNNING})
    known, event = see_families(known, left, "vllm-0", "m", AT + SETTLED - timedelta(seconds=1))
    assert event is None
    known, event = see_families(known, left, "vllm-0", "m", AT + SETTLED)
    assert event is not None
    assert (EventKind.METRICS_GONE, "vllm-0", "m") == (event.kind, event.replica, event.model)
    assert {"metrics": "kv_cache_usage_ratio, preemptions", "from": "0.27.1", "to": "0.32.0"} == event.detail
    assert None is see_families(known, left, "vllm-0", "m", AT + 2 * SETTLED)[1]


def test_metric_that_comes_late_is_not_gone() -> None:
    known = upgraded()
    known, _ = see_families(known, frozenset({REQUESTS_RUNNING}), "vllm-0", "m", AT)
    known, _ = see_families(known, OLD, "vllm-0", "m", AT + timedelta(minutes=1))
    assert None is see_families(known, frozenset({REQUESTS_RUNNING}), "vllm-0", "m", AT + SETTLED)[1]


def test_metric_that_comes_and_goes_within_a_version_is_no_fact() -> None:
    known, _ = see_version(Known(), "0.32.0", "vllm-0", "m", AT)
    known, _ = see_families(known, OLD, "vllm-0", "m", AT)
    assert None is see_families(known, frozenset(), "vllm-0", "m", AT + 2 * SETTLED)[1]


def test_version_that_is_not_told_is_no_other_version() -> None:
    known = upgraded()
    assert (known, None) == see_version(known, None, "vllm-0", "m", AT)
    assert (known, None) == see_version(known, "0.32.0", "vllm-0", "m", AT)
