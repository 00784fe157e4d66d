"""The configuration: read once, strict, frozen. Secrets come from the environment or files, never from here."""

from __future__ import annotations

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from collector.errors import ConfigError
from collector.request import ObservedBy

DATABASE_URL = "LLM_SLO_DATABASE_URL"
"""Environment variable with the database's URL."""

Document = TypeVar("Document", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{value!r} is not HOST:PORT")
    return value


Address = Annotated[str, AfterValidator(_address)]


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of an address; an IPv6 host comes without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    host, _ = host_and_port(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Listen(_Section):
    """Where the daemon listens."""

    otlp_grpc: Address = Field("127.0.0.1:4317", description="OTLP over gRPC")
    otlp_http: Address = Field("127.0.0.1:4318", description="OTLP over HTTP: protobuf and JSON")
    web: Address = Field("127.0.0.1:9464", description="/metrics, /healthz and /readyz of the collector")
    alerter: Address = Field("127.0.0.1:9465", description="/metrics, /healthz and /readyz of the alerter")
    postgres: Address | None = Field(
        None, description="Loopback TCP port of the embedded Postgres, for Grafana (scram); off by default"
    )


class Limits(_Section):
    """What one sender, or one bad night, may cost."""

    body_bytes: int = Field(16 * 2**20, ge=1024, description="Largest OTLP body, after decompression [bytes]")
    pending_spans: int = Field(100_000, ge=1, description="Spans received and not yet committed; above it senders get 503")
    clock_skew_seconds: int = Field(3600, ge=0, description="How far in the future a span may end [s]")


class Ingest(_Section):
    """Who may send."""

    require_tokens: bool | None = Field(
        None,
        description="Whether senders need a token (`llm-slo token create`). Unless set: beyond loopback, they do; on loopback "
        "they do as soon as there is a token; with allow_anonymous they do not",
    )


class Spool(_Section):
    """What may wait on disk while Postgres is away, of one collector. Nothing that was acknowledged is ever dropped for it."""

    max_bytes: int = Field(2 * 2**30, ge=2**20, description="Size of the spool above which senders get 503 [bytes]")
    max_age_hours: float = Field(
        24.0, gt=0, description="Age of the spool's oldest span above which senders get 503; nothing is dropped for it [h]"
    )


class Target(_Section):
    """An engine to scrape."""

    url: str = Field(description="Base URL of the engine, without /metrics", pattern=r"^https?://")
    engine: Literal["vllm"] = Field("vllm", description="Engine that serves there")
    replica: str | None = Field(None, description="Stable name of the replica; HOST:PORT of the URL unless given")
    model: str | None = Field(None, description="Served model, for a target that was never scraped; else the engine says it")
    environment: str | None = Field(None, description="Environment of this target, where it is not that of the whole file")
    scrape_seconds: float = Field(15.0, gt=0, description="Time between two scrapes of /metrics [s]")
    health_seconds: float = Field(5.0, gt=0, description="Time between two calls of /health [s]")

    @property
    def replica_name(self) -> str:
        """The replica's stable name."""
        return self.replica or self.url.split("//", 1)[1].split("/", 1)[0]


class Model(_Section):
    """What is expected of a served model."""

    min_ready: int = Field(1, ge=0, description="Ready replicas below which a symptom pages")
    page_failures: int = Field(
        5, ge=1, description="Failed requests in 5 minutes, above what the objective allows, at which a symptom pages"
    )


class Webhook(_Section):
    """A sink that takes Alertmanager's webhook payload, version 4."""

    name: str = Field(description="Name of the sink in logs and in the outbox", pattern=r"^[a-z][a-z0-9_-]*$")
    url: str = Field(description="Where to POST", pattern=r"^https?://")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long the sink may take [s]")


class Alertmanager(_Section):
    """One member of an Alertmanager cluster. Each is named here by itself: behind a balancer most would hear of nothing."""

    name: str = Field(description="Name of the sink in logs and in the outbox", pattern=r"^[a-z][a-z0-9_-]*$")
    url: str = Field(description="Base URL of this one member, without /api; never that of a balancer", pattern=r"^https?://")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long it may take [s]")


class Sinks(_Section):
    """Whom to tell."""

    webhooks: tuple[Webhook, ...] = Field((), description="Generic webhooks")
    alertmanagers: tuple[Alertmanager, ...] = Field((), description="Every member of an Alertmanager cluster")
    heartbeat_url: str | None = Field(
        None,
        description="URL to GET every 60 s while evaluation works, for a service that pages when this stops; off by default",
        pattern=r"^https?://",
    )

    @property
    def names(self) -> list[str]:
        """The names of all sinks that are told of alerts."""
        return [webhook.name for webhook in self.webhooks] + [member.name for member in self.alertmanagers]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"sinks need names of their own: {', '.join(twice)} is given twice")
        return self


class Alerts(_Section):
    """How people are told."""

    watchdog: bool = Field(True, description="Whether Alertmanagers get an alert that always fires, for a dead man's switch")


class Retention(_Section):
    """How long rows are kept; partitions are dropped whole."""

    requests_days: int = Field(100, ge=1, description="Gateway and client requests [days]")
    engine_requests_days: int = Field(14, ge=1, description="Engine requests [days]")
    snapshots_days: int = Field(14, ge=1, description="Snapshots [days]")
    rollup_minute_days: int = Field(14, ge=1, description="Rollups by minute [days]")


class Attributes(_Section):
    """Span or resource attributes that name what no standard attribute does; the first that is present wins."""

    tenant: tuple[str, ...] = Field(("tenant.id", "llm_slo.tenant"), description="Attributes that name the tenant")
    environment: tuple[str, ...] = Field(
        ("deployment.environment.name", "deployment.environment"), description="Attributes that name the environment"
    )
    replica: tuple[str, ...] = Field(("llm_slo.replica",), description="Attributes that name the serving replica")
    model: tuple[str, ...] = Field(("llm_slo.model",), description="Attributes that name the model where no dialect does")


def default_data_dir() -> Path:
    """Where data lives unless the configuration says: never in root's home, which the server's account may not enter."""
    if os.geteuid() == 0:
        return Path("/var/lib/llm-slo")
    return Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "llm-slo"


class Config(_Section):
    """The whole file."""

    database_url: str | None = Field(
        None, description="postgresql://… of a server, 14 or later; an embedded Postgres is started where it is not set"
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Where the embedded Postgres lives; `/var/lib/llm-slo` for root, else `~/.local/share/llm-slo`",
    )
    cluster: str = Field("default", description="Cluster of everything that does not say otherwise")
    environment: str = Field("production", description="Environment of everything that does not say otherwise")
    primary_observer: Literal["gateway", "client"] = Field("gateway", description="Whose rows SLOs, reports and bills use")
    listen: Listen = Field(default_factory=Listen, description="Where the daemon listens")
    allow_anonymous: bool = Field(False, description="Whether to listen beyond loopback and ask nobody for a token")
    ingest: Ingest = Field(default_factory=Ingest, description="Who may send")
    limits: Limits = Field(default_factory=Limits, description="What one sender may cost")
    spool: Spool = Field(default_factory=Spool, description="What may wait on disk while Postgres is away")
    targets: tuple[Target, ...] = Field((), description="Engines to scrape")
    models: dict[str, Model] = Field(default_factory=dict, description="What is expected of each served model")
    attributes: Attributes = Field(default_factory=Attributes, description="Where to look for tenant, environment, replica")
    slos: Path | None = Field(None, description="The SLO file; built-in SLOs where it is not set")
    sinks: Sinks = Field(default_factory=Sinks, description="Whom to tell")
    alerts: Alerts = Field(default_factory=Alerts, description="How people are told")
    board_url: str | None = Field(None, description="Base URL of Grafana, for links in pages")
    retention: Retention = Field(default_factory=Retention, description="How long rows are kept")
    traces_endpoint: str | None = Field(None, description="OTLP endpoint for the daemon's own traces; off by default")
    log_format: Literal["console", "json"] = Field("console", description="How the daemon logs to standard error")

    @property
    def primary_observed_by(self) -> ObservedBy:
        """``primary_observer`` as it is stored."""
        return ObservedBy[self.primary_observer.upper()]

    @property
    def tokens_required(self) -> bool | None:
        """Whether nobody may send without a token; ``None`` for: as soon as there is one."""
        if self.ingest.require_tokens is not None:
            return self.ingest.require_tokens
        if self.allow_anonymous:
            return False
        return None if is_loopback(self.listen.otlp_grpc) and is_loopback(self.listen.otlp_http) else True

    def min_ready(self, model: str) -> int:
        """Ready replicas below which a symptom of this model pages."""
        return self.models.get(model, Model()).min_ready

    def page_failures(self, model: str) -> int:
        """Failed requests of this model in 5 minutes at which a symptom pages."""
        return self.models.get(model, Model()).page_failures


def load_config(path: Path | None) -> Config:
    """Read a configuration file; the defaults where ``path`` is ``None``.

    :raises ConfigError: naming file, line, key, value and what was expected
    """
    if path is None:
        return _with_environment(Config())
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    config = _with_environment(parse_config(text, str(path)))
    if config.slos is not None and not config.slos.is_absolute():
        return config.model_copy(update={"slos": path.parent / config.slos})
    return config


def _with_environment(config: Config) -> Config:
    """A database URL holds a password, so it may come from the environment, which outranks the file."""
    url = os.environ.get(DATABASE_URL)
    return config.model_copy(update={"database_url": url}) if url else config


def parse_config(text: str, source: str) -> Config:
    """Parse the text of a configuration file; ``source`` names it in errors."""
    config = parse_document(text, source, Config)
    _refuse_open_listeners(config, source)
    return config


def parse_document(text: str, source: str, model: type[Document]) -> Document:
    """Parse YAML into a strict model.

    :raises ConfigError: naming ``source``, line, key, value and what was expected
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{source}:1: expected keys and values, found {type(document).__name__}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, source, node, model))) from error


def _explain(error: ValidationError, source: str, node: yaml.Node | None, model: type[BaseModel]) -> list[str]:
    lines = []
    for problem in error.errors():
        path = tuple(part for part in problem["loc"] if part != "__root__")
        where = f"{source}:{_line(node, path)}: {'.'.join(map(str, path))}"
        if problem["type"] == "extra_forbidden":
            known = sorted(_keys(model, path[:-1]))
            nearest = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.0)
            lines.append(f"{where}: unknown key; did you mean {nearest[0]!r}?" if nearest else f"{where}: unknown key")
        else:
            lines.append(f"{where}: {problem['msg']} (got {problem['input']!r})")
    return lines


def _line(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """The line of a key, or of the nearest thing around it that the document holds."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> set[str]:
    """The keys that a section knows."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part)
        current = None if field is None else _section_of(field.annotation) or current
    return set(current.model_fields) if current is not None else set()


def _section_of(annotation: object) -> type[BaseModel] | None:
    """The section that a field's type holds, inside tuples, dicts and options."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        section = _section_of(argument)
        if section is not None:
            return section
    return None


def _refuse_open_listeners(config: Config, source: str) -> None:
    """Whatever other machines can reach asks for a token, or the configuration says in so many words that it need not."""
    if config.allow_anonymous:
        return
    for name, address in config.listen.model_dump(exclude_none=True).items():
        if is_loopback(address):
            continue
        where = f"{source}: listen.{name}={address!r} can be reached from other machines and"
        if name not in ("otlp_grpc", "otlp_http"):
            raise ConfigError(
                f"{where} asks nobody for a token: listen on loopback, or set allow_anonymous: true, "
                "with ingest.require_tokens: true if senders shall still need one"
            )
        if not config.tokens_required:
            raise ConfigError(
                f"{where} ingest.require_tokens is false: leave it out, listen on loopback, or set allow_anonymous: true"
            )
