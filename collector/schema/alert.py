"""Alerts: their state, every change of it, and what is still to be told to whom."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, SmallInteger, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB

from collector.schema.base import Time, column, identity, maybe, metadata

alerts = Table(
    "alerts",
    metadata,
    column("fingerprint", Text, "Hash of the labels without severity: the alert's identity", primary_key=True),
    column("name", Text, "Name of the SLO or symptom"),
    column("labels", JSONB, "Labels, severity included"),
    column("annotations", JSONB, "The verdict and what a person needs beside it"),
    column("state", Text, "inactive, pending, firing, resolving or resolved"),
    column("detector", JSONB, "What the detector must remember over a restart"),
    maybe("starts_at", Time, "Start of the present or last firing"),
    maybe("ends_at", Time, "End of the last firing"),
    column("updated_at", Time, "Last evaluation that changed something"),
    comment="State per SLO or symptom and labels",
)

flips = Table(
    "flips",
    metadata,
    identity("Order"),
    column("fingerprint", Text, "Alert"),
    column("at", Time, "When"),
    column("from_state", Text, "State before"),
    column("to_state", Text, "State after"),
    column("reason", Text, "Why, in one sentence"),
    comment="Every change of an alert's state",
)
Index(None, flips.c.fingerprint, flips.c.at)

outbox = Table(
    "outbox",
    metadata,
    identity("Order"),
    column("fingerprint", Text, "Alert"),
    column("starts_at", Time, "Start of the firing it tells of"),
    column("revision", SmallInteger, "0 first; one more each time it rose to a page, or fired again within 10 minutes"),
    column("status", Text, "firing or resolved"),
    column("sink", Text, "Name of the notifier"),
    column("payload", JSONB, "The alert as it was when it flipped"),
    column("created_at", Time, "When it was written, in the transaction of the flip"),
    column("attempts", Integer, "Attempts so far"),
    column("next_attempt_at", Time, "Not before"),
    maybe("delivered_at", Time, "When the sink took it"),
    maybe("failed_at", Time, "When it was given up as undeliverable"),
    maybe("last_error", Text, "What the last attempt met"),
    maybe("muted_by", BigInteger, "Mute that held it back"),
    maybe("released_at", Time, "When the mute was over, and the alert fired still"),
    UniqueConstraint("fingerprint", "starts_at", "revision", "status", "sink"),
    comment="Notifications still to be delivered, and those that were",
)
Index(
    "ix_outbox_due",
    outbox.c.sink,
    outbox.c.next_attempt_at,
    postgresql_where=text("delivered_at IS NULL AND failed_at IS NULL"),
)
Index(
    "ix_outbox_held",
    outbox.c.sink,
    postgresql_where=text("muted_by IS NOT NULL AND released_at IS NULL AND failed_at IS NULL"),
)
Index("ix_outbox_failed", outbox.c.failed_at, postgresql_where=text("failed_at IS NOT NULL"))

mutes = Table(
    "mutes",
    metadata,
    identity("Order"),
    column("matchers", JSONB, "Labels that an alert must have, with their values"),
    column("author", Text, "Who muted"),
    column("reason", Text, "Why"),
    column("created_at", Time, "When"),
    column("expires_at", Time, "When it ends by itself"),
    maybe("ended_at", Time, "When somebody ended it before that"),
    comment="Alerts that direct sinks are not told of for a while",
)
