"""The daemons do all their work with the rights of their roles alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp
import psycopg
import pytest
from prometheus_client import REGISTRY

from alerts import daemon as alerting
from alerts import deliver
from collector import daemon
from collector.config import Config
from collector.request import Outcome
from collector.schema.access import Role
from collector.target import Target
from tests.alerts.receiver import receiving
from tests.alerts.scene import config_of, scene
from tests.alerts.test_daemon import alerter, until
from tests.collector.log_body import log_body
from tests.collector.otlp_body import body, chat_span
from tests.collector.test_daemon import HEADERS, configuration, running
from tests.migrations.login import login


def errors() -> float:
    """Exceptions that outermost loops have caught."""
    samples = (sample for family in REGISTRY.collect() if family.name == "llm_slo_loop_errors" for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


def holds(database: str, statement: str) -> Callable[[], bool]:
    def ask() -> bool:
        with psycopg.connect(database) as connection:
            return connection.execute(f"SELECT {statement}").fetchone() == (True,)

    return ask


async def test_a_collector_works_with_its_role_s_rights(any_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROLL_SECONDS", "HEARTBEAT_SECONDS", "TOKENS_SECONDS", "MAINTENANCE_SECONDS"):
        monkeypatch.setattr(daemon, name, 0.05)
    before, at = errors(), datetime.now(UTC)
    config = configuration().model_copy(update={"targets": (Target(url="http://127.0.0.1:1", replica="vllm-0"),)})
    data = body([chat_span(number, at, tenant__id="acme") for number in range(5)])
    async with running(config, login(any_database, Role.COLLECTOR)), aiohttp.ClientSession(headers=HEADERS) as session:
        # The second body comes by way of the staging table.
        for path, sent in (("traces", data), ("traces", data), ("logs", log_body(["torch.OutOfMemoryError: CUDA"], at))):
            async with session.post(f"http://{config.listen.otlp_http}/v1/{path}", data=sent) as response:
                assert 200 == response.status, await response.text()
        for statement in (
            "count(*) = 5 FROM requests",
            "bool_and(folded) FROM pulses",
            "sum(requests) FILTER (WHERE tenant_id = 0) >= 5 FROM rollup_minute",
            "count(*) = 0 FROM rollup_marks",
            "count(*) = 1 FROM replica_states",
            "count(*) > 0 FROM collectors",
        ):
            await until(holds(any_database, statement))
    assert before == errors()


async def test_an_alerter_works_with_its_role_s_rights(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((alerting, "EVALUATE_SECONDS"), (alerting, "STANDBY_SECONDS"), (deliver, "POLL_SECONDS")):
        monkeypatch.setattr(module, name, 0.02)
    before = errors()
    async with receiving() as receiver:
        config: Config = config_of(receiver.url)
        async with alerter(config, login(database, Role.ALERTER)) as vitals:
            await until(lambda: vitals.leading)
            async with scene(database, config) as on:
                await on.serve(Outcome.SERVER_ERROR, seconds=60)
            await until(lambda: bool(receiver.told))
            await until(holds(database, "bool_and(delivered_at IS NOT NULL) FROM outbox"))
            assert vitals.postgres_ok
    assert [("SLOBurn", "firing")] == receiver.told
    assert before == errors()
