"""MLflow's traces: every value of an ``mlflow.*`` attribute is JSON, so a text stands in quotes."""

from __future__ import annotations

from collector.dialects.dialect import Dialect, of, one_of
from collector.request import ObservedBy, Operation

_TYPE = "mlflow.spanType"
_USAGE = "mlflow.chat.tokenUsage"
_COST = "mlflow.llm.cost"

MLFLOW = Dialect(
    name="mlflow",
    title="MLflow",
    marks=(_TYPE,),
    recognises=lambda span: str(span.attributes[_TYPE]).strip('"') in ("CHAT_MODEL", "LLM"),
    besides="which says CHAT_MODEL or LLM",
    observed_by=of(ObservedBy.CLIENT),
    operation=Operation.CHAT,
    fields={
        "requested_model": one_of("mlflow.llm.model"),
        "provider": one_of("mlflow.llm.provider"),
        "request_id": one_of("mlflow.traceRequestId"),
        "input_tokens": one_of(f"{_USAGE}#input_tokens"),
        "cached_tokens": one_of(f"{_USAGE}#cache_read_input_tokens"),
        "output_tokens": one_of(f"{_USAGE}#output_tokens"),
        "reported_cost_usd": one_of(f"{_COST}#total_cost"),
    },
    documents={
        _USAGE: ("input_tokens", "output_tokens", "cache_read_input_tokens"),
        _COST: ("total_cost",),
    },
    first_token_events=frozenset({"mlflow.chunk.item.0"}),
    unknown=("tenant", "response model", "HTTP status", "finish reason", "session and end user: they are of the trace"),
)
