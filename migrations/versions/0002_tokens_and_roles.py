"""tokens and roles: the tables and functions; migrations.access gives the roles their rights"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import access, citus

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


# Whoever makes or drops a partition owns its parent. Collectors do it through these, and so need not own anything.
_MAKE_PARTITION = """
CREATE FUNCTION make_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    fresh text := parent || to_char(day, '"_"YYYYMMDD');
    grantee text;
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_class WHERE relname = parent AND relnamespace = '{schema}'::regnamespace AND relkind = 'p'
    ) THEN
        RAISE EXCEPTION 'no table in partitions: %', parent;
    END IF;
    -- The same columns, comments and indexes as the parent's, which the attached table's indexes become parts of.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', fresh, parent);
    -- No policy holds for a partition, so who was granted one sees nothing of it. Who reads the parent needs no right here.
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', fresh);
    -- Somebody's default privileges may have given rights on it.
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relname = fresh AND c.relnamespace = '{schema}'::regnamespace AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %I FROM %s', fresh, grantee);
    END LOOP;
    -- Gives the parent its new partition; only other changes of the parent's shape wait for it.
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, fresh, day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00'
    );
END $$
"""

_DROP_PARTITION = """
CREATE FUNCTION drop_partition(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    -- Nothing else of the owner's may go; one that is gone already is gone.
    IF EXISTS (
        SELECT FROM pg_class WHERE relname = name AND relnamespace = '{schema}'::regnamespace AND relispartition
    ) THEN
        EXECUTE format('DROP TABLE IF EXISTS %I', name);
    END IF;
END $$
"""

# What row-level security goes by. The path is fixed: else a reader's temporary table would be asked in place of ours.
_READABLE_TENANTS = """
CREATE FUNCTION readable_tenants() RETURNS integer[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN ARRAY(SELECT tenant_id FROM {schema}.tenant_readers WHERE role_name = current_user);
END $$
"""

_FUNCTIONS = {
    "make_partition(text, date)": _MAKE_PARTITION,
    "drop_partition(text)": _DROP_PARTITION,
    "readable_tenants()": _READABLE_TENANTS,
}


def upgrade() -> None:
    # Before the tables: on Citus, functions have to be first in a transaction.
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for text in _FUNCTIONS.values():
        op.get_bind().exec_driver_sql(text.replace("{schema}", schema).replace("%", "%%"))
    for function in ("make_partition(text, date)", "drop_partition(text)"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.create_table(
        "tenant_readers",
        sa.Column("role_name", sa.Text(), nullable=False, comment="Login that reads, a member of llm_slo_auditor"),
        sa.Column("tenant_id", sa.Integer(), nullable=False, comment="Tenant whose rows it sees"),
        sa.CheckConstraint("tenant_id > 0", name=op.f("ck_tenant_readers_one_tenant")),
        sa.PrimaryKeyConstraint("role_name", "tenant_id", name=op.f("pk_tenant_readers")),
        comment="Which tenants the logins of tenants' own readers see: what row-level security goes by",
    )
    citus.copy_everywhere("tenant_readers")
    op.create_table(
        "tokens",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Names the token to people; no secret"
        ),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the token; the token itself is nowhere"),
        sa.Column("tenant", sa.Text(), nullable=True, comment="Tenant that it stands for; NULL for any"),
        sa.Column("rights", postgresql.ARRAY(sa.Text()), nullable=False, comment="ingest, read, admin"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was made"),
        sa.Column(
            "expires_at", sa.DateTime(timezone=True), nullable=True, comment="From when on it is refused; NULL for never"
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True, comment="When it was revoked"),
        sa.Column("note", sa.Text(), nullable=False, comment="What it is for, in the words of whoever made it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
        comment="Tokens of senders and readers, by hash",
    )


def downgrade() -> None:
    access.unprotect(op.get_bind())
    for function in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("tokens")
    op.drop_table("tenant_readers")
