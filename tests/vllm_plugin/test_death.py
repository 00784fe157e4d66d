from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator

import pytest
from llm_slo_vllm.death import MOST_POSTS, POST_SECONDS, DeathHandler, register
from llm_slo_vllm.setting import ENDPOINT, Setting

from collector.death_sign import Says, find_sign
from tests.vllm_plugin.receiver import Receiver, receiving

OOM = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def logger(receiver: Receiver) -> Iterator[logging.Logger]:
    one = logging.getLogger("vllm.test.death")
    one.propagate = False
    handler = DeathHandler(Setting(receiver.url, "vllm-0"))
    one.addHandler(handler)
    yield one
    one.removeHandler(handler)


def handler_of(logger: logging.Logger) -> DeathHandler:
    return next(handler for handler in logger.handlers if isinstance(handler, DeathHandler))


def test_a_death_is_told_with_its_traceback_before_the_call_returns(logger: logging.Logger, receiver: Receiver) -> None:
    try:
        raise RuntimeError(OOM)
    except RuntimeError:
        logger.exception("WorkerProc hit an exception.")
    ((path, body, _),) = receiver.bodies
    assert "/v1/logs" == path
    (resource_logs,) = body["resourceLogs"]
    assert [{"key": "llm_slo.replica", "value": {"stringValue": "vllm-0"}}] == resource_logs["resource"]["attributes"]
    ((record,),) = (scope["logRecords"] for scope in resource_logs["scopeLogs"])
    signs = [find_sign(line) for line in record["body"]["stringValue"].splitlines()]
    assert Says.OOM in {sign.says for sign in signs if sign is not None}


@pytest.mark.parametrize("text", ["request failed: bad parameters", "out of memory"])
def test_only_errors_that_tell_of_a_death_are_posted(logger: logging.Logger, receiver: Receiver, text: str) -> None:
    if text == "out of memory":
        logger.warning(text)
    else:
        logger.error(text)
    assert [] == receiver.bodies


def test_a_receiver_that_hangs_costs_half_a_second_and_no_exception(logger: logging.Logger, receiver: Receiver) -> None:
    receiver.hang.set()
    start = time.monotonic()
    logger.error(OOM)
    # Not how fast we are: how long a dying process may be kept.
    assert time.monotonic() - start < POST_SECONDS + 2
    assert 1 == handler_of(logger).failures


def test_a_flood_of_errors_is_cut_off(logger: logging.Logger, receiver: Receiver) -> None:
    for _ in range(3 * MOST_POSTS):
        logger.error(OOM)
    assert MOST_POSTS == len(receiver.bodies)


def test_a_long_text_keeps_its_ends(logger: logging.Logger, receiver: Receiver) -> None:
    logger.error("EngineCore encountered a fatal error %s %s", "x" * 100_000, OOM)
    text = json.dumps(receiver.bodies[0][1])
    assert "fatal error" in text
    assert "79.10 GiB" in text
    assert len(text) < 20_000


def test_registering_twice_adds_one_handler_and_none_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("vllm")
    before = list(logger.handlers)
    try:
        monkeypatch.delenv(ENDPOINT, raising=False)
        register()
        assert before == logger.handlers
        monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
        register()
        register()
        assert 1 == len(logger.handlers) - len(before)
    finally:
        logger.handlers[:] = before
