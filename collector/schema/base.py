"""What every table is made with: the metadata, the column with a comment, and the two reserved ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData
from sqlalchemy.types import TypeEngine

ALL = 0
"""Reserved id in every dictionary: "all of them", in the marginal rows of rollups."""

UNKNOWN = 1
"""Reserved id in every dictionary: "not stated"."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Time = DateTime(timezone=True)


def column(name: str, type_: TypeEngine[Any] | type[TypeEngine[Any]], comment: str, **options: Any) -> Column[Any]:
    """A NOT NULL column, unless ``nullable=True`` says that unknown is a value. The comment ends with the unit, if any."""
    options.setdefault("nullable", False)
    return Column(name, type_, comment=comment, **options)


def maybe(name: str, type_: TypeEngine[Any] | type[TypeEngine[Any]], comment: str) -> Column[Any]:
    """A column where NULL means unknown."""
    return column(name, type_, comment, nullable=True)


def identity(comment: str) -> Column[int]:
    """An id in order of arrival. Ids of transactions that commit late are skipped by a cursor: never read by it alone."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True, comment=comment)
