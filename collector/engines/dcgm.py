"""NVIDIA's DCGM exporter: the memory of each GPU, and its last XID, the driver's word for what went wrong.

- Memory is in MiB there and in bytes here. An engine that reserves its memory at the start uses the same all day, so a full GPU
  foretells nothing. A GPU out of memory raises no XID.
- ``DCGM_FI_DEV_XID_ERRORS`` is the last XID and stays; it is no count. What is told is that it changed: the same XID again is
  not seen, and neither is one of before the first scrape.
- With time slicing a GPU is there once for each of its pods, with the same numbers; under MIG once for each instance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from collector.sample import Sample

PREFIX = "DCGM_"
_USED, _FREE, _XID = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_XID_ERRORS"
_MIB = 2**20
_NOT_KEPT = """
    DCGM_EXP_CLOCK_EVENTS_COUNT DCGM_EXP_XID_ERRORS_COUNT DCGM_FI_DEV_BOARD_LIMIT_VIOLATION
    DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS DCGM_FI_DEV_DEC_UTIL DCGM_FI_DEV_ENC_UTIL DCGM_FI_DEV_FB_RESERVED
    DCGM_FI_DEV_FB_TOTAL DCGM_FI_DEV_GPU_TEMP DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_LOW_UTIL_VIOLATION DCGM_FI_DEV_MEMORY_TEMP
    DCGM_FI_DEV_MEM_CLOCK DCGM_FI_DEV_MEM_COPY_UTIL DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL DCGM_FI_DEV_PCIE_REPLAY_COUNTER
    DCGM_FI_DEV_POWER_USAGE DCGM_FI_DEV_POWER_VIOLATION DCGM_FI_DEV_RELIABILITY_VIOLATION DCGM_FI_DEV_ROW_REMAP_FAILURE
    DCGM_FI_DEV_SM_CLOCK DCGM_FI_DEV_SYNC_BOOST_VIOLATION DCGM_FI_DEV_THERMAL_VIOLATION DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION
    DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS DCGM_FI_DEV_VGPU_LICENSE_STATUS DCGM_FI_PROF_DRAM_ACTIVE
    DCGM_FI_PROF_GR_ENGINE_ACTIVE DCGM_FI_PROF_PCIE_RX_BYTES DCGM_FI_PROF_PCIE_TX_BYTES DCGM_FI_PROF_PIPE_TENSOR_ACTIVE
"""
_KNOWN = frozenset({_USED, _FREE, _XID, *_NOT_KEPT.split()})
_MEANINGS = {
    13: "graphics engine exception",
    31: "illegal memory access",
    43: "GPU stopped processing",
    45: "work of a process was ended early",
    48: "double-bit ECC error",
    61: "internal microcontroller breakpoint",
    62: "internal microcontroller halt",
    63: "ECC page retired or row remapped",
    64: "ECC page not retired or row not remapped",
    74: "NVLink error",
    79: "GPU fell off the bus",
    92: "high rate of single-bit ECC errors",
    94: "contained ECC error",
    95: "uncontained ECC error",
    119: "GPU system processor did not answer",
    120: "GPU system processor error",
}
"""XIDs that matter to an engine, in NVIDIA's words, shortened."""


class Gpu(NamedTuple):
    """One GPU, or one MIG instance of one."""

    number: str
    uuid: str
    pod: str
    """The pod that Kubernetes gave it to; empty where none did, or several share it."""
    used_bytes: float | None
    free_bytes: float | None
    xid: int
    """The last XID, 0 for none."""


class XidSeen(NamedTuple):
    """A GPU whose last XID changed."""

    gpu: Gpu
    detail: dict[str, str]


def read_gpus(samples: Iterable[Sample]) -> list[Gpu]:
    """The GPUs of a page, by number."""
    by_gpu: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        if sample.name in (_USED, _FREE, _XID) and "gpu" in sample.labels:
            index = "/".join(filter(None, (sample.labels["gpu"], sample.labels.get("GPU_I_ID"))))
            by_gpu.setdefault((index, sample.labels.get("UUID") or sample.labels.get("uuid", "")), []).append(sample)
    return [_gpu(index, uuid, found) for (index, uuid), found in sorted(by_gpu.items())]


def _gpu(index: str, uuid: str, samples: list[Sample]) -> Gpu:
    pods = {pod for sample in samples if (pod := _pod(sample.labels))}
    used, free, xid = (_largest(samples, name) for name in (_USED, _FREE, _XID))
    return Gpu(
        index,
        uuid,
        next(iter(pods)) if len(pods) == 1 else "",
        None if used is None else used * _MIB,
        None if free is None else free * _MIB,
        int(xid or 0),
    )


def _pod(labels: Mapping[str, str]) -> str:
    """Older exporters, and Prometheus on the way, name the label otherwise."""
    return labels.get("exported_pod") or labels.get("pod") or labels.get("pod_name", "")


def _largest(samples: list[Sample], name: str) -> float | None:
    """The same number may be there once for each pod that shares the GPU."""
    return max((sample.value for sample in samples if sample.name == name and math.isfinite(sample.value)), default=None)


def see_gpus(before: Mapping[str, int] | None, gpus: Iterable[Gpu]) -> tuple[dict[str, int], list[XidSeen]]:
    """What is known of each GPU's last XID now, and the GPUs where it is a new one. ``None`` where nothing was known before."""
    now = {gpu.uuid or gpu.number: gpu.xid for gpu in gpus}
    if before is None:
        return now, []
    new = [gpu for gpu in gpus if gpu.xid and gpu.xid != before.get(gpu.uuid or gpu.number, gpu.xid)]
    return {**before, **now}, [XidSeen(gpu, _detail(gpu)) for gpu in new]


def _detail(gpu: Gpu) -> dict[str, str]:
    detail = {"gpu": gpu.number, "uuid": gpu.uuid, "xid": str(gpu.xid), "meaning": _MEANINGS.get(gpu.xid, "")}
    return {key: value for key, value in (detail | {"pod": gpu.pod}).items() if value}


def unknown_names(names: Iterable[str]) -> tuple[str, ...]:
    """The exporter's names that nobody here knows."""
    return tuple(sorted({name for name in names if name.startswith(PREFIX)} - _KNOWN))
