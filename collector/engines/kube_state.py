"""kube-state-metrics: containers of engines that were killed for lack of host memory, and their restarts.

``OOMKilled`` stays until the next termination, so it says something new only when the count of restarts rose with it. It is
about the container's limit on host memory: a GPU that ran out of memory ends otherwise, with the engine's own exit code. A
page is of the whole cluster; what concerns an engine here are the pods of configured targets alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from collector.sample import Sample

_STATUS = "kube_pod_container_status_"
_RESTARTS, _REASON, _EXIT = f"{_STATUS}restarts_total", f"{_STATUS}last_terminated_reason", f"{_STATUS}last_terminated_exitcode"
_POD = "kube_pod_info"
_PLACE = ("namespace", "pod", "container")
KEPT_LINES = re.compile(rf"^(?:{_RESTARTS}|{_REASON}|{_EXIT}|{_POD})\{{.*$", re.MULTILINE)
"""The lines of a page that are read; a large cluster's page has a hundred times as many."""
PREFIX = "kube_"
OOM_KILLED = "OOMKilled"


class Place(NamedTuple):
    """A container's place in the cluster. A pod of the same name that was made anew has another uid, and counts anew."""

    namespace: str
    pod: str
    container: str
    uid: str


class Container(NamedTuple):
    """What Kubernetes knows of one container's endings."""

    restarts: int
    reason: str
    """Why it ended last; empty where it never did."""
    exit_code: str


class Restarted(NamedTuple):
    """A container that was started anew since the last look."""

    place: Place
    now: Container
    detail: dict[str, str]

    @property
    def oom_killed(self) -> bool:
        """Whether it was killed for lack of host memory."""
        return self.now.reason == OOM_KILLED


def read_containers(samples: Iterable[Sample]) -> dict[Place, Container]:
    """The containers of a page."""
    restarts: dict[Place, int] = {}
    reasons: dict[Place, str] = {}
    exits: dict[Place, str] = {}
    for sample in samples:
        if sample.name == _RESTARTS and sample.value == sample.value // 1:
            restarts[_place(sample.labels)] = int(sample.value)
        elif sample.name == _REASON and sample.value == 1:
            reasons[_place(sample.labels)] = sample.labels.get("reason", "")
        elif sample.name == _EXIT and sample.value == sample.value // 1:
            exits[_place(sample.labels)] = str(int(sample.value))
    return {place: Container(count, reasons.get(place, ""), exits.get(place, "")) for place, count in restarts.items()}


def read_addresses(samples: Iterable[Sample]) -> dict[str, str]:
    """Names of pods by their IP. Pods on their host's network share its address, so an address of several names none."""
    pods: dict[str, set[str]] = {}
    for sample in samples:
        if sample.name == _POD and sample.labels.get("pod_ip"):
            pods.setdefault(sample.labels["pod_ip"], set()).add(sample.labels.get("pod", ""))
    return {ip: next(iter(names)) for ip, names in pods.items() if len(names) == 1}


def see_containers(before: Mapping[Place, Container] | None, now: Mapping[Place, Container]) -> list[Restarted]:
    """Containers whose count of restarts rose. ``None`` where nothing was known before: then nothing is new."""
    if before is None:
        return []
    return [
        Restarted(place, container, _detail(place, container))
        for place, container in now.items()
        if place in before and container.restarts > before[place].restarts
    ]


def _place(labels: Mapping[str, str]) -> Place:
    namespace, pod, container = (labels.get(f"exported_{name}") or labels.get(name, "") for name in _PLACE)
    return Place(namespace, pod, container, labels.get("uid", ""))


def _detail(place: Place, container: Container) -> dict[str, str]:
    detail = {
        "namespace": place.namespace,
        "pod": place.pod,
        "container": place.container,
        "restarts": str(container.restarts),
        "reason": container.reason,
        "exit_code": container.exit_code,
    }
    return {key: value for key, value in detail.items() if value}
