"""Tokens in Postgres: made, listed, revoked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from psycopg.rows import kwargs_row

from collector.store.connection import Database
from collector.token import Right, Token


def _token(*, rights: list[str], **columns: Any) -> Token:
    # A right that a newer llm-slo knows is none that this one can grant.
    return Token(rights=frozenset(Right(right) for right in rights if right in set(Right)), **columns)


class TokenStore:
    """The table of tokens. Collectors may read it; to write takes the owner of the tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        hash: bytes,
        *,
        tenant: str | None,
        rights: Iterable[Right],
        note: str,
        created_at: datetime,
        expires_at: datetime | None,
    ) -> int:
        """Keep a new token by its hash; its id.

        :raises StoreUnavailable: when Postgres did not commit
        :raises psycopg.errors.InsufficientPrivilege: this login may not
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # one new token
                "INSERT INTO tokens (hash, tenant, rights, created_at, expires_at, note) VALUES (%s, %s, %s, %s, %s, %s)"
                " RETURNING id",
                (hash, tenant, sorted(rights), created_at, expires_at, note),
            )
            row = await cursor.fetchone()
        assert row is not None
        assert isinstance(row[0], int)
        return row[0]

    async def read(self) -> list[Token]:
        """Every token there ever was, the oldest first.

        :raises StoreUnavailable: when Postgres cannot be reached
        """
        async with self._database.transaction() as connection, connection.cursor(row_factory=kwargs_row(_token)) as cursor:
            await cursor.execute(
                # every token; they are few
                "SELECT id, hash, tenant, rights, created_at, expires_at, revoked_at, note FROM tokens ORDER BY id"
            )
            return await cursor.fetchall()

    async def revoke(self, id: int, now: datetime) -> bool:
        """Refuse a token from now on; False where there is none with this id. Again changes nothing.

        :raises StoreUnavailable: when Postgres did not commit
        :raises psycopg.errors.InsufficientPrivilege: this login may not
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # one token; of two revocations the first counts
                "UPDATE tokens SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s",
                (now, id),
            )
            return cursor.rowcount == 1
