"""Targets: the engines to scrape, those that are listed and where others are found."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from collector.document import Section
from collector.metrics import EngineName


class Target(Section):
    """An engine to scrape."""

    url: str = Field(description="Base URL of the engine, without /metrics", pattern=r"^https?://")
    engine: EngineName | None = Field(
        None,
        description="What is there: engines are recognised by their pages, the exporters dcgm and kube_state have to be named",
    )
    replica: str | None = Field(None, description="Stable name of the replica; HOST:PORT of the URL unless given")
    model: str | None = Field(None, description="Served model, for a target that was never scraped; else the engine says it")
    environment: str | None = Field(None, description="Environment of this target, where it is not that of the whole file")
    revision: str | None = Field(None, description="What is deployed there; another one than before is told as a deploy")
    scrape_seconds: float = Field(15.0, gt=0, description="Time between two scrapes of /metrics [s]")
    health_seconds: float = Field(5.0, gt=0, description="Time between two calls of /health [s]")

    @property
    def replica_name(self) -> str:
        """The replica's stable name."""
        return self.replica or self.url.split("//", 1)[1].split("/", 1)[0]


class FileDiscovery(Section):
    """Files in the format of Prometheus' file_sd."""

    files: tuple[str, ...] = Field(description="Files, JSON or YAML; * matches", min_length=1)
    refresh_seconds: float = Field(15.0, gt=0, description="Time between two readings [s]")


class HttpDiscovery(Section):
    """A URL in the format of Prometheus' http_sd."""

    url: str = Field(description="Where to GET the list of target groups", pattern=r"^https?://")
    refresh_seconds: float = Field(60.0, gt=0, description="Time between two requests [s]")
    timeout_seconds: float = Field(10.0, gt=0, le=60, description="How long an answer may take [s]")


class DnsDiscovery(Section):
    """Names that resolve to one address per replica, such as a headless service."""

    names: tuple[str, ...] = Field(description="Names to resolve", min_length=1)
    port: int = Field(8000, ge=1, le=65535, description="Port of the engine")
    scheme: Literal["http", "https"] = Field("http", description="How to call it")
    model: str | None = Field(None, description="Served model, for a replica that was never scraped")
    environment: str | None = Field(None, description="Environment of these replicas")
    refresh_seconds: float = Field(15.0, gt=0, description="Time between two resolutions [s]")


class KubernetesDiscovery(Section):
    """Pods of a cluster."""

    namespaces: tuple[str, ...] = Field((), description="Namespaces to look in; all of them unless given")
    selector: str | None = Field(
        None, description="Label selector of the pods; without it those with the annotation prometheus.io/scrape: true"
    )
    port: int | None = Field(
        None, ge=1, le=65535, description="Port of the engine; else the annotation prometheus.io/port, else the only port"
    )
    kubeconfig: Path | None = Field(None, description="kubeconfig file; the pod's own account unless given")
    refresh_seconds: float = Field(15.0, gt=0, description="Time between two listings [s]")


class Discovery(Section):
    """Targets that are found, beside those that are listed."""

    files: tuple[FileDiscovery, ...] = Field((), description="Files")
    http: tuple[HttpDiscovery, ...] = Field((), description="URLs")
    dns: tuple[DnsDiscovery, ...] = Field((), description="DNS names")
    kubernetes: tuple[KubernetesDiscovery, ...] = Field((), description="Kubernetes")
    shared: bool = Field(
        False, description="Whether all collectors have the same targets and share them, so that each is scraped once"
    )


class Canary(Section):
    """A one-token call of each replica, now and then; synthetic: in no SLO and on no bill."""

    interval_seconds: float | None = Field(
        None, ge=1, le=900, description="Time between two calls of a replica; off by default [s]"
    )
    timeout_seconds: float = Field(30.0, gt=0, le=600, description="How long an answer may take [s]")
    prompt: str = Field("1", min_length=1, max_length=200, description="What is asked")
