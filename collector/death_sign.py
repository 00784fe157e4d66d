"""One line of an engine's log → what it says of the engine's death. Pure.

The texts are those of the engines' sources and of their issues. Order matters: the first pattern that matches wins, so a
text that a later pattern would take for a death is listed before it where it is none.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

LONGEST_LINE = 4096
"""Characters of a line that are looked at: engines name the fault near the start."""


class Says(StrEnum):
    """What a line says. The values of causes are stored."""

    OOM = "oom"
    DEVICE_ERROR = "device_error"
    KILLED = "killed"
    HANG = "hang"
    ENGINE_DEAD = "engine_dead"
    """Death, without a cause."""
    RECOVERED = "recovered"
    """What was said before was mended by the engine itself."""
    STARTED = "started"
    """A new life: what was said before belongs to an earlier one."""


class Family(StrEnum):
    """Who writes the text."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"
    OLLAMA = "ollama"
    TGI = "tgi"
    TORCH = "torch"
    DEVICE = "device"
    """CUDA, cuBLAS, NCCL, ROCm."""
    SYSTEM = "system"
    """The kernel and Kubernetes."""


class Sign(NamedTuple):
    """What a pattern stands for.

    ``proof``: the text alone proves what it says; else it is a hint, and counts as the cause of a death that follows.
    ``ends``: the engine is gone. ``echo``: a dead engine repeats it for as long as it is asked for something.
    """

    pattern: int
    family: Family
    says: Says
    proof: bool = True
    ends: bool = False
    echo: bool = False


class _Pattern(NamedTuple):
    sign: Sign
    texts: tuple[str, ...]
    """In lower case: any of them."""
    expression: re.Pattern[str] | None
    """What must match as well. Plain texts are found twenty times faster, and a traceback has hundreds of lines."""


def _pattern(
    id: int, family: Family, says: Says, *texts: str, expression: str | None = None, proof: bool = True, **flags: bool
) -> _Pattern:
    return _Pattern(Sign(id, family, says, proof, **flags), texts, re.compile(expression) if expression else None)


def _death(id: int, family: Family, *texts: str, expression: str | None = None, echo: bool = False) -> _Pattern:
    return _pattern(id, family, Says.ENGINE_DEAD, *texts, expression=expression, ends=True, echo=echo)


_PATTERNS = (
    # A new life, and what an engine mends by itself. llama.cpp says "failed to allocate compute buffers" before it tries again.
    _pattern(1, Family.VLLM, Says.STARTED, "initializing a v1 llm engine"),
    _pattern(2, Family.VLLM, Says.STARTED, "application startup complete"),
    _pattern(3, Family.SGLANG, Says.STARTED, "server is fired up and ready to roll"),
    _pattern(4, Family.LLAMA_CPP, Says.STARTED, "server is listening on"),
    _pattern(5, Family.LLAMA_CPP, Says.RECOVERED, "retrying without pipeline parallelism"),
    # Memory, which ends the process.
    _pattern(10, Family.SYSTEM, Says.OOM, "out of memory: killed process", "memory cgroup out of memory: kill", ends=True),
    _pattern(11, Family.SYSTEM, Says.OOM, "oom-kill:", "invoked oom-killer", ends=True),
    _pattern(12, Family.SYSTEM, Says.OOM, "oomkilled", ends=True),
    _pattern(13, Family.SYSTEM, Says.OOM, "the node was low on resource: memory", ends=True),
    _pattern(14, Family.SGLANG, Says.OOM, "out of memory even after retracting", ends=True),
    # Memory.
    _pattern(17, Family.TORCH, Says.OOM, "hip out of memory"),
    _pattern(18, Family.TORCH, Says.OOM, "xpu out of memory"),
    _pattern(19, Family.TORCH, Says.OOM, "mps backend out of memory"),
    _pattern(20, Family.TORCH, Says.OOM, "cuda out of memory"),
    _pattern(21, Family.TORCH, Says.OOM, "outofmemoryerror"),
    _pattern(22, Family.TORCH, Says.OOM, *(f"defaultcpuallocator: {text} memory" for text in ("can't allocate", "not enough"))),
    _pattern(
        23, Family.DEVICE, Says.OOM, "cuda error: out of memory", "cuda_error_out_of_memory", "cublas_status_alloc_failed"
    ),
    _pattern(24, Family.DEVICE, Says.OOM, "hiperroroutofmemory"),
    _pattern(
        25, Family.SGLANG, Says.OOM, "prefill out of memory", "decode out of memory", "alloc_req_slots runs out of memory"
    ),
    _pattern(26, Family.SGLANG, Says.OOM, "not enough memory. please try to increase --mem-fraction-static"),
    _pattern(27, Family.TGI, Says.OOM, "not enough memory to handle"),
    _pattern(28, Family.LLAMA_CPP, Says.OOM, *(f"failed to allocate compute {graph} buffers" for graph in ("pp", "tg"))),
    _pattern(29, Family.SYSTEM, Says.OOM, "std::bad_alloc", "cannot allocate memory"),
    # Memory, perhaps: an engine may mend these, or somebody else may have said them.
    _pattern(40, Family.LLAMA_CPP, Says.OOM, "cudamalloc failed", "hipmalloc failed", "erroroutofdevicememory", proof=False),
    _pattern(
        41,
        Family.LLAMA_CPP,
        Says.OOM,
        " to allocate ",
        expression=r"(failed|unable) to allocate [\w ]{0,40}buffer",
        proof=False,
    ),
    _pattern(
        42,
        Family.OLLAMA,
        Says.OOM,
        "out of memory",
        "out of device memory",
        "not enough memory",
        "insufficient memory",
        proof=False,
    ),
    _pattern(43, Family.OLLAMA, Says.OOM, "model requires more system memory", "allocation failed", proof=False),
    _pattern(44, Family.TORCH, Says.OOM, "memoryerror", proof=False),
    # The device.
    _pattern(50, Family.DEVICE, Says.DEVICE_ERROR, "cuda error: ", "cuda_error_", "cublas_status_"),
    _pattern(51, Family.DEVICE, Says.DEVICE_ERROR, "unspecified launch failure", "an illegal memory access was encountered"),
    _pattern(52, Family.DEVICE, Says.DEVICE_ERROR, "memory access fault by gpu", "hip error: ", "hiperror"),
    _pattern(53, Family.DEVICE, Says.HANG, "watchdog caught collective operation timeout"),
    _pattern(54, Family.DEVICE, Says.DEVICE_ERROR, "unhandled cuda error", "unhandled system error", "nccl error"),
    # A hang, which an engine's own watchdog tells of.
    _pattern(60, Family.VLLM, Says.HANG, "rpc call to ", expression=r"rpc call to \w{1,60} timed out"),
    _pattern(61, Family.VLLM, Says.HANG, "no available shared memory broadcast block found", proof=False),
    _pattern(62, Family.SGLANG, Says.HANG, "scheduler watchdog timeout", "tokenizermanager watchdog timeout"),
    # A signal. Exit 137 is SIGKILL by whomever; the kernel's own words are above.
    _pattern(
        *(70, Family.VLLM, Says.KILLED, "died "),
        expression=r"died (unexpectedly \(exit ?code: ?|with exit code )-9\b",
        ends=True,
    ),
    _pattern(
        *(71, Family.SYSTEM, Says.KILLED, "137", "-9"),
        expression=r"(exit ?code ?[:=]? {0,8}|exited with code )(137|-9)\b",
        ends=True,
    ),
    # Death.
    _death(80, Family.VLLM, "enginecore encountered a fatal error"),
    _death(81, Family.VLLM, "engine core exited unexpectedly", "died unexpectedly"),
    _death(82, Family.VLLM, "engine core initialization failed", "died with exit code"),
    _death(83, Family.VLLM, "enginedeaderror", echo=True),
    _death(84, Family.SGLANG, "hit an exception", expression=r"(scheduler|manager|controller) hit an exception"),
    _death(85, Family.SGLANG, "received sigquit from a child process", "sigquit received."),
    _death(86, Family.LLAMA_CPP, "ggml_assert(", "exiting due to model loading error"),
    _death(87, Family.OLLAMA, "model runner has unexpectedly stopped"),
    _death(88, Family.OLLAMA, "llama runner process has terminated", "llama runner terminated"),
    _death(89, Family.TGI, "shard ", expression=r"shard \d{1,4} crashed|shard process was signaled to shutdown"),
    _death(90, Family.SYSTEM, "fatal python error", "segmentation fault (core dumped)"),
)

SIGNS = tuple(pattern.sign for pattern in _PATTERNS)
"""Every sign, in the order in which they are looked for."""

MEMORIES = {
    **dict.fromkeys(("10", "11", "12", "13", "22", "29"), "host"),
    **dict.fromkeys(("20", "23"), "CUDA"),
    **dict.fromkeys(("17", "24"), "ROCm"),
    "18": "XPU",
    "19": "MPS",
}
"""Whose memory ran out, by the id of a pattern as an event's detail holds it; other patterns do not tell."""

_QUIET = re.compile(
    r"(?:\([^()]{1,60}\)\s+){0,3}(?:[\d:.,tz/+\[\]-]{4,40}\s+){0,3}(?:(?:stdout|stderr)\s+[fp]\s+)?"
    r"(?:\([^()]{1,60}\)\s+){0,3}\[?(?:trace|debug|info)\b"
)
"""The level of a line that is there for the record: requests are logged like that, and a prompt may quote any fault."""
_REQUEST = (
    "received request ",
    "receive: obj=",
    "finish: obj=",
    "generated response ",
    "level=info",
    "level=debug",
    "prompt: '",
)
"""Lines that quote requests, in engines that write no level."""
_LEVELLED = re.compile(r"(?:\([^()]{1,60}\)\s+){0,3}\[?(?:warning|warn|error|critical|fatal)\b")
_LAST_QUIET_SEVERITY = 8
"""OTLP's DEBUG4. Shippers that know no better stamp INFO on every line of a container, so INFO alone says nothing."""


def find_sign(line: str, severity: int = 0) -> Sign | None:
    """What a line says; ``None`` for nothing. ``severity`` is OTLP's number of the record, 0 where it is not given."""
    text = line[:LONGEST_LINE].lower()
    quiet = _is_quiet(text, severity)
    for sign, texts, expression in _PATTERNS:
        if quiet and sign.says is not Says.STARTED:
            return None
        if any(known in text for known in texts) and (expression is None or expression.search(text)):
            return sign
    return None


def _is_quiet(text: str, severity: int) -> bool:
    if _QUIET.match(text) or any(known in text for known in _REQUEST):
        return True
    return 0 < severity <= _LAST_QUIET_SEVERITY and not _LEVELLED.match(text)
