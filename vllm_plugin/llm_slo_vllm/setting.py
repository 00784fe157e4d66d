"""Where to send, from the environment: an engine's processes share it, and nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

ENDPOINT = "LLM_SLO_ENDPOINT"
TOKEN_FILE = "LLM_SLO_TOKEN_FILE"
REPLICA = "LLM_SLO_REPLICA"


@dataclass(frozen=True)
class Setting:
    """``endpoint`` is the base URL of llm-slo's OTLP/HTTP receiver, such as ``http://127.0.0.1:4318``."""

    endpoint: str
    replica: str
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Of every post."""
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"Content-Type": "application/json", **authorization}


def read_setting(environment: Mapping[str, str] = os.environ) -> Setting | None:
    """``None`` without an endpoint: the plugin does nothing then."""
    endpoint = environment.get(ENDPOINT, "").rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        return None
    return Setting(endpoint, environment.get(REPLICA) or socket.gethostname(), _token(environment.get(TOKEN_FILE)))


def _token(path: str | None) -> str | None:
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip() or None
    except OSError:
        return None
