"""Requests as rows: values in the order of a table's columns, names as ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from operator import attrgetter, itemgetter
from typing import NamedTuple

from sqlalchemy import Table

from collector import schema
from collector.request import Request
from collector.schema import UNKNOWN
from collector.store.dictionary import Dictionary, Name

Values = tuple[object, ...]


class Named(NamedTuple):
    """Everything of a request that rows have ids for. Most requests of a batch share it with others."""

    tenant: str
    cluster: str | None
    environment: str | None
    requested_model: str | None
    response_model: str | None
    model: str
    replica: str | None
    revision: str | None
    provider: str | None
    dialect: str
    producer: str
    producer_version: str
    api_key_hash: str | None
    api_key_alias: str | None


named: Callable[[Request], Values] = attrgetter(*Named._fields)
"""The fields of Named, in their order."""

_IDS = (
    *("tenant_id", "cluster_id", "environment_id", "model_id", "requested_model_id", "response_model_id"),
    *("replica_id", "revision_id", "provider_id", "producer_id", "api_key_id"),
)
_HERE = ("received_at", "linked_at", "billing_flags")


class Ids:
    """The ids of one batch, each looked up once. Every name must have one already."""

    def __init__(self, dictionary: Dictionary) -> None:
        self._dictionary = dictionary
        self._known: dict[Values, Values] = {}

    def of(self, request: Request) -> Values:
        """In the order of the columns that ids are in."""
        names = named(request)
        ids = self._known.get(names)
        if ids is None:
            ids = self._known[names] = self._look_up(Named._make(names))
        return ids

    def _look_up(self, names: Named) -> Values:
        id = self._dictionary.id
        key_hash = names.api_key_hash
        return (
            id(schema.tenants, names.tenant),
            id(schema.clusters, names.cluster),
            id(schema.environments, names.environment),
            id(schema.models, names.model),
            self._maybe(schema.models, names.requested_model),
            self._maybe(schema.models, names.response_model),
            id(schema.replicas, names.replica),
            id(schema.revisions, names.revision),
            self._maybe(schema.providers, names.provider),
            id(schema.producers, names.dialect, names.producer, names.producer_version),
            None if key_hash is None else id(schema.api_keys, key_hash, names.api_key_alias or ""),
        )

    def _maybe(self, table: Table, name: str | None) -> int | None:
        """The id of a name in a column where NULL is unknown."""
        id = self._dictionary.id(table, name)
        return None if id == UNKNOWN else id


def row_of(request: Request, table: Table, ids: Ids, received_at: datetime) -> Values:
    """The row."""
    own, order = _layout(table)
    return order((*own(request), *ids.of(request), received_at, None, int(request.billing_flags)))


def names_of(requests: Iterable[Request]) -> dict[Table, set[Name]]:
    """Every name that requests need an id for."""
    names: dict[Table, set[Name]] = {table: set() for table in (*schema.DICTIONARIES, schema.producers, schema.api_keys)}
    for values in set(map(named, requests)):
        one = Named._make(values)
        names[schema.tenants].add((one.tenant,))
        names[schema.producers].add((one.dialect, one.producer, one.producer_version))
        for table, name in (
            (schema.clusters, one.cluster),
            (schema.environments, one.environment),
            (schema.models, one.model),
            (schema.models, one.requested_model),
            (schema.models, one.response_model),
            (schema.replicas, one.replica),
            (schema.revisions, one.revision),
            (schema.providers, one.provider),
        ):
            if name is not None:
                names[table].add((name,))
        if one.api_key_hash is not None:
            names[schema.api_keys].add((one.api_key_hash, one.api_key_alias or ""))
    return names


@cache
def _layout(table: Table) -> tuple[Callable[[Request], Values], Callable[[Values], Values]]:
    """The columns that are a request's own fields, and what puts these, ids and the rest in the order of the columns."""
    columns = [column.name for column in table.columns]
    own = [name for name in columns if name not in _IDS and name not in _HERE]
    position = {name: place for place, name in enumerate((*own, *_IDS, *_HERE))}
    return attrgetter(*own), itemgetter(*(position[name] for name in columns))
