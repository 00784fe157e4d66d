"""The configuration: read once, strict, frozen. Secrets come from the environment or files, never from here."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from collector.document import Section, line_of, parse_document
from collector.errors import ConfigError
from collector.request import ObservedBy
from collector.sink import Alerts, Sinks
from collector.target import Canary, Discovery, Target

DATABASE_URL = "LLM_SLO_DATABASE_URL"
"""Environment variable with the database's URL."""
READ_DATABASE_URL = "LLM_SLO_READ_DATABASE_URL"
"""Environment variable with the URL of a copy of it, for reports."""


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


class Listen(Section):
    """Where the daemon listens."""

    otlp_grpc: Address = Field("127.0.0.1:4317", description="OTLP over gRPC")
    otlp_http: Address = Field("127.0.0.1:4318", description="OTLP over HTTP: protobuf and JSON")
    web: Address = Field("127.0.0.1:9464", description="/metrics, /healthz and /readyz of the collector")
    alerter: Address = Field("127.0.0.1:9465", description="/metrics, /healthz and /readyz of the alerter")
    postgres: Address | None = Field(
        None, description="Loopback TCP port of the embedded Postgres, for Grafana (scram); off by default"
    )


class Limits(Section):
    """What one sender, or one bad night, may cost."""

    body_bytes: int = Field(16 * 2**20, ge=1024, description="Largest OTLP body, after decompression [bytes]")
    pending_spans: int = Field(100_000, ge=1, description="Spans received and not yet committed; above it senders get 503")
    waiting_spans: int = Field(
        100_000, ge=1, description="Spans that wait in Postgres for the rest of their request; above it senders get 503"
    )
    clock_skew_seconds: int = Field(3600, ge=0, description="How far in the future a span may end [s]")
    new_tenants_per_minute: int = Field(
        300, ge=1, description="Tenants never seen before of a minute; more of them share the tenant `other` for 10 minutes"
    )


class Ingest(Section):
    """Who may send."""

    require_tokens: bool | None = Field(
        None,
        description="Whether senders need a token (`llm-slo token create`). Unless set: beyond loopback, they do; on loopback "
        "they do as soon as there is a token; with allow_anonymous they do not",
    )
    deadline_seconds: float | None = Field(
        None,
        gt=0,
        description="Callers' deadline: a call that is cancelled after so long counts as a timeout; off by default [s]",
    )


class Privacy(Section):
    """What is kept of ids of people: a keyed hash, or nothing."""

    hash_key_file: Path | None = Field(
        None, description="File with the key that ids of end users and sessions are hashed with; without it they are dropped"
    )
    hash_key_id: int = Field(1, ge=1, le=32_767, description="Number kept beside each hash; raise it with a new key")


class Spool(Section):
    """What may wait on disk while Postgres is away, of one collector. Nothing that was acknowledged is ever dropped for it."""

    max_bytes: int = Field(2 * 2**30, ge=2**20, description="Size of the spool above which senders get 503 [bytes]")
    max_age_hours: float = Field(
        24.0, gt=0, description="Age of the spool's oldest span above which senders get 503; nothing is dropped for it [h]"
    )


class Model(Section):
    """What is expected of a served model."""

    min_ready: int = Field(1, ge=0, description="Ready replicas below which a symptom pages")
    page_failures: int = Field(
        5, ge=1, description="Failed requests in 5 minutes, above what the objective allows, at which a symptom pages"
    )
    owner: str | None = Field(None, min_length=1, description="Label `owner` of its alerts, as sinks see them")


class Retention(Section):
    """How long rows are kept; partitions are dropped whole."""

    requests_days: int = Field(100, ge=1, description="Gateway and client requests [days]")
    engine_requests_days: int = Field(14, ge=1, description="Engine requests [days]")
    snapshots_days: int = Field(14, ge=1, description="Snapshots [days]")
    rollup_minute_days: int = Field(14, ge=1, description="Rollups by minute [days]")
    rollup_hour_days: int = Field(400, ge=2, description="Rollups by hour, of requests and of snapshots [days]")
    rollup_day_days: int = Field(1827, ge=2, description="Rollups by day [days]")

    @model_validator(mode="after")
    def _coarse_outlives_fine(self) -> Self:
        # A late row makes its hour and its day anew, from what lies below them.
        shortest = max(self.requests_days, self.engine_requests_days, self.rollup_minute_days) + 1
        if self.rollup_hour_days < shortest:
            raise ValueError(f"rollup_hour_days must be {shortest} or more: longer than rows and minutes are kept")
        if self.rollup_day_days < self.rollup_hour_days:
            raise ValueError("rollup_day_days must not be less than rollup_hour_days")
        return self


class Attributes(Section):
    """Span or resource attributes that name what no standard attribute does; the first that is present wins."""

    tenant: tuple[str, ...] = Field(("tenant.id", "llm_slo.tenant"), description="Attributes that name the tenant")
    environment: tuple[str, ...] = Field(
        ("deployment.environment.name", "deployment.environment"), description="Attributes that name the environment"
    )
    replica: tuple[str, ...] = Field(("llm_slo.replica",), description="Attributes that name the serving replica")
    model: tuple[str, ...] = Field(("llm_slo.model",), description="Attributes that name the model where no dialect does")
    end_user: tuple[str, ...] = Field((), description="Attributes that name the end user, ahead of those of the dialect")
    session: tuple[str, ...] = Field((), description="Attributes that name the session, ahead of those of the dialect")


def default_data_dir() -> Path:
    """Where data lives unless the configuration says: never in root's home, which the server's account may not enter."""
    if os.geteuid() == 0:
        return Path("/var/lib/llm-slo")
    return Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "llm-slo"


class Config(Section):
    """The whole file."""

    database_url: str | None = Field(
        None, description="postgresql://… of a server, 14 or later; an embedded Postgres is started where it is not set"
    )
    read_database_url: str | None = Field(
        None, description="postgresql://… of a copy of the database (a standby), for reports; database_url unless set"
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
    privacy: Privacy = Field(default_factory=Privacy, description="What is kept of ids of people")
    spool: Spool = Field(default_factory=Spool, description="What may wait on disk while Postgres is away")
    targets: tuple[Target, ...] = Field((), description="Engines to scrape")
    discovery: Discovery = Field(default_factory=Discovery, description="Targets that are found")
    canary: Canary = Field(default_factory=Canary, description="A one-token call of each replica")
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
    urls = {"database_url": os.environ.get(DATABASE_URL), "read_database_url": os.environ.get(READ_DATABASE_URL)}
    return config.model_copy(update={name: url for name, url in urls.items() if url})


def parse_config(text: str, source: str) -> Config:
    """Parse the text of a configuration file; ``source`` names it in errors."""
    config = parse_document(text, source, Config)
    _refuse_open_listeners(config, source)
    _refuse_shared_replicas(config, source, text)
    return config


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


def _refuse_shared_replicas(config: Config, source: str, text: str) -> None:
    """Two targets under one name would take turns: each would undo what the other says, and every look would be a restart."""
    claimed: dict[str, int] = {}
    for place, target in enumerate(config.targets):
        first = claimed.setdefault(target.replica_name, place)
        if first != place:
            line = line_of(yaml.compose(text, Loader=yaml.SafeLoader), ("targets", place))
            raise ConfigError(
                f"{source}:{line}: targets.{place}: {target.url!r} claims the replica {target.replica_name!r}, which is "
                f"{config.targets[first].url!r} (targets.{first}): give each its own replica"
            )
