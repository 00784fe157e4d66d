"""Stands in for ``vllm serve``: answers /health, has an engine core below it, and ends when that dies, as vLLM does."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import entry_points
from pathlib import Path
from threading import Thread


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        return


def install(directory: Path) -> Path:
    """A Python in ``directory`` that has this file beside it as ``vllm``."""
    directory.mkdir()
    python = directory / "python"
    python.symlink_to(sys.executable)
    script = directory / "vllm"
    script.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
    script.chmod(0o755)
    return python


def main() -> None:
    if os.environ.get("FAKE_VLLM") == "broken":
        sys.exit("no room for the model")
    port = int(sys.argv[sys.argv.index("--port") + 1])
    core = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "VLLM::EngineCore"])
    Thread(target=HTTPServer(("127.0.0.1", port), Health).serve_forever, daemon=True).start()
    print("replica", os.environ["OTEL_RESOURCE_ATTRIBUTES"], flush=True)
    plugins = entry_points(group="vllm.general_plugins")
    print("plugins", [(plugin.name, plugin.load().__name__) for plugin in plugins], flush=True)
    core.wait()


if __name__ == "__main__":
    main()
