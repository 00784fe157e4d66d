"""The whole path, from HTTP to commit: against one COPY of the same rows into the same table, Postgres' CPU on both sides.

Assembly and links are on, and so is everything else of the way of a span. Rollups, scrapes and the joiner of links are other
loops, and are not in it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import NamedTuple

from psycopg import sql

from collector import partition, schema
from collector.assemble import assemble
from collector.batch import Batcher
from collector.ingest import Ingest, Replayed, allow_list
from collector.normalise import normalise
from collector.otlp.decoder import Decoder
from collector.otlp.http import serve_http
from collector.otlp.signal import traces
from collector.request import Request
from collector.spool import Spool
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fragment import FragmentStore
from collector.store.request import TYPES, RequestStore
from collector.store.row import Ids, names_of, row_of
from collector.token import Gate
from collector.waitlist import Waitlist
from tests.bench.decoding import POLICY
from tests.bench.measure import Ratio, family_cpu_seconds, ratio, resident_bytes
from tests.bench.workload import SPANS, gateway_body
from tests.collector.example import OBJECTIVES

BODIES, REPETITIONS, WARM = 20, 8, 2
_LIMIT = 2**24


class Memory(NamedTuple):
    """What a process under load took [bytes], a while after it began and at the end."""

    seconds: float
    spans: int
    began: int
    ended: int


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def _collector(database: Database, spool: Path) -> AsyncIterator[str]:
    """The stages of a collector that a span goes through, in this process. Gives the address that bodies are sent to."""
    store = RequestStore(database, Dictionary(database))
    batcher = Batcher(store, largest_pending=200_000, now=_now)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(
            Spool(spool, largest_bytes=2**30, longest_age=timedelta(hours=1), largest_pending=200_000, now=_now)
        )
        fragments, waitlist = FragmentStore(database), Waitlist(200_000)
        ingest = Ingest(batcher, kept, fragments, waitlist, policy=POLICY, objectives=OBJECTIVES, now=_now)
        replay = kept.replay(Replayed(store, waitlist, OBJECTIVES, _now))
        for loop in (asyncio.ensure_future(batcher.run()), asyncio.ensure_future(replay)):
            stack.callback(loop.cancel)
        while kept.store_away:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
        gate = Gate(required=False, now=_now)
        await stack.enter_async_context(serve_http(address, [traces(ingest, allow_list(POLICY))], _LIMIT, gate))
        yield f"http://{address}/v1/traces"


@asynccontextmanager
async def _sender(url: str, seed: int) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """A process that sends bodies of its own each time that it is told to."""
    program = (sys.executable, "-m", "tests.bench.sender", url, str(seed), str(BODIES))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    ask, hear = process.stdin, process.stdout

    async def tell(expected: bytes) -> None:
        ask.write(b"\n")
        if await hear.readline() != expected:
            raise RuntimeError("the process that sends has ended")

    yield tell
    ask.close()
    await process.wait()


async def compare(conninfo: str, postmaster: int, spool: Path) -> list[Ratio]:
    """CPU a row, of this process and of Postgres; against all rows in one transaction, and against a commit a body."""
    ours: list[float] = []
    floor: list[float] = []
    committed: list[float] = []
    async with Database(conninfo, application="bench") as database:
        async with database.connection() as connection:
            await partition.ensure(connection, _now())
        dictionary = Dictionary(database)
        async with _collector(database, spool) as url, _sender(url, 1_000_000) as tell:
            for number in range(WARM + REPETITIONS):
                await tell(b"made\n")
                # In turns: each repetition is beside its floors in time.
                for found, parts in ((ours, None), (floor, 1), (committed, BODIES)):
                    batches = [] if parts is None else await _batches(dictionary, number, parts)
                    start = process_time() + family_cpu_seconds(postmaster)
                    if parts is None:
                        await tell(b"sent\n")
                    for rows in batches:
                        await _copy(database, rows)
                    found.append(process_time() + family_cpu_seconds(postmaster) - start)
    size = BODIES * SPANS
    return [
        ratio("HTTP to commit", ours[WARM:], f"one COPY of the same {size:,} rows", floor[WARM:], items=size),
        ratio("HTTP to commit", ours[WARM:], f"a COPY and a commit a body of {SPANS} rows", committed[WARM:], items=size),
    ]


async def _batches(dictionary: Dictionary, number: int, parts: int) -> list[list[tuple[object, ...]]]:
    """Rows of as many bodies, in so many batches, ready to be copied in the order of their key."""
    decode = Decoder(allow_list(POLICY))
    seed = 2_000_000 + parts * 100_000 + number * BODIES
    bodies = [gateway_body(seed + index, _now()) for index in range(BODIES)]
    groups = [group for body in bodies for group in assemble(decode(body).spans).groups]
    requests = [one for group in groups if isinstance(one := normalise(group, POLICY, _now()), Request)]
    # The collector in this process had the same names, so they have their ids.
    ids = Ids(dictionary)
    await dictionary.allocate(names_of(requests))
    rows = sorted((row_of(one, schema.requests, ids, _now()) for one in requests), key=lambda row: row[0:1])
    size = len(rows) // parts
    return [rows[start : start + size] for start in range(0, len(rows), size)]


async def _copy(database: Database, rows: Sequence[tuple[object, ...]]) -> None:
    statement = sql.SQL("COPY requests ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.SQL(", ").join(sql.Identifier(column.name) for column in schema.requests.columns)
    )
    async with database.transaction() as connection, connection.cursor().copy(statement) as stream:
        stream.set_types([TYPES[type(column.type)] for column in schema.requests.columns])
        for row in rows:
            await stream.write_row(row)


async def hold(conninfo: str, spool: Path, seconds: float) -> Memory:
    """Memory of the stages under load, all that they can take of it for so long. It is first looked at after a third."""
    began, spans = 0, 0
    start = _now()
    async with (
        Database(conninfo, application="bench") as database,
        _collector(database, spool) as url,
        _sender(url, 3_000_000) as tell,
    ):
        while (passed := (_now() - start).total_seconds()) < seconds:
            await tell(b"made\n")
            await tell(b"sent\n")
            spans += BODIES * SPANS
            if not began and passed >= seconds / 3:
                began = resident_bytes()
    return Memory((_now() - start).total_seconds(), spans, began, resident_bytes())
