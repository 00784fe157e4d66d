"""SGLang's own spans: a root per request and server, threads and stages below it.

Prefill and decode servers write a root each, like two engines. The root never fails: what went wrong stands on a thread's span,
and a thread whose span was closed for it says ERROR without anything having failed. Before 0.5.9 the root tells of nothing but
its duration.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, Role, of, one_of
from collector.request import ObservedBy, TokenProvenance
from collector.span import Span, StatusCode

SCOPE = "sglang server"
_PROBE = "HEALTH_CHECK"


def _is_probe(span: Span) -> bool:
    return str(span.attributes.get("gen_ai.request.id", span.attributes.get("rid", ""))).startswith(_PROBE)


def _was_aborted(span: Span) -> bool:
    return "abort" in str(span.attributes.get("gen_ai.response.finish_reasons", ""))


SGLANG = Dialect(
    name="sglang",
    title="SGLang server",
    marks=("rid",),
    recognises=lambda span: span.attributes.get("module") == "sglang::request",
    besides='`module` = "sglang::request"',
    fingerprint=("module",),
    observed_by=of(ObservedBy.ENGINE),
    provenance=TokenProvenance.ENGINE,
    synthetic=_is_probe,
    awaits=_was_aborted,
    fields={
        # The short one is only the end of it.
        "request_id": one_of("gen_ai.request.id", "rid"),
        "response_model": one_of("gen_ai.response.model"),
        "input_tokens": one_of("gen_ai.usage.prompt_tokens"),
        "cached_tokens": one_of("gen_ai.usage.cached_tokens"),
        "output_tokens": one_of("gen_ai.usage.completion_tokens"),
        "max_tokens": one_of("gen_ai.request.max_tokens"),
        "choice_count": one_of("gen_ai.request.n"),
        "ttft_seconds": one_of("gen_ai.latency.time_to_first_token"),
        "latency_seconds": one_of("gen_ai.latency.e2e"),
        "decode_seconds": one_of("gen_ai.latency.time_in_model_decode"),
        "finish_reason": one_of("gen_ai.response.finish_reasons"),
    },
    unknown=("tenant", "requested model", "queue time, and prefill without it", "anything but the duration before 0.5.9"),
)

SGLANG_THREAD = Dialect(
    name="sglang_thread",
    title="SGLang server, failed threads",
    scopes=(SCOPE,),
    recognises=lambda span: span.status is StatusCode.ERROR and "rid" not in span.attributes,
    besides="status ERROR",
    observed_by=of(ObservedBy.ENGINE),
    role=Role.PART,
    explains=True,
    fields={"http_status": one_of("status_code"), "finish_reason": one_of("type")},
    error_types=("err_type",),
)

SGLANG_STAGE = Dialect(
    name="sglang_stage",
    title="SGLang server, stages of a request",
    scopes=(SCOPE,),
    observed_by=of(ObservedBy.ENGINE),
    role=Role.NOTHING,
)
