"""One file per producer of spans, and the ordered table of them: the first that recognises a span reads it."""

from __future__ import annotations

from functools import lru_cache

from collector.dialects.agentgateway import AGENTGATEWAY
from collector.dialects.bifrost import BIFROST
from collector.dialects.cloudflare import CLOUDFLARE
from collector.dialects.dialect import Dialect, Role, Source, located
from collector.dialects.dynamo import DYNAMO, DYNAMO_UNANSWERED
from collector.dialects.envoy import ENVOY
from collector.dialects.envoy_ai import ENVOY_AI_GEN_AI, ENVOY_AI_OPENINFERENCE
from collector.dialects.gen_ai import GEN_AI, GEN_AI_OPENAI, OPENLIT, OPENLLMETRY
from collector.dialects.helicone import HELICONE
from collector.dialects.http_server import HTTP_SERVER
from collector.dialects.kong import KONG, KONG_PROXY
from collector.dialects.langchain import LANGCHAIN, LANGCHAIN_STEP
from collector.dialects.langfuse import LANGFUSE
from collector.dialects.langsmith import LANGSMITH, LANGSMITH_RUN
from collector.dialects.litellm import LITELLM_PROXY, LITELLM_RAW, LITELLM_V1, LITELLM_V2
from collector.dialects.llm_attributes import LLM_ATTRIBUTES
from collector.dialects.llm_d import LLM_D
from collector.dialects.logfire import LOGFIRE, LOGFIRE_STARTED
from collector.dialects.mlflow import MLFLOW
from collector.dialects.openinference import OPENINFERENCE
from collector.dialects.portkey import PORTKEY
from collector.dialects.pydantic_ai import PYDANTIC_AI, PYDANTIC_AI_AGENT
from collector.dialects.sglang import SGLANG, SGLANG_STAGE, SGLANG_THREAD
from collector.dialects.smg import SMG
from collector.dialects.spring_ai import SPRING_AI, SPRING_AI_CLIENT
from collector.dialects.tensorrt_llm import TENSORRT_LLM
from collector.dialects.tensorzero import TENSORZERO, TENSORZERO_FUNCTION
from collector.dialects.traefik import TRAEFIK
from collector.dialects.vercel import VERCEL, VERCEL_EMBEDDING, VERCEL_LEGACY, VERCEL_OUTER, VERCEL_STEP
from collector.dialects.vllm import VLLM
from collector.dialects.vllm_plugin import VLLM_PLUGIN, VLLM_PLUGIN_BESIDE
from collector.span import Span

DIALECTS = (
    # Engines. Three of them share their names: scope and keys of their own come first.
    SGLANG,
    SGLANG_THREAD,
    SGLANG_STAGE,
    TENSORRT_LLM,
    VLLM_PLUGIN,
    VLLM_PLUGIN_BESIDE,
    VLLM,
    # Gateways with names of their own, which carry GenAI names too.
    LITELLM_V2,
    LITELLM_V1,
    LITELLM_RAW,
    LITELLM_PROXY,
    ENVOY_AI_OPENINFERENCE,
    ENVOY_AI_GEN_AI,
    AGENTGATEWAY,
    BIFROST,
    KONG,
    KONG_PROXY,
    TRAEFIK,
    PORTKEY,
    TENSORZERO,
    TENSORZERO_FUNCTION,
    CLOUDFLARE,
    DYNAMO,
    DYNAMO_UNANSWERED,
    LLM_D,
    HELICONE,
    # Client libraries, and what only wraps their calls.
    GEN_AI_OPENAI,
    OPENLLMETRY,
    LANGCHAIN,
    LANGCHAIN_STEP,
    OPENLIT,
    LANGFUSE,
    LOGFIRE,
    LOGFIRE_STARTED,
    LANGSMITH,
    LANGSMITH_RUN,
    VERCEL_LEGACY,
    VERCEL_EMBEDDING,
    VERCEL_OUTER,
    VERCEL,
    VERCEL_STEP,
    SPRING_AI,
    SPRING_AI_CLIENT,
    MLFLOW,
    PYDANTIC_AI,
    PYDANTIC_AI_AGENT,
    OPENINFERENCE,
    # Whoever follows the conventions, or sets attributes by hand.
    GEN_AI,
    LLM_ATTRIBUTES,
    # Whatever else is an HTTP request to a model.
    SMG,
    ENVOY,
    HTTP_SERVER,
)


def recognise(span: Span) -> Dialect | None:
    """The dialect of a span; ``None`` for a span that is no LLM call."""
    for dialect in _candidates(span.scope, tuple(span.attributes)):
        if dialect.recognises(span):
            return None if dialect.role is Role.NOTHING else dialect
    return None


@lru_cache(maxsize=4096)
def _candidates(scope: str, layout: tuple[str, ...]) -> tuple[Dialect, ...]:
    """The dialects that a span may be of, by what does not depend on values: producers have few layouts, and many rows."""
    keys = frozenset(layout)
    return tuple(dialect for dialect in DIALECTS if dialect.may_be(scope, keys))


__all__ = ["DIALECTS", "Dialect", "Role", "Source", "located", "recognise"]
