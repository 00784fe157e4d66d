"""Pods as targets. The pod is what a replica runs in today: its name is the replica's only where it is stable."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from collector.discover.group import Found, target_of
from collector.discover.source import SourceFailed
from collector.target import KubernetesDiscovery, Target

_SCRAPE, _PORT, _PATH, _SCHEME = (f"prometheus.io/{name}" for name in ("scrape", "port", "path", "scheme"))
_MODEL = ("llm-slo/model", "llm-d.ai/model", "model")
_ENVIRONMENT = ("llm-slo/environment", "environment", "env")
_REVISION = ("controller-revision-hash", "pod-template-hash", "app.kubernetes.io/version")
"""What a StatefulSet, a Deployment or its author calls the template that a pod was made from."""
_PAGE = 500
"""Pods of one answer of the API."""


class Pods(Protocol):
    """Lists pods as the API's JSON has them: ``metadata``, ``spec``, ``status``."""

    async def list(self, namespace: str | None, selector: str | None) -> Sequence[Mapping[str, Any]]:
        """Every pod.

        :raises SourceFailed: when the API does not say
        """


Connect = Callable[[KubernetesDiscovery], Awaitable[Pods]]


class KubernetesSource:
    """Pods by label, or by the annotations that Prometheus goes by. ``connect`` is called before the first listing."""

    def __init__(self, settings: KubernetesDiscovery, connect: Connect | None = None) -> None:
        self._settings = settings
        self._connect = connect or connect_api
        self._pods: Pods | None = None

    @property
    def name(self) -> str:
        """The namespaces."""
        return f"kubernetes {', '.join(self._settings.namespaces) or 'all namespaces'}"

    @property
    def refresh_seconds(self) -> float:
        """As configured."""
        return self._settings.refresh_seconds

    async def find(self) -> Found:
        """Every pod that is a target."""
        if self._pods is None:
            self._pods = await self._connect(self._settings)
        found = [
            pod
            for namespace in self._settings.namespaces or (None,)
            for pod in await self._pods.list(namespace, self._settings.selector)
        ]
        return read_pods(found, self._settings)


def read_pods(pods: Sequence[Mapping[str, Any]], settings: KubernetesDiscovery) -> Found:
    """The targets that pods are. Pods that are not placed yet, have ended or are being deleted are none."""
    targets: list[Target] = []
    rejected: list[str] = []
    for pod in pods:
        metadata, address = pod["metadata"], pod.get("status", {}).get("podIP")
        phase = pod.get("status", {}).get("phase")
        if not address or phase in ("Succeeded", "Failed") or metadata.get("deletionTimestamp"):
            continue
        annotations = metadata.get("annotations") or {}
        if settings.selector is None and annotations.get(_SCRAPE) != "true":
            continue
        try:
            targets.append(_target(pod, str(address), annotations, settings))
        except (ValueError, ValidationError) as error:
            rejected.append(f"pod {metadata.get('namespace')}/{metadata.get('name')}: {str(error).splitlines()[0]}")
    return Found(tuple(targets), tuple(rejected))


def _target(pod: Mapping[str, Any], address: str, annotations: Mapping[str, str], settings: KubernetesDiscovery) -> Target:
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    host = f"[{address}]" if ":" in address else address
    return target_of(
        f"{host}:{_port(pod, annotations, settings)}",
        {
            "replica": metadata["name"],
            "model": _first(labels, _MODEL),
            "environment": _first(labels, _ENVIRONMENT),
            "revision": _first(labels, _REVISION),
            "__scheme__": annotations.get(_SCHEME),
            "__metrics_path__": annotations.get(_PATH),
        },
    )


def _port(pod: Mapping[str, Any], annotations: Mapping[str, str], settings: KubernetesDiscovery) -> int:
    if settings.port is not None:
        return settings.port
    stated = annotations.get(_PORT)
    if stated:
        if not re.fullmatch(r"\d{1,5}", stated):
            raise ValueError(f"{_PORT} is {stated!r}: expected a port")
        return int(stated)
    ports = sorted(set(_ports(pod)))
    if len(ports) != 1:
        raise ValueError(f"it has {len(ports)} ports: expected one, or discovery.kubernetes.port, or {_PORT}")
    return ports[0]


def _ports(pod: Mapping[str, Any]) -> Iterator[int]:
    for container in pod.get("spec", {}).get("containers", ()):
        for port in container.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                yield int(port["containerPort"])


def _first(labels: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((labels[name] for name in names if labels.get(name)), None)


async def connect_api(settings: KubernetesDiscovery) -> Pods:
    """The API of the cluster.

    :raises SourceFailed: without the package, or without an account
    """
    try:
        from kubernetes_asyncio import client, config
    except ImportError:
        raise SourceFailed("Kubernetes needs a package more: pip install 'llm-slo[kubernetes]'") from None
    configuration = client.Configuration()
    try:
        if settings.kubeconfig is not None:
            await config.load_kube_config(config_file=str(settings.kubeconfig), client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise SourceFailed(f"no account: {error}") from None
    return _Api(client, configuration)


class _Api:
    """The pods that the cluster's API lists, page by page."""

    def __init__(self, client: Any, configuration: Any) -> None:
        self._client = client
        self._api = client.ApiClient(configuration=configuration)

    async def list(self, namespace: str | None, selector: str | None) -> Sequence[Mapping[str, Any]]:
        core = self._client.CoreV1Api(self._api)
        arguments: dict[str, Any] = {"limit": _PAGE, "_request_timeout": 20}
        if selector is not None:
            arguments["label_selector"] = selector
        pods: list[Mapping[str, Any]] = []
        try:
            while True:
                if namespace is None:
                    page = await core.list_pod_for_all_namespaces(**arguments)
                else:
                    page = await core.list_namespaced_pod(namespace, **arguments)
                pods += [self._api.sanitize_for_serialization(pod) for pod in page.items]
                if not page.metadata._continue:
                    return pods
                arguments["_continue"] = page.metadata._continue
        except Exception as error:  # the package lets through whatever its transport raises
            raise SourceFailed(f"{type(error).__name__}: {str(error).splitlines()[0][:150]}") from None
