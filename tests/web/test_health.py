from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from web.health import application


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readyz_says_whether_the_process_does_its_work(ready: bool, status: int) -> None:
    async with TestClient(TestServer(application(lambda: ready))) as client:
        assert status == (await client.get("/readyz")).status
        assert 200 == (await client.get("/healthz")).status


async def test_metrics_are_the_daemons_own_in_prometheus_text_format() -> None:
    async with TestClient(TestServer(application(lambda: True))) as client:
        response = await client.get("/metrics")
        families = {family.name for family in text_string_to_metric_families(await response.text())}
    ledger = {"received", "rows", "merged", "ignored", "duplicate", "rejected", "pending"}
    assert {f"llm_slo_spans_{name}" for name in ledger} <= families
