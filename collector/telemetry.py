"""Every metric that the daemon exports about itself, in one place.

The ledger over ``llm_slo_spans_*`` holds at every scrape of one collector:
``received = rows + merged + ignored + duplicate + rejected + pending``. It is of what was acknowledged: a body that is refused
(503, 429) is sent again, and counts when it is taken.

A span that waits for the rest of its request is in none of these counts. Any collector may close it, and the one that does
counts it, as received and as what it became, in the moment of its commit; so the ledger holds for each collector and for their
sum, and what one process acknowledged and left behind is not lost to it. Until then ``llm_slo_fragments`` has it: all that
wait, of all collectors, as each collector last saw them. Add it once to the sum, not once per collector. A span that comes
again while it waits counts at once, as received and duplicate.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SPANS_RECEIVED = Counter("llm_slo_spans_received", "Spans acknowledged")
SPANS_ROWS = Counter("llm_slo_spans_rows", "Spans that became the row of a request", ["observed_by"])
SPANS_MERGED = Counter("llm_slo_spans_merged", "Spans that became part of another span's row")
ENGINE_ROWS_MERGED = Counter(
    "llm_slo_engine_rows_merged",
    "Rows of the plugin inside vLLM that became part of the row of vLLM's own span; the ledger counts both as rows",
)
SPANS_IGNORED = Counter("llm_slo_spans_ignored", "Spans that are no LLM call")
SPANS_DUPLICATE = Counter("llm_slo_spans_duplicate", "Spans whose row was there already")
SPANS_REJECTED = Counter("llm_slo_spans_rejected", "Malformed spans", ["reason"])
SPANS_PENDING = Gauge("llm_slo_spans_pending", "Spans acknowledged that are not yet part of a row")
SPANS_IN_FLIGHT = Gauge("llm_slo_spans_in_flight", "Spans that wait for a commit, and whose senders wait for an answer")
SPANS_REFUSED = Counter("llm_slo_spans_refused", "Spans whose body was refused: their sender keeps them and sends again")
FRAGMENTS = Gauge("llm_slo_fragments", "Spans in Postgres that wait for the rest of their request, of all collectors")

LOG_RECORDS_RECEIVED = Counter("llm_slo_log_records_received", "Log records acknowledged: facts + ignored + rejected")
LOG_RECORDS_FACTS = Counter("llm_slo_log_records_facts", "Log records that say something of an engine's death or start")
LOG_RECORDS_IGNORED = Counter("llm_slo_log_records_ignored", "Log records that say nothing of that")
LOG_RECORDS_REJECTED = Counter("llm_slo_log_records_rejected", "Malformed log records", ["reason"])
LOG_RECORDS_REFUSED = Counter("llm_slo_log_records_refused", "Log records whose body was refused: their sender keeps them")

CHANGES_POSTED = Counter("llm_slo_changes_posted", "Changes that somebody posted, by the HTTP status of the answer", ["status"])

NAMES_FOLDED = Counter("llm_slo_names_folded", "Names that were folded into `other`: too many new ones in a minute", ["kind"])
BODIES_REFUSED = Counter("llm_slo_bodies_refused", "OTLP bodies that were refused whole", ["transport", "status"])
BATCH_ROWS = Histogram("llm_slo_batch_rows", "Rows of one transaction [rows]", buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384))
COMMIT_SECONDS = Histogram(
    "llm_slo_commit_seconds",
    "One transaction of the write path, begin to commit [s]",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
COMMITS_FAILED = Counter("llm_slo_commits_failed", "Transactions of the write path that did not commit")
ROLLUP_LAG_SECONDS = Gauge("llm_slo_rollup_lag_seconds", "Age of the oldest minute that waits to be rolled up [s]")

SPOOL_BYTES = Gauge("llm_slo_spool_bytes", "Size of the segments of the spool [bytes]")
SPOOL_OLDEST_SECONDS = Gauge("llm_slo_spool_oldest_seconds", "Age of the oldest request in the spool; 0 when it is empty [s]")
SPOOL_APPENDED = Counter(
    "llm_slo_spool_appended", "Requests and fragments that were acknowledged after fsync, because Postgres was away"
)
SPOOL_REPLAYED = Counter("llm_slo_spool_replayed", "Requests and fragments that left the spool for Postgres")
SPOOL_ADOPTED = Counter(
    "llm_slo_spool_adopted", "Requests found in the spool, left by an earlier process; they count as received again"
)
SPOOL_SET_ASIDE = Counter("llm_slo_spool_set_aside", "Records that cannot be read or stored, and are kept aside", ["reason"])
SPOOL_SET_ASIDE_BYTES = Counter("llm_slo_spool_set_aside_bytes", "Size of the records that cannot be read [bytes]", ["reason"])
SPOOL_TORN_BYTES = Counter("llm_slo_spool_torn_bytes", "Unacknowledged ends of segments that were cut off at a start [bytes]")
SPOOL_APPEND_SECONDS = Histogram(
    "llm_slo_spool_append_seconds",
    "One append to the spool, with its fsync [s]",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)

SCRAPES = Counter("llm_slo_scrapes", "Scrapes of engine metrics", ["replica", "result"])
SCRAPE_SECONDS = Histogram(
    "llm_slo_scrape_seconds", "Duration of one scrape [s]", buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
)
TARGETS = Gauge("llm_slo_targets", "Targets that this collector watches")
DISCOVERY_FAILURES = Counter("llm_slo_discovery_failures", "Times that a source did not tell its targets", ["source"])
HISTOGRAMS_MALFORMED = Counter(
    "llm_slo_histograms_malformed", "Histograms of a scrape that were left out: counts that fall or are no counts"
)
OBSERVATIONS_DROPPED = Counter(
    "llm_slo_observations_dropped", "Health checks and scrapes that were not kept because Postgres was away"
)
LOOP_ERRORS = Counter("llm_slo_loop_errors", "Unexpected exceptions caught by an outermost loop", ["loop"])

ALERT_LAG_SECONDS = Gauge("llm_slo_alert_lag_seconds", "Age of the newest pulse when the alerter evaluated it [s]")
ALERT_EVALUATION_SECONDS = Histogram(
    "llm_slo_alert_evaluation_seconds",
    "One evaluation of all SLOs and symptoms [s]",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
ALERTS_FIRING = Gauge("llm_slo_alerts_firing", "Alerts that fire", ["severity"])
ALERTER_BLIND = Gauge("llm_slo_alerter_blind", "1 on an alerter that says that monitoring is blind")
ALERTER_LEADER = Gauge("llm_slo_alerter_leader", "1 on the alerter that leads")
NOTIFICATIONS = Counter("llm_slo_notifications", "Attempts to deliver a notification", ["sink", "result"])
