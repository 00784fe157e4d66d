from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collector import telemetry
from collector.exposition import parse
from demo import vitals
from demo.vitals import AlerterVitals, Vitals, alerter_vitals, collector_vitals, read_vitals
from tests.demo.example import NOBODY

COLLECTOR = """
process_start_time_seconds 1.7e+09
llm_slo_spans_received_total 100.0
llm_slo_spans_rows_total{observed_by="gateway"} 40.0
llm_slo_spans_rows_total{observed_by="engine"} 30.0
llm_slo_spans_rows_created{observed_by="engine"} 1.7e+09
llm_slo_spans_merged_total 3.0
llm_slo_spans_ignored_total 5.0
llm_slo_spans_duplicate_total 1.0
llm_slo_spans_rejected_total{reason="no_end"} 1.0
llm_slo_spans_pending 20.0
llm_slo_spans_refused_total 7.0
llm_slo_spool_appended_total 25.0
llm_slo_spool_replayed_total 5.0
llm_slo_spool_bytes 2048.0
llm_slo_spool_oldest_seconds 12.5
llm_slo_commit_seconds_count 10.0
llm_slo_commit_seconds_sum 0.25
"""


def test_collectors_page_is_read_with_every_label() -> None:
    seen = collector_vitals(parse(COLLECTOR))
    assert {"rows": 70, "merged": 3, "ignored": 5, "duplicate": 1, "rejected": 1} == seen.settled
    assert (100, 20, 7, 2048, 12.5) == (seen.received, seen.pending, seen.refused, seen.spool_bytes, seen.spool_oldest_seconds)
    assert 0 == seen.missing


def test_span_that_is_nowhere_is_missing() -> None:
    assert 2 == collector_vitals(parse(COLLECTOR.replace("pending 20.0", "pending 18.0"))).missing


def test_alerters_page_is_read() -> None:
    page = """
llm_slo_alerter_blind 1.0
llm_slo_alerter_leader 0.0
llm_slo_notifications_total{result="delivered",sink="pager"} 4.0
llm_slo_notifications_total{result="retry",sink="pager"} 9.0
"""
    attempts = {("pager", "delivered"): 4, ("pager", "retry"): 9}
    assert AlerterVitals(leads=False, blind=True, attempts=attempts) == alerter_vitals(parse(page))


def test_every_metric_that_is_read_exists() -> None:
    telemetry.NOTIFICATIONS.labels("pager", "delivered")
    telemetry.SPANS_ROWS.labels("gateway")
    telemetry.SPANS_REJECTED.labels("no_end")
    pages = text_string_to_metric_families(generate_latest().decode())
    existing = {sample.name for family in pages for sample in family.samples}
    assert vitals.__file__ is not None
    read = set(re.findall(r'"(llm_slo_[a-z_]+)"', Path(vitals.__file__).read_text()))
    read |= {f"llm_slo_spans_{name}_total" for name in (*collector_vitals([]).settled, "received", "refused")}
    assert set() == read - existing


async def test_processes_that_do_not_answer_are_none() -> None:
    assert Vitals(None, None) == await read_vitals(NOBODY, NOBODY)
