"""fragments: told apart by the tenant of their token, and found by how long they have waited"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("pk_fragments"), "fragments", type_="primary")
    op.create_primary_key(op.f("pk_fragments"), "fragments", ["trace_id", "span_id", "tenant"])
    op.create_index(op.f("ix_fragments_received_at"), "fragments", ["received_at"])
    op.alter_column(
        "fragments", "received_at", comment="The database's clock when it was taken; later, for one that waits longer"
    )


def downgrade() -> None:
    op.alter_column("fragments", "received_at", comment="When the collector took it")
    op.drop_index(op.f("ix_fragments_received_at"), table_name="fragments")
    op.drop_constraint(op.f("pk_fragments"), "fragments", type_="primary")
    op.create_primary_key(op.f("pk_fragments"), "fragments", ["trace_id", "span_id"])
