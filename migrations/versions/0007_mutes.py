"""mutes: what direct sinks are not told of for a while, and what waits in the outbox for that"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mutes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order"),
        sa.Column("matchers", postgresql.JSONB(), nullable=False, comment="Labels that an alert must have, with their values"),
        sa.Column("author", sa.Text(), nullable=False, comment="Who muted"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it ends by itself"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True, comment="When somebody ended it before that"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mutes")),
        comment="Alerts that direct sinks are not told of for a while",
    )
    op.add_column("outbox", sa.Column("muted_by", sa.BigInteger(), nullable=True, comment="Mute that held it back"))
    op.add_column(
        "outbox",
        sa.Column(
            "released_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the mute was over, and the alert fired still",
        ),
    )
    op.create_index(
        "ix_outbox_held",
        "outbox",
        ["sink"],
        postgresql_where=sa.text("muted_by IS NOT NULL AND released_at IS NULL AND failed_at IS NULL"),
    )
    op.create_index("ix_outbox_failed", "outbox", ["failed_at"], postgresql_where=sa.text("failed_at IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_outbox_failed", table_name="outbox")
    op.drop_index("ix_outbox_held", table_name="outbox")
    op.drop_column("outbox", "released_at")
    op.drop_column("outbox", "muted_by")
    op.drop_table("mutes")
