"""What to paste into the programs around, so that their telemetry comes here."""

from __future__ import annotations

from enum import StrEnum


class Program(StrEnum):
    """Whom to wire."""

    LITELLM = "litellm"
    VLLM = "vllm"
    OTEL_COLLECTOR = "otel-collector"
    PROMETHEUS = "prometheus"


def wiring(
    program: Program, *, grpc: str, http: str, web: str, alerter: str, replica: str = "HOST:8000", model: str = "MODEL"
) -> str:
    """The text for one program. The addresses are ours: OTLP over gRPC and HTTP, and the two pages of metrics."""
    values = {"grpc": grpc, "http": http, "web": web, "alerter": alerter, "replica": replica, "model": model}
    return _TEXTS[program].format(**values).lstrip("\n")


_LITELLM = """
# Environment of the LiteLLM proxy. Its v2 spans carry TTFT, cached tokens and the team.
# It needs: pip install opentelemetry-exporter-otlp opentelemetry-instrumentation-fastapi
export LITELLM_OTEL_V2=true    # on a LiteLLM without v2 spans: USE_OTEL_LITELLM_REQUEST_SPAN=true
export OTEL_EXPORTER=otlp_http
export OTEL_ENDPOINT=http://{http}
export OTEL_TRACES_SAMPLER=always_on    # else callers decide which calls are seen
# and in the proxy's config.yaml:
#   litellm_settings:
#     callbacks: [otel]
#     forward_traceparent_to_llm_provider: true
"""

_VLLM = """
# Environment and flags of each vLLM. The name is the replica's, as llm-slo's target has it: host and port, unless it says so.
export OTEL_SERVICE_NAME=vllm
export OTEL_RESOURCE_ATTRIBUTES=llm_slo.replica={replica},llm_slo.model={model}
export OTEL_TRACES_SAMPLER=always_on    # else callers decide which calls are seen
export OTEL_EXPORTER_OTLP_TRACES_INSECURE=true
vllm serve {model} \\
  --otlp-traces-endpoint http://{grpc} \\
  --enable-prompt-tokens-details \\
  --enable-request-id-headers
# Cached tokens per request and the cause of a death need the plugin (vllm_plugin/README.md):
#   pip install ./vllm_plugin
#   export LLM_SLO_ENDPOINT=http://{http} LLM_SLO_REPLICA={replica}
"""

_OTEL_COLLECTOR = """
# Parts of an OpenTelemetry Collector's configuration. llm-slo must see every span, so its pipeline branches off before any
# tail sampler; the queue on disk keeps what could not be sent. Before 0.144 the exporter is called otlphttp/llm_slo.
extensions:
  file_storage/llm_slo:
    directory: /var/lib/otelcol/llm-slo
    create_directory: true
exporters:
  otlp_http/llm_slo:
    endpoint: http://{http}
    retry_on_failure:
      enabled: true
      max_elapsed_time: 0s
    sending_queue:
      enabled: true
      storage: file_storage/llm_slo
service:
  extensions: [file_storage/llm_slo]
  pipelines:
    traces/llm_slo:
      receivers: [otlp]
      processors: []
      exporters: [otlp_http/llm_slo]
"""

_PROMETHEUS = """
# Of prometheus.yml: llm-slo's own metrics. The engines' stay where they are scraped today.
scrape_configs:
  - job_name: llm-slo
    scrape_interval: 15s
    static_configs:
      - targets: ["{web}", "{alerter}"]
"""

_TEXTS = {
    Program.LITELLM: _LITELLM,
    Program.VLLM: _VLLM,
    Program.OTEL_COLLECTOR: _OTEL_COLLECTOR,
    Program.PROMETHEUS: _PROMETHEUS,
}
