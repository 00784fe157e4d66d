"""Pulses, SLO minutes and rollups: what is added up, so that no board reads raw rows."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from collector.schema.base import Time, column, identity, maybe, metadata

pulses = Table(
    "pulses",
    metadata,
    identity("What an alerter remembers having seen"),
    # The database's clock, since alerters read by it and the clocks of collectors differ.
    column("received_at", Time, "Start of the transaction that appended it", server_default=text("now()")),
    column("second", Time, "Second in which the requests ended"),
    column("stream_id", Integer, "Series of verdicts"),
    column("good", Integer, "Requests that passed"),
    column("bad", Integer, "Requests that failed"),
    column("folded", Boolean, "Whether slo_minute holds it", server_default=text("false")),
    comment="Verdicts by second, appended in the transaction of their rows; kept 2 hours",
)
Index(None, pulses.c.received_at)
Index("ix_pulses_unfolded", pulses.c.id, postgresql_where=text("NOT folded"))

slo_minute = Table(
    "slo_minute",
    metadata,
    column("minute", Time, "Minute in which the requests ended"),
    column("stream_id", Integer, "Series of verdicts"),
    column("good", BigInteger, "Requests that passed"),
    column("bad", BigInteger, "Requests that failed"),
    PrimaryKeyConstraint("minute", "stream_id"),
    comment="Verdicts by minute; kept as long as the SLO's period",
)

rollup_marks = Table(
    "rollup_marks",
    metadata,
    identity("Order of arrival"),
    column("minute", Time, "Minute whose rows changed"),
    comment="Minutes to recompute from rows; appended in the transaction that changed them",
)

SKETCHES = {
    "ttft_seconds": "Time to first token",
    "tpot_seconds": "Time per output token",
    "latency_seconds": "Latency",
    "queue_seconds": "Queue time",
    "input_tokens": "Prompt length",
    "context_tokens": "Prompt and output length",
}
"""What rollups keep a sketch of: the quantity, by the prefix of its two columns."""

rollup_minute = Table(
    "rollup_minute",
    metadata,
    column("minute", Time, "Minute in which the requests ended"),
    column("requests", BigInteger, "Requests"),
    column("weighted_requests", Double, "Requests, by sampling weight"),
    column("input_tokens", BigInteger, "Prompt tokens, cached ones included, where known"),
    column("cached_tokens", BigInteger, "Cached prompt tokens, where known"),
    column("cacheable_tokens", BigInteger, "Prompt tokens of the rows that state cached tokens: the hit rate's denominator"),
    column("output_tokens", BigInteger, "Generated tokens, where known"),
    column("reasoning_tokens", BigInteger, "Reasoning tokens, where known"),
    column("rows_with_tokens", BigInteger, "Rows that state input and output tokens"),
    column("rows_with_ttft", BigInteger, "Rows that state TTFT"),
    column("tenant_id", Integer, "Tenant, 0 for all"),
    column("environment_id", Integer, "Environment"),
    column("model_id", Integer, "Model, 0 for all"),
    column("replica_id", Integer, "Replica, 0 for all"),
    column("observed_by", SmallInteger, "1 gateway, 2 client, 3 engine"),
    column("traffic_class", SmallInteger, "1 interactive, 2 batch, 3 synthetic"),
    column("operation", SmallInteger, "collector.request.Operation"),
    column("outcome", SmallInteger, "collector.request.Outcome"),
    column("billing_flags", SmallInteger, "collector.request.BillingFlag"),
    maybe("sketch_version", SmallInteger, "collector.sketch.VERSION; NULL where the row keeps no sketch"),
    *(
        part
        for name, comment in SKETCHES.items()
        for part in (
            maybe(f"{name}_buckets", ARRAY(SmallInteger), f"{comment}: sketch bucket indexes, ascending"),
            maybe(f"{name}_counts", ARRAY(Integer), f"{comment}: rows in each of these buckets"),
        )
    ),
    PrimaryKeyConstraint(
        "minute",
        "tenant_id",
        "observed_by",
        "environment_id",
        "traffic_class",
        "operation",
        "model_id",
        "replica_id",
        "outcome",
        "billing_flags",
    ),
    comment="Requests by minute: counts for all, sketches for fleet, model and replica; kept 14 days",
)
