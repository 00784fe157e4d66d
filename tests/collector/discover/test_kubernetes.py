from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.discover.kubernetes import KubernetesSource, Pods, read_pods
from collector.discover.source import SourceFailed
from collector.target import KubernetesDiscovery


def pod(name: str, address: str | None = "10.0.0.1", *, ports: Sequence[int] = (8000,), **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "serving", **metadata},
        "spec": {"containers": [{"name": "engine", "ports": [{"containerPort": port, "protocol": "TCP"} for port in ports]}]},
        "status": {"phase": "Running", **({"podIP": address} if address else {})},
    }


SCRAPED = {"prometheus.io/scrape": "true"}
SELECTED = KubernetesDiscovery(selector="app=vllm")


def test_pods_with_prometheus_annotations_are_targets() -> None:
    annotations = {**SCRAPED, "prometheus.io/port": "9000", "prometheus.io/path": "/x/metrics", "prometheus.io/scheme": "https"}
    found = read_pods(
        [pod("vllm-0", annotations=annotations, labels={"model": "llama", "controller-revision-hash": "r2"}), pod("other")],
        KubernetesDiscovery(),
    )
    assert [("vllm-0", "https://10.0.0.1:9000/x", "llama", "r2")] == [
        (target.replica_name, target.url, target.model, target.revision) for target in found.targets
    ]


@pytest.mark.parametrize(
    "ended",
    [
        pod("a", None),
        pod("a", deletionTimestamp="2026-11-24T12:00:00Z"),
        pod("a") | {"status": {"phase": "Succeeded", "podIP": "10.0.0.1"}},
    ],
)
def test_pods_that_do_not_serve_are_none(ended: Mapping[str, Any]) -> None:
    assert ((), ()) == tuple(read_pods([ended], SELECTED))


def test_a_pod_whose_port_nobody_knows_is_left_out_with_the_reason() -> None:
    found = read_pods([pod("a", ports=(1, 2)), pod("b", annotations={"prometheus.io/port": "http"})], SELECTED)
    assert (
        "pod serving/a: it has 2 ports: expected one, or discovery.kubernetes.port, or prometheus.io/port",
        "pod serving/b: prometheus.io/port is 'http': expected a port",
    ) == found.rejected


class Api:
    """The pods of a cluster, a few per answer, as the API's own JSON."""

    def __init__(self) -> None:
        self.pods = [pod(f"vllm-{number}", f"10.0.0.{number}") for number in range(5)]
        self.asked: list[Mapping[str, str]] = []

    async def list(self, request: web.Request) -> web.Response:
        self.asked.append({**request.query, "authorization": request.headers.get("Authorization", "")})
        start = int(request.query.get("continue") or 0)
        more = str(start + 2) if start + 2 < len(self.pods) else ""
        metadata = {"continue": more} if more else {}
        return web.json_response(
            {"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": self.pods[start : start + 2]}
        )


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[Api, Path]]:
    api, app = Api(), web.Application()
    app.add_routes([web.get("/api/v1/namespaces/serving/pods", api.list)])
    async with TestServer(app) as server:
        kubeconfig = tmp_path / "config"
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                }
            )
        )
        yield api, kubeconfig


async def test_all_pages_of_the_api_are_read_with_the_selector(cluster: tuple[Api, Path]) -> None:
    api, kubeconfig = cluster
    settings = KubernetesDiscovery(namespaces=("serving",), selector="app=vllm", kubeconfig=kubeconfig)
    found = await KubernetesSource(settings).find()
    assert [f"vllm-{number}" for number in range(5)] == [target.replica_name for target in found.targets]
    assert {("app=vllm", "Bearer t")} == {(one["labelSelector"], one["authorization"]) for one in api.asked}
    assert 3 == len(api.asked)


async def test_an_api_that_refuses_fails(cluster: tuple[Api, Path]) -> None:
    _, kubeconfig = cluster
    source = KubernetesSource(KubernetesDiscovery(namespaces=("elsewhere",), selector="app=vllm", kubeconfig=kubeconfig))
    with pytest.raises(SourceFailed, match="404"):
        await source.find()


async def test_without_an_account_it_fails_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="no account"):
        await KubernetesSource(KubernetesDiscovery(kubeconfig=tmp_path / "none")).find()


async def test_the_connection_is_made_once() -> None:
    made = []

    class Fixed:
        async def list(self, namespace: str | None, selector: str | None) -> Sequence[Mapping[str, Any]]:
            return [pod(f"{namespace}-0")]

    async def connect(_: KubernetesDiscovery) -> Pods:
        made.append(1)
        return Fixed()

    source = KubernetesSource(KubernetesDiscovery(namespaces=("a", "b"), selector="x"), connect)
    for _ in range(2):
        assert ["a-0", "b-0"] == [target.replica_name for target in (await source.find()).targets]
    assert [1] == made
