from __future__ import annotations

import asyncio
import subprocess
import sys

from collector.otlp.allow import AllowList
from collector.otlp.http import serve_http
from collector.otlp.signal import traces
from collector.trace import tracer
from tests.collector.otlp.example import OPEN, Next
from tests.collector.port import free_address

EVERYTHING = AllowList(
    span=frozenset({"rows"}),
    resource=frozenset({"service.name"}),
    event=frozenset(),
    error_texts=frozenset(),
    error_classes=frozenset(),
)
# A process of its own: a tracer provider is set once in the life of a process.
PROGRAM = """
import sys
from collector.trace import exporting, tracer
with exporting(sys.argv[1], "llm-slo-collector"):
    with tracer.start_as_current_span("commit", attributes={"rows": 3}):
        pass
"""


async def test_own_spans_go_to_the_configured_endpoint_with_the_name_of_the_process() -> None:
    address, next_stage = free_address(), Next()
    async with serve_http(address, [traces(next_stage, EVERYTHING)], 100_000, OPEN):
        command = [sys.executable, "-c", PROGRAM, f"http://{address}"]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
    spans = [span for decoded in next_stage.bodies for span in decoded.spans]
    assert [({"rows": 3}, {"service.name": "llm-slo-collector"})] == [(span.attributes, span.resource) for span in spans]


def test_spans_cost_nothing_and_go_nowhere_unless_they_are_asked_for() -> None:
    with tracer.start_as_current_span("commit") as span:
        assert not span.is_recording()
