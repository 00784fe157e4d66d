from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from llm_slo_vllm import sender
from llm_slo_vllm.post import Refused
from llm_slo_vllm.sender import Make, Record, Sender


def made(number: int) -> Make:
    return lambda: {"n": number}


class Taken:
    """What was delivered; ``error`` is raised instead."""

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.dropped: list[int] = []
        self.error: Exception | None = None
        self.came = threading.Event()

    def __call__(self, records: Sequence[Record], dropped: int) -> None:
        if self.error is not None:
            raise self.error
        self.batches.append(list(records))
        self.dropped.append(dropped)
        self.came.set()


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def idle(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> Sender:
    """A sender whose thread does nothing: the test says when."""
    monkeypatch.setattr(Sender, "_run", lambda self: None)
    return Sender(taken)


def test_records_are_sent_by_a_thread(taken: Taken) -> None:
    Sender(taken).put(made(1))
    assert taken.came.wait(10)
    assert [[{"n": 1}]] == taken.batches


def test_batches_are_bounded(idle: Sender, taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "BATCH", 2)
    for number in range(5):
        idle.put(made(number))
    assert idle.flush()
    assert [2, 2, 1] == [len(batch) for batch in taken.batches]


def test_what_the_receiver_does_not_take_now_waits_in_its_order(idle: Sender, taken: Taken) -> None:
    taken.error = OSError()
    for number in range(3):
        idle.put(made(number))
    assert not idle.flush()
    taken.error = None
    assert idle.flush()
    assert [[{"n": 0}, {"n": 1}, {"n": 2}]] == taken.batches


def test_the_oldest_are_dropped_and_counted_when_too_many_wait(
    idle: Sender, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "LONGEST_QUEUE", 2)
    for number in range(5):
        idle.put(made(number))
    assert idle.flush()
    assert ([[{"n": 3}, {"n": 4}]], [3]) == (taken.batches, taken.dropped)


@pytest.mark.parametrize("error", [Refused("400"), ValueError("ours")])
def test_a_batch_that_is_refused_is_dropped_and_counted(idle: Sender, taken: Taken, error: Exception) -> None:
    taken.error = error
    idle.put(made(1))
    assert idle.flush()
    assert 1 == idle.dropped


def test_a_record_is_made_once_though_it_is_sent_again(idle: Sender, taken: Taken) -> None:
    count = iter(range(9))
    idle.put(lambda: {"n": next(count)})
    taken.error = OSError()
    assert [False, False] == [idle.flush(), idle.flush()]
    taken.error = None
    assert idle.flush()
    assert [[{"n": 0}]] == taken.batches


def test_what_cannot_be_made_is_dropped_and_counted(idle: Sender, taken: Taken) -> None:
    idle.put(lambda: {"n": 1 // 0})
    idle.put(made(2))
    assert idle.flush()
    assert ([[{"n": 2}]], [1]) == (taken.batches, taken.dropped)
