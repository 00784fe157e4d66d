"""A vLLM plugin that simulates running out of memory: one batch fails as it does where the GPU's memory is used up.

Nothing happens until the file that ``LLM_SLO_FAULT_OOM`` names is there. Then the next batch removes it and fails with
torch's own exception; what the file holds is added to the exception's text. How the server dies of it is vLLM's own doing.
"""

from __future__ import annotations

import os
from typing import Any

TRIGGER = "LLM_SLO_FAULT_OOM"
TEXT = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.06 GiB is free. "
    "(simulated: llm-slo demo break oom)"
)
"""As torch writes it, with a word on where it comes from."""


def fault(path: str) -> str | None:
    """The text of the fault, if one is ordered; it is then no longer. Of several workers one alone gets it."""
    try:
        with open(path, encoding="utf-8") as file:
            added = file.read().strip()
        os.unlink(path)
    except FileNotFoundError:
        return None
    return f"{TEXT} {added}".strip()


def register() -> None:
    """Called by vLLM in each of its processes; only those that compute batches ever fail."""
    path = os.environ.get(TRIGGER)
    if not path:
        return
    import torch
    from vllm.v1.worker.gpu_worker import Worker

    execute = Worker.execute_model
    # vLLM may load its plugins more than once in a process.
    if getattr(execute, "simulates_faults", False):
        return

    def execute_model(self: Any, *arguments: Any, **named: Any) -> Any:
        text = fault(path)
        if text is not None:
            raise torch.OutOfMemoryError(text)
        return execute(self, *arguments, **named)

    execute_model.simulates_faults = True  # type: ignore[attr-defined]
    Worker.execute_model = execute_model
