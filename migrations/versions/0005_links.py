"""links: what an engine tells of a call, found by the row of its gateway"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False, comment="Of the row's key"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the call"),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="When the collector took it"),
        sa.Column("tenant_id", sa.Integer(), nullable=False, comment="Of the row's key"),
        sa.Column(
            "tells", sa.Boolean(), nullable=False, comment="Whether the row is an engine's, and tells; else it is one that asks"
        ),
        sa.Column(
            "key",
            sa.LargeBinary(),
            nullable=False,
            comment="What a call's rows have in common: the trace's id, or a hash of the request's",
        ),
        sa.Column("span_id", sa.LargeBinary(), nullable=False, comment="Of the row's key"),
        sa.Column("trace_id", sa.LargeBinary(), nullable=False, comment="Of the row's key"),
        sa.PrimaryKeyConstraint("key", "tells", "ended_at", "span_id", "trace_id", "tenant_id", name=op.f("pk_links")),
        comment="Rows of the last minutes, by what they have in common with other rows of the same call",
    )
    op.create_index(op.f("ix_links_received_at"), "links", ["received_at"])


def downgrade() -> None:
    op.drop_table("links")
