"""The Python environment that LiteLLM's proxy runs in: made once outside the checkout, keyed by what is in it, and reused."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from demo.environment import PIP_INSTALL, Progress, cache_directory, make_once, run_step

VERSION = "1.106.2"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_IMPORT = "import litellm.proxy.proxy_server, opentelemetry.instrumentation.fastapi, opentelemetry.exporter.otlp"


def ensure_litellm(progress: Progress) -> Path:
    """The path of a Python that has LiteLLM's proxy; makes its environment if it is not there: two minutes and 800 MB.

    :raises demo.environment.EnvironmentFailed: when it cannot be made
    """
    python_version = f"py{sys.version_info.major}{sys.version_info.minor}"
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:8]
    directory = cache_directory() / f"litellm-{VERSION}-{python_version}-{digest}"
    python = directory / "bin" / "python"

    def make(log: Path) -> None:
        progress(f"making the LiteLLM environment in {directory} (once; about two minutes, 800 MB)")
        run_step("making the environment", [sys.executable, "-m", "venv", str(directory)], log, progress)
        install = [str(python), *PIP_INSTALL, "--no-deps", "-r", str(_REQUIREMENTS)]
        run_step(f"installing LiteLLM {VERSION}", install, log, progress)
        run_step("importing LiteLLM", [str(python), "-c", _IMPORT], log, progress)

    make_once(directory, make, progress)
    return python
