"""The daemon's own traces, exported over OTLP when ``traces_endpoint`` is set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

tracer = trace.get_tracer("llm_slo")
"""Spans started here go nowhere unless ``exporting`` is active."""


@contextmanager
def exporting(endpoint: str | None, service: str) -> Iterator[None]:
    """Export the process's own spans for as long as the block runs. ``endpoint`` is a base URL: /v1/traces is added."""
    if endpoint is None:
        yield
        return
    resource = Resource.create({"service.name": service, "service.version": version("llm-slo")})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
