from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from collector.config import Config
from collector.daemon import policy_of
from collector.ingest import allow_list
from collector.otlp.protobuf import decode_protobuf
from collector.replay.account import Account, Exposition
from collector.replay.replay import MOST_FAULTS, Replay, Replayed, time_of
from collector.replay.sink import Kept, Nowhere, Sink
from collector.store.connection import Database
from tests.collector.example import OBJECTIVES, everything, now, rows
from tests.collector.log_body import log_body
from tests.collector.otlp_body import body, chat_span

DATA = Path(__file__).parent.parent.parent / "data"
OOM_LOG = (DATA / "vllm" / "oom.log").read_text().splitlines()
PLANTED = "pl4nted words of a prompt"


class Complaints:
    """What a person would be told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, message: str) -> None:
        self.said.append(message)


def replay(sink: Sink, complaints: Complaints | None = None) -> Replay:
    config = Config()
    return Replay(policy_of(config), sink, largest_body=config.limits.body_bytes, now=now, complain=complaints or Complaints())


@asynccontextmanager
async def kept(database: str) -> AsyncIterator[Kept]:
    async with Database(database, application="test") as opened:
        sink = Kept(opened, OBJECTIVES)
        await sink.register(now())
        yield sink


def account_of(replayed: Replayed) -> Account:
    (account,) = replayed.entries
    assert isinstance(account, Account)
    return account


def ledger(account: Account) -> dict[str, int]:
    names = ("received", "rows", "merged", "ignored", "duplicate")
    return {name: getattr(account, name) for name in names} | {"rejected": account.rejected.total()}


def capture(path: Path, *bodies: bytes) -> Path:
    path.write_bytes(b"".join(len(one).to_bytes(4, "big") + one for one in bodies))
    return path


async def test_ledger_of_a_file_balances_and_its_tokens_add_up(tmp_path: Path) -> None:
    at = now()
    spans = [chat_span(number, at) for number in range(6)]
    spans += [chat_span(7, at, gen_ai__usage__input_tokens=-5), chat_span(8, at - timedelta(days=400)), chat_span(0, at)]
    spans[5].attributes.clear()
    account = account_of(await replay(Nowhere())(capture(tmp_path / "a", body(spans))))
    assert {"received": 9, "rows": 5, "merged": 0, "ignored": 1, "duplicate": 1, "rejected": 2} == ledger(account)
    assert {"negative_tokens": 1, "outside_retention": 1} == account.rejected
    assert {"ok": 5} == account.outcomes()
    assert {("gateway", "tenant-0", "tiny"): (200, 0, 20), ("gateway", "tenant-1", "tiny"): (200, 0, 20)} == {
        tuple(group): sums for group, sums in list(account.tokens().items())[:2]
    }


async def test_old_file_gives_rows_in_a_dry_run_and_rejects_in_the_database(tmp_path: Path, database: str) -> None:
    path = capture(tmp_path / "a", body([chat_span(number, now() - timedelta(days=1000)) for number in range(3)]))
    assert 3 == account_of(await replay(Nowhere())(path)).rows
    async with kept(database) as sink:
        assert {"outside_retention": 3} == account_of(await replay(sink)(path)).rejected


async def test_span_of_a_clock_that_is_ahead_is_rejected_in_a_dry_run_too(tmp_path: Path) -> None:
    spans = [chat_span(1, now()), chat_span(2, now() + timedelta(hours=2))]
    account = account_of(await replay(Nowhere())(capture(tmp_path / "a", body(spans))))
    assert (1, {"in_the_future": 1}) == (account.rows, account.rejected)


def test_file_is_as_old_as_its_last_span_that_can_be_believed() -> None:
    at = now()
    ends = (at - timedelta(days=9), at - timedelta(days=7), at - timedelta(days=8), at + timedelta(days=1))
    spans = decode_protobuf(body([chat_span(number, end) for number, end in enumerate(ends)]), allow_list(policy_of(Config())))
    assert at - timedelta(days=7) == time_of(spans.spans, at)
    assert at == time_of([], at)


async def test_second_replay_changes_nothing_and_counts_duplicates(
    tmp_path: Path, database: str, connection: AsyncConnection[Any]
) -> None:
    await connection.set_autocommit(True)
    at = now() - timedelta(minutes=5)
    spans = [chat_span(number, at + timedelta(milliseconds=number)) for number in range(20)]
    path = capture(tmp_path / "a", body(spans[:11]), body(spans[9:]))
    async with kept(database) as sink:
        first = account_of(await replay(sink)(path))
        before = await everything(connection)
        second = account_of(await replay(sink)(path))
        assert before == await everything(connection)
    assert {"received": 22, "rows": 20, "merged": 0, "ignored": 0, "duplicate": 2, "rejected": 0} == ledger(first)
    assert {"received": 22, "rows": 0, "merged": 0, "ignored": 0, "duplicate": 22, "rejected": 0} == ledger(second)
    assert 20 == len(before["requests"])
    assert before["pulses"]


async def test_logs_become_events_once_and_no_text_of_them_is_kept(
    tmp_path: Path, database: str, connection: AsyncConnection[Any]
) -> None:
    await connection.set_autocommit(True)
    path = capture(tmp_path / "a", log_body([*OOM_LOG, PLANTED], now() - timedelta(minutes=5)))
    async with kept(database) as sink:
        first, second = [account_of(await replay(sink)(path)) for _ in range(2)]
    assert ("logs", len(OOM_LOG) + 1, 1) == (first.kind, first.received, first.rows)
    for account in (first, second):
        assert account.received == sum(ledger(account).values()) - account.received
    assert (0, 1) == (second.rows, second.duplicate)
    ((kind, detail),) = await rows(connection, "events", "kind, detail")
    assert ("death", "oom") == (kind, detail["cause"])
    assert PLANTED not in json.dumps(detail)


async def test_file_of_both_signals_has_an_entry_for_each(tmp_path: Path) -> None:
    path = capture(tmp_path / "a", log_body(["a line"], now()), body([chat_span(1, now())]), log_body(["a line"], now()))
    entries = (await replay(Nowhere())(path)).entries
    assert [("traces", 1), ("logs", 2)] == [(one.kind, one.received) for one in entries if isinstance(one, Account)]


async def test_page_of_metrics_is_read_in_our_names() -> None:
    (entry,) = (await replay(Nowhere())(DATA / "vllm" / "metrics_load.txt")).entries
    assert isinstance(entry, Exposition)
    document = entry.document()
    assert {"file", "kind", "engines", "unknown"} == document.keys()
    assert isinstance(document["engines"], list)
    (engine,) = document["engines"]
    assert ("0", "tiny", 2838.0) == (engine["engine"], engine["model"], engine["metrics"]["generation_tokens"])


async def test_broken_line_is_told_with_file_line_and_expectation_and_the_others_count(tmp_path: Path) -> None:
    path, complaints = tmp_path / "a", Complaints()
    good = (DATA / "spans" / "blog-llm-complete.otlp.jsonl").read_text().splitlines()
    path.write_text("\n".join([good[0], "{oops}", good[1], '{"resourceSpans": [{"scopeSp']))
    replayed = await replay(Nowhere(), complaints)(path)
    assert (2, 2) == (replayed.faults, account_of(replayed).rows)
    assert [
        f"{path}: line 2: expected an ExportTraceServiceRequest",
        f"{path}: line 4: expected an ExportTraceServiceRequest",
    ] == [said.partition(" or ")[0] for said in complaints.said]


async def test_page_that_is_none_is_told_with_its_file(tmp_path: Path) -> None:
    path, complaints = tmp_path / "a", Complaints()
    path.write_text("# HELP a Text\n<html>\n")
    replayed = await replay(Nowhere(), complaints)(path)
    assert ((), 1) == (replayed.entries, replayed.faults)
    assert complaints.said[0].startswith(f"{path}: expected a page in the Prometheus text format: ")


async def test_flood_of_broken_lines_is_cut_short(tmp_path: Path) -> None:
    path, complaints = tmp_path / "a", Complaints()
    path.write_text('{"resourceSpans": []}\n' + "{oops}\n" * (MOST_FAULTS + 5))
    assert MOST_FAULTS + 5 == (await replay(Nowhere(), complaints)(path)).faults
    assert (MOST_FAULTS + 1, f"{path}: and 5 more") == (len(complaints.said), complaints.said[-1])


async def test_missing_file_is_no_replay(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await replay(Nowhere())(tmp_path / "nowhere")
