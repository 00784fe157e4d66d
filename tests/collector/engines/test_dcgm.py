from __future__ import annotations

from pathlib import Path

import pytest

from collector.engines.dcgm import Gpu, read_gpus, see_gpus, unknown_names
from collector.exposition import parse

TEXT = (Path(__file__).parent.parent.parent / "data" / "engines" / "dcgm.txt").read_text()
MIB = 2**20


def gpu(number: str = "0", xid: int = 0, uuid: str = "GPU-a") -> Gpu:
    return Gpu(number, uuid, "", None, None, xid)


def test_memory_of_each_gpu_is_in_bytes_with_the_pod_that_has_it() -> None:
    found = [(one.number, one.pod, one.used_bytes, one.free_bytes, one.xid) for one in read_gpus(parse(TEXT))]
    assert [
        ("0", "vllm-0", 75876.0 * MIB, 5120.0 * MIB, 0),
        ("1", "vllm-1", 74852.0 * MIB, 6144.0 * MIB, 0),
        ("2", "", 2.0 * MIB, 80994.0 * MIB, 0),
    ] == found


def test_gpu_that_pods_share_counts_once_and_belongs_to_none() -> None:
    text = "\n".join(f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-a",pod="{pod}"}} 100' for pod in ("a", "b"))
    assert [Gpu("0", "GPU-a", "", 100.0 * MIB, None, 0)] == read_gpus(parse(text))


def test_instances_of_a_gpu_are_apart() -> None:
    text = "\n".join(f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-a",GPU_I_ID="{id}"}} {id}' for id in (1, 2))
    assert [("0/1", 1.0 * MIB), ("0/2", 2.0 * MIB)] == [(one.number, one.used_bytes) for one in read_gpus(parse(text))]


@pytest.mark.parametrize("label", ["pod", "exported_pod", "pod_name"])
def test_pod_is_found_under_each_of_its_labels(label: str) -> None:
    (one,) = read_gpus(parse(f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-a",{label}="vllm-0"}} 1'))
    assert "vllm-0" == one.pod


def test_prometheus_on_the_way_renames_the_pod_and_puts_its_own_in_its_place() -> None:
    (one,) = read_gpus(parse('DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",pod="dcgm-x",exported_pod="vllm-0"} 1'))
    assert "vllm-0" == one.pod


def test_xid_of_before_the_first_look_is_not_told() -> None:
    known, seen = see_gpus(None, [gpu(xid=79)])
    assert ({"GPU-a": 79}, []) == (known, seen)
    assert ({"GPU-a": 79}, []) == see_gpus(known, [gpu(xid=79)])


def test_new_xid_is_told_once_with_its_meaning() -> None:
    known, seen = see_gpus({"GPU-a": 0}, [gpu(xid=79)])
    assert [{"gpu": "0", "uuid": "GPU-a", "xid": "79", "meaning": "GPU fell off the bus"}] == [one.detail for one in seen]
    assert [] == see_gpus(known, [gpu(xid=79)])[1]
    assert ["31"] == [one.detail["xid"] for one in see_gpus(known, [gpu(xid=31)])[1]]


def test_gpu_that_is_new_on_the_page_has_no_new_xid() -> None:
    assert [] == see_gpus({"GPU-a": 0}, [gpu("1", 79, "GPU-b")])[1]


def test_what_falls_off_the_page_and_comes_back_has_no_new_xid() -> None:
    known, _ = see_gpus({"GPU-a": 13}, [])
    assert [] == see_gpus(known, [gpu(xid=13)])[1]


def test_xid_that_is_no_number_is_none() -> None:
    assert [0] == [one.xid for one in read_gpus(parse('DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-a"} NaN'))]


def test_names_that_nobody_knows_are_listed() -> None:
    names = {sample.name for sample in parse(TEXT)}
    assert ("DCGM_FI_DEV_BRAND_NEW",) == unknown_names(names | {"DCGM_FI_DEV_BRAND_NEW", "go_goroutines"})
