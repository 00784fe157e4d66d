"""every engine: GPU memory, requests whose ending is not said, and the part that an engine has in serving them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = {
    "role": (sa.Text(), "prefill or decode, of an engine that says that it does one of them; NULL for one that does both"),
    "requests_finished_unspecified": (
        sa.Double(),
        "Finished in any way, by engines that do not count the ways apart; the engine's raw counter [requests]",
    ),
    "gpu_memory_used_bytes": (sa.Double(), "Memory in use: of the GPU, or by the model on it [bytes]"),
    "gpu_memory_free_bytes": (sa.Double(), "Memory that is free on the GPU [bytes]"),
}


def upgrade() -> None:
    for name, (kind, comment) in _COLUMNS.items():
        op.add_column("snapshots", sa.Column(name, kind, nullable=True, comment=comment))
    # A comment goes to the parent alone; partitions that are there already get theirs here.
    for partition in op.get_bind().scalars(
        sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'snapshots'::regclass ORDER BY 1")
    ):
        for name, (_, comment) in _COLUMNS.items():
            op.execute(f"COMMENT ON COLUMN {partition}.{name} IS '{comment.replace(chr(39), chr(39) * 2)}'")


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("snapshots", name)
