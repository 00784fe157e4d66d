"""Whom to tell, and how: the configuration of sinks and of pages. Secrets are named here, and read from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from collector.document import Section
from collector.errors import ConfigError

Severity = Literal["page", "ticket"]
Tenants = Literal["names", "ids", "count"]
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
_OWN_LABELS = frozenset(
    {"alertname", "severity", "cluster", "environment", "model", "replica", "tenant", "slo", "sli", "sink", "cause"}
)
_TENANTS_HELP = "Tenants in its pages: their `names`, our `ids` (t-7), or their `count` alone"
_SEVERITIES_HELP = "Which alerts it is told of"


class _Sink(Section):
    name: str = Field(description="Name of the sink in logs and in the outbox", pattern=r"^[a-z][a-z0-9_-]*$")


class Webhook(_Sink):
    """A sink that takes Alertmanager's webhook payload, version 4."""

    url: str = Field(description="Where to POST", pattern=r"^https?://")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long the sink may take [s]")
    severities: tuple[Severity, ...] = Field(("page", "ticket"), description=_SEVERITIES_HELP)
    tenants: Tenants = Field("names", description=_TENANTS_HELP)


class Alertmanager(_Sink):
    """One member of an Alertmanager cluster. Each is named here by itself: behind a balancer most would hear of nothing."""

    url: str = Field(description="Base URL of this one member, without /api; never that of a balancer", pattern=r"^https?://")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long it may take [s]")
    tenants: Tenants = Field("names", description=_TENANTS_HELP)

    @property
    def severities(self) -> tuple[Severity, ...]:
        """All: Alertmanager has routes of its own."""
        return ("page", "ticket")


class Slack(_Sink):
    """A channel, by an incoming webhook. Its URL is the secret."""

    url_env: str | None = Field(None, description="Environment variable with the incoming webhook's URL")
    url_file: Path | None = Field(None, description="File with the incoming webhook's URL")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long it may take [s]")
    severities: tuple[Severity, ...] = Field(("page", "ticket"), description=_SEVERITIES_HELP)
    tenants: Tenants = Field("count", description=_TENANTS_HELP)

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        _exactly_one("url", self.url_env, self.url_file)
        return self

    def url(self) -> str:
        """The URL.

        :raises ConfigError: naming the key, where it cannot be read or is no URL
        """
        url = _secret(f"sinks.slack ({self.name}): url", self.url_env, self.url_file)
        if not url.startswith(("https://", "http://")):
            raise ConfigError(f"sinks.slack ({self.name}): url: what was read is no URL (it is not shown: it is a secret)")
        return url


class PagerDuty(_Sink):
    """A service of PagerDuty, by its Events API v2. Its routing key is the secret."""

    routing_key_env: str | None = Field(None, description="Environment variable with the integration's routing key")
    routing_key_file: Path | None = Field(None, description="File with the integration's routing key")
    url: str = Field(PAGERDUTY, description="Where to POST; another one in PagerDuty's EU region", pattern=r"^https?://")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long it may take [s]")
    severities: tuple[Severity, ...] = Field(("page",), description=_SEVERITIES_HELP)
    page_severity: Literal["critical", "error", "warning", "info"] = Field(
        "critical", description="PagerDuty's word for a page"
    )
    ticket_severity: Literal["critical", "error", "warning", "info"] = Field(
        "warning", description="PagerDuty's word for a ticket"
    )
    tenants: Tenants = Field("count", description=_TENANTS_HELP)

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        _exactly_one("routing_key", self.routing_key_env, self.routing_key_file)
        return self

    def routing_key(self) -> str:
        """The key.

        :raises ConfigError: naming the key, where it cannot be read
        """
        return _secret(f"sinks.pagerduty ({self.name}): routing_key", self.routing_key_env, self.routing_key_file)


Sink = Webhook | Alertmanager | Slack | PagerDuty


class Sinks(Section):
    """Whom to tell."""

    webhooks: tuple[Webhook, ...] = Field((), description="Generic webhooks")
    alertmanagers: tuple[Alertmanager, ...] = Field((), description="Every member of an Alertmanager cluster")
    slack: tuple[Slack, ...] = Field((), description="Channels of Slack")
    pagerduty: tuple[PagerDuty, ...] = Field((), description="Services of PagerDuty")
    heartbeat_url: str | None = Field(
        None,
        description="URL to GET every 60 s while evaluation works, for a service that pages when this stops; off by default",
        pattern=r"^https?://",
    )

    @property
    def all(self) -> tuple[Sink, ...]:
        """Every sink that is told of alerts."""
        return (*self.webhooks, *self.alertmanagers, *self.slack, *self.pagerduty)

    @property
    def names(self) -> list[str]:
        """The names of all sinks that are told of alerts."""
        return [sink.name for sink in self.all]

    def check_secrets(self) -> None:
        """Read every secret once.

        :raises ConfigError: naming the key of the first that cannot be read
        """
        for channel in self.slack:
            channel.url()
        for service in self.pagerduty:
            service.routing_key()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"sinks need names of their own: {', '.join(twice)} is given twice")
        return self


def _template(*names: str) -> AfterValidator:
    """A URL with ``{name}`` in it, each name once at least and no other."""

    def check(value: str) -> str:
        try:
            filled = [value.format(**dict.fromkeys(names, mark)) for mark in ("0", "1")]
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"only {' and '.join(f'{{{name}}}' for name in names)} can be filled in") from error
        if filled[0] == filled[1]:
            raise ValueError(f"{{{names[0]}}} has to be in it")
        return value

    return AfterValidator(check)


def _labels(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not name.isascii() or not name.isidentifier():
            raise ValueError(f"{name!r} is no name of a label: letters, digits and _, no digit first")
        if name in _OWN_LABELS:
            raise ValueError(f"{name!r} is a label of our own")
    return value


class Alerts(Section):
    """How people are told."""

    watchdog: bool = Field(True, description="Whether Alertmanagers get an alert that always fires, for a dead man's switch")
    runbook_url: Annotated[str, _template("alertname")] | None = Field(
        None,
        description="Link to a runbook, with {alertname}: where you publish docs/runbooks, or runbooks of your own",
        pattern=r"^https?://",
    )
    trace_url: Annotated[str, _template("trace_id")] | None = Field(
        None, description="Link to a trace, with {trace_id}, for the examples in a page", pattern=r"^https?://"
    )
    labels: Annotated[dict[str, str], AfterValidator(_labels)] = Field(
        {}, description="More labels for every alert, for the routes of those who are told"
    )
    page_severity: str = Field("page", min_length=1, description="Label `severity` of a page, as sinks see it")
    ticket_severity: str = Field("ticket", min_length=1, description="Label `severity` of a ticket, as sinks see it")
    sink_failing_minutes: float = Field(
        5.0, gt=0, description="A sink that takes nothing for so long is told of through the others [min]"
    )


def _exactly_one(name: str, env: str | None, file: Path | None) -> None:
    if (env is None) == (file is None):
        raise ValueError(f"needs {name}_env or {name}_file, and not both: the secret itself does not belong here")


def _secret(key: str, env: str | None, file: Path | None) -> str:
    if env is not None:
        value = os.environ.get(env, "").strip()
        if not value:
            raise ConfigError(f"{key}_env: the environment variable {env} is not set, or empty")
        return value
    assert file is not None
    try:
        value = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{key}_file: {file} cannot be read: {reason}") from error
    if not value:
        raise ConfigError(f"{key}_file: {file} is empty")
    return value
