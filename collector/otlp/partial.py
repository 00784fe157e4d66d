"""What a sender is told of what was rejected in its body."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.request import Reject

NAMED = 3
"""Rejects that a message names: a body of malformed spans is malformed in one way, mostly."""


def summary(rejects: Sequence[Reject]) -> str:
    """The first few rejects, by reason, field, value and expectation; empty for none."""
    named = "; ".join(f"{reject.reason}: {reject}" for reject in rejects[:NAMED])
    more = len(rejects) - NAMED
    return f"{named}; and {more} more" if more > 0 else named


def traces_answer(rejects: Sequence[Reject]) -> ExportTraceServiceResponse:
    """OTLP's answer to a body of spans that was taken: empty, or a partial success."""
    response = ExportTraceServiceResponse()
    if rejects:
        response.partial_success.rejected_spans = len(rejects)
        response.partial_success.error_message = summary(rejects)
    return response


def logs_answer(rejects: Sequence[Reject]) -> ExportLogsServiceResponse:
    """OTLP's answer to a body of log records that was taken: empty, or a partial success."""
    response = ExportLogsServiceResponse()
    if rejects:
        response.partial_success.rejected_log_records = len(rejects)
        response.partial_success.error_message = summary(rejects)
    return response
