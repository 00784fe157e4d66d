from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.death import ECHO, MOST_REQUESTS, TOGETHER, Crash, Death, Mark, read_lines, see_all
from collector.death_sign import SIGNS, Family, Says, find_sign
from collector.event import EventKind

LOGS = Path(__file__).parent.parent / "data" / "vllm"
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
OOM_LINE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
FATAL_LINE = "(EngineCore pid=31222) ERROR 11-23 23:44:51 [core.py:1512] EngineCore encountered a fatal error."
ECHO_LINE = "(APIServer pid=1) ERROR 11-23 23:44:51 [vllm_error.py:54] vllm.v1.engine.exceptions.EngineDeadError: EngineCore"
START_LINE = "(EngineCore pid=31222) INFO 11-23 23:38:29 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: m"
SCHEDULED = (
    "chatcmpl-inflight0-94264081-b041066b",
    "chatcmpl-inflight1-361b3348-b47d4ae5",
    "chatcmpl-inflight2-70eba9dc-b2feef54",
    "chatcmpl-inflight3-a6655a94-91b6c52b",
)


def seen(*lines: tuple[float, str], crash: Crash | None = None) -> list[Death]:
    """What is told when each line, with its second, comes in a body of its own."""
    told = []
    for seconds, line in lines:
        crash, deaths = see_all(crash, read_lines(line, AT + timedelta(seconds=seconds)))
        told += deaths
    return told


def short(deaths: list[Death]) -> list[tuple[str, str]]:
    return [(death.kind.value, death.cause) for death in deaths]


@pytest.mark.parametrize(
    ("line", "family", "says"),
    [
        (OOM_LINE, Family.TORCH, Says.OOM),
        ("torch.cuda.OutOfMemoryError: HIP out of memory. Tried to allocate 20.00 MiB", Family.TORCH, Says.OOM),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", Family.TORCH, Says.OOM),
        ("terminate called after throwing an instance of 'std::bad_alloc'", Family.SYSTEM, Says.OOM),
        ("RuntimeError: CUDA error: out of memory", Family.DEVICE, Says.OOM),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", Family.DEVICE, Says.OOM),
        ("CUBLAS_STATUS_NOT_INITIALIZED when calling cublasCreate", Family.DEVICE, Says.DEVICE_ERROR),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", Family.DEVICE, Says.DEVICE_ERROR),
        ("ncclUnhandledCudaError: NCCL version 2.20, unhandled cuda error", Family.DEVICE, Says.DEVICE_ERROR),
        ("Memory access fault by GPU node-1 on address 0x7f", Family.DEVICE, Says.DEVICE_ERROR),
        ("hipErrorOutOfMemory", Family.DEVICE, Says.OOM),
        ("[Rank 0] Watchdog caught collective operation timeout: WorkNCCL", Family.DEVICE, Says.HANG),
        ("[2026-01-01 00:00:00 TP0] Prefill out of memory. Try to lower your batch size.", Family.SGLANG, Says.OOM),
        ("RuntimeError: alloc_req_slots runs out of memory.", Family.SGLANG, Says.OOM),
        ("Not enough memory. Please try to increase --mem-fraction-static.", Family.SGLANG, Says.OOM),
        ("Out of memory even after retracting all other requests", Family.SGLANG, Says.OOM),
        ("[2026-01-01 00:00:00 TP0] Scheduler hit an exception: Traceback", Family.SGLANG, Says.ENGINE_DEAD),
        ("DetokenizerManager hit an exception: Traceback", Family.SGLANG, Says.ENGINE_DEAD),
        ("Received sigquit from a child process. It usually means the child failed.", Family.SGLANG, Says.ENGINE_DEAD),
        ("Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)", Family.SGLANG, Says.HANG),
        ("allocating 808.35 MiB on device 1: cudaMalloc failed: out of memory", Family.LLAMA_CPP, Says.OOM),
        ("ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 1", Family.LLAMA_CPP, Says.OOM),
        ("graph_reserve: failed to allocate compute buffers", Family.LLAMA_CPP, Says.OOM),
        ("failed to allocate compute pp buffers", Family.LLAMA_CPP, Says.OOM),
        (
            "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism",
            Family.LLAMA_CPP,
            Says.RECOVERED,
        ),
        ("E srv  llama_server: exiting due to model loading error", Family.LLAMA_CPP, Says.ENGINE_DEAD),
        ("ggml.c:123: GGML_ASSERT(a->ne[2] == b->ne[2]) failed", Family.LLAMA_CPP, Says.ENGINE_DEAD),
        ("model runner has unexpectedly stopped, this may be due to resource limitations", Family.OLLAMA, Says.ENGINE_DEAD),
        ("llama runner process has terminated: exit status 2", Family.OLLAMA, Says.ENGINE_DEAD),
        ("model requires more system memory (8 GiB) than is available", Family.OLLAMA, Says.OOM),
        ("Not enough memory to handle `max_total_tokens=4096`", Family.TGI, Says.OOM),
        ("kernel: Out of memory: Killed process 4242 (python3) total-vm:1kB", Family.SYSTEM, Says.OOM),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)", Family.SYSTEM, Says.OOM),
        ("Last State: Terminated, Reason: OOMKilled", Family.SYSTEM, Says.OOM),
        ("The node was low on resource: memory. Threshold quantity: 100Mi", Family.SYSTEM, Says.OOM),
        ("RuntimeError: sglang subprocess exited with code -9 before reporting ready", Family.SYSTEM, Says.KILLED),
        (
            "(EngineCore pid=1) ERROR 11-24 09:59:29 [multiproc_executor.py:316] Worker proc VllmWorker-0 died unexpectedly "
            "(exit code: -9), shutting down executor.",
            Family.VLLM,
            Says.KILLED,
        ),
        ("RuntimeError: Engine core process EngineCore_DP0 died unexpectedly.", Family.VLLM, Says.ENGINE_DEAD),
        ("RayWorkerProc rank=[1] died unexpectedly, shutting down executor.", Family.VLLM, Says.ENGINE_DEAD),
        ("TimeoutError: RPC call to sample_tokens timed out.", Family.VLLM, Says.HANG),
        (FATAL_LINE, Family.VLLM, Says.ENGINE_DEAD),
        (START_LINE, Family.VLLM, Says.STARTED),
    ],
)
def test_texts_of_engines_are_known(line: str, family: Family, says: Says) -> None:
    sign = find_sign(line)
    assert sign is not None
    assert (family, says) == (sign.family, sign.says)


@pytest.mark.parametrize(
    "line",
    [
        "",
        'INFO:     127.0.0.1:42896 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error',
        f"(APIServer pid=1) INFO 11-24 09:59:29 [logger.py:45] Received request chatcmpl-1: prompt: 'why {OOM_LINE}'",
        f"INFO 11-24 09:59:29 [logger.py:45] what does {OOM_LINE} mean",
        f"2026-11-24T09:59:29.123Z stderr F (APIServer pid=1) INFO 11-24 09:59:29 [logger.py:45] {FATAL_LINE}",
        f"[2026-01-01 00:00:00] Receive: obj=GenerateReqInfo(text='{OOM_LINE}')",
        f'time=2026-11-24T09:59:29Z level=INFO source=routes.go:1 msg="{OOM_LINE}"',
        "(APIServer pid=5040) INFO 11-24 09:59:29 [core_client.py:777] [shutdown] MPClient: complete",
    ],
)
def test_lines_for_the_record_say_nothing_whatever_they_quote(line: str) -> None:
    assert None is find_sign(line)


def test_severity_counts_only_where_the_line_has_no_level_of_its_own() -> None:
    assert (None, "engine_dead", "oom") == (
        find_sign(OOM_LINE, severity=5),
        getattr(find_sign(FATAL_LINE, severity=5), "says", None),
        getattr(find_sign(OOM_LINE, severity=9), "says", None),
    )


def test_pattern_ids_are_unique() -> None:
    assert sorted({sign.pattern for sign in SIGNS}) == [sign.pattern for sign in SIGNS]


def test_real_crash_of_memory_is_one_death_with_its_requests() -> None:
    _, deaths = see_all(None, read_lines((LOGS / "oom.log").read_text(), AT))
    assert [Death(AT, EventKind.DEATH, "oom", 20, SCHEDULED)] == deaths
    assert {"cause": "oom", "pattern": "20", "requests": ",".join(SCHEDULED)} == deaths[0].detail


def test_real_crash_of_memory_line_by_line_is_a_fault_and_then_a_death() -> None:
    lines = (LOGS / "oom.log").read_text().splitlines()
    assert [("oom", "oom"), ("death", "oom")] == short(seen(*((number / 100, line) for number, line in enumerate(lines))))


def test_real_engine_core_that_was_killed_is_one_death_of_unknown_cause() -> None:
    _, deaths = see_all(None, read_lines((LOGS / "killed.log").read_text(), AT))
    assert [Death(AT, EventKind.DEATH, "unknown", 81, ())] == deaths


def test_worker_that_was_killed_is_said_to_be() -> None:
    assert [("death", "killed")] == short(seen((0, "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting")))


def test_memory_fault_alone_is_told_once_a_minute() -> None:
    assert [("oom", "oom")] * 2 == short(seen((0, OOM_LINE), (30, OOM_LINE), (60, OOM_LINE), (61, OOM_LINE)))


@pytest.mark.parametrize(("seconds", "cause"), [(0, "oom"), (60, "oom"), (61, "unknown")])
def test_death_has_the_cause_that_came_within_a_minute(seconds: float, cause: str) -> None:
    assert ("death", cause) == short(seen((0, OOM_LINE), (seconds, FATAL_LINE)))[-1]


def test_memory_explains_a_death_that_was_told_before_it() -> None:
    assert [("death", "unknown"), ("oom", "oom")] == short(seen((0, FATAL_LINE), (1, OOM_LINE), (2, OOM_LINE), (3, ECHO_LINE)))


def test_order_is_that_of_the_times_and_not_of_arrival() -> None:
    late, early = Mark(AT + timedelta(seconds=1), find_sign(FATAL_LINE)), Mark(AT, find_sign(OOM_LINE))
    _, deaths = see_all(None, [late, early])
    assert [("death", "oom")] == short(deaths)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "device_error"),
        ("TimeoutError: RPC call to sample_tokens timed out.", "hang"),
        ("cudaMalloc failed: out of memory", "oom"),
        ("MemoryError", "oom"),
    ],
)
def test_hints_and_faults_of_the_device_are_told_only_with_the_death(line: str, cause: str) -> None:
    assert ([], [("death", cause)]) == (seen((0, line)), short(seen((0, line), (1, FATAL_LINE))))


def test_what_llama_cpp_mends_by_itself_is_nothing() -> None:
    mended = (
        (0, "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 808.35 MiB on device 1: cudaMalloc failed: out of memory"),
        (0, "ggml_gallocr_reserve_n_impl: failed to allocate CUDA1 buffer of size 847614336"),
        (0, "graph_reserve: failed to allocate compute buffers"),
        (0, "sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism"),
    )
    died = (1, "main: exiting due to model loading error")
    assert ([], [("death", "unknown")]) == (seen(*mended), short(seen(*mended, died)))
    assert [("death", "oom")] == short(seen(*mended, *mended[:3], died))


def test_dead_engine_that_says_so_at_every_request_died_once() -> None:
    last = ECHO.total_seconds() - 1
    lines = [(0.0, FATAL_LINE), *((last * times, ECHO_LINE) for times in range(1, 5))]
    assert [("death", "unknown")] == short(seen(*lines))


def test_each_life_dies_by_itself() -> None:
    life = ((0, START_LINE), (1, OOM_LINE), (2, FATAL_LINE), (3, ECHO_LINE))
    again = tuple((seconds + 20, line) for seconds, line in life)
    assert [("oom", "oom"), ("death", "oom")] * 2 == short(seen(*life, *again))


def test_body_that_is_sent_twice_tells_of_one_death() -> None:
    marks = [mark for line in (START_LINE, OOM_LINE, FATAL_LINE) for mark in read_lines(line, AT)]
    crash, deaths = see_all(None, marks)
    assert ([("death", "oom")], []) == (short(deaths), see_all(crash, marks)[1])


def test_two_deaths_without_a_start_between_them_are_two_when_they_are_far_apart() -> None:
    apart = TOGETHER.total_seconds() + 1
    assert [("death", "unknown")] * 2 == short(seen((0, FATAL_LINE), (apart, FATAL_LINE)))


def test_number_of_requests_is_bounded_and_only_ids_are_taken() -> None:
    ids = ", ".join(f"cmpl-{number:03}: 1" for number in range(1000))
    line = (
        f"Dumping scheduler output for model execution: SchedulerOutput(num_scheduled_tokens={{{ids}, a b c: 1, x'); --: 1}})"
    )
    (mark,) = read_lines(line, AT)
    assert tuple(f"cmpl-{number:03}" for number in range(MOST_REQUESTS)) == mark.requests


def test_stop_words_of_a_request_are_not_taken_for_requests() -> None:
    request = "NewRequestData(req_id=cmpl-1,sampling_params=SamplingParams(stop=['num_scheduled_tokens={secret: 1}']))"
    line = f"Dumping scheduler output for model execution: S(new=[{request}], num_scheduled_tokens={{cmpl-1: 7}}, x=1)"
    assert [("cmpl-1",)] == [mark.requests for mark in read_lines(line, AT)]


_known = st.sampled_from(
    [
        OOM_LINE,
        FATAL_LINE,
        ECHO_LINE,
        START_LINE,
        "MemoryError",
        "exit code: 137",
        "CUDA error: x",
        "Dumping scheduler output for",
    ]
)
_line = st.one_of(st.text(max_size=200), _known)


@given(st.lists(st.tuples(st.integers(0, 10_000), _line, _line, st.integers(0, 24)), max_size=30))
def test_arbitrary_text_never_crashes_and_nothing_of_it_is_kept(records: list[tuple[int, str, str, int]]) -> None:
    marks = [
        mark
        for seconds, before, after, severity in records
        for mark in read_lines(f"{before} pl4nted secret {after}", AT + timedelta(seconds=seconds), severity)
    ]
    crash, deaths = see_all(None, marks)
    assert "pl4nted" not in repr((marks, crash, deaths))


@given(st.lists(st.tuples(st.integers(0, 59), _known), max_size=30))
def test_within_one_life_a_death_is_told_at_most_once(records: list[tuple[int, str]]) -> None:
    lines = [(seconds, line) for seconds, line in sorted(records) if line != START_LINE]
    kinds = [death.kind for death in seen(*lines)]
    assert kinds.count(EventKind.DEATH) <= 1
    assert kinds.count(EventKind.OOM) <= 1


def test_the_line_that_names_the_memory_is_the_cause_whatever_came_before_it() -> None:
    """A traceback quotes the line that raised before it names the error."""
    text = "\n".join(["    raise torch.OutOfMemoryError(message)", OOM_LINE, FATAL_LINE])
    _, deaths = see_all(None, read_lines(text, AT))

    assert [Death(AT, EventKind.DEATH, "oom", 20, ())] == deaths
