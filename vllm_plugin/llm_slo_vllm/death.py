"""The cause of a death, told by whoever of vLLM's processes sees it, while it dies.

One synchronous post of at most half a second, with the standard library alone: a dying process has no loop, no exporter and
little time. The API process sees the death too and tells it again. After a SIGKILL nobody is left to tell anything.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from contextlib import suppress

from llm_slo_vllm.post import attributes, now_ns, post
from llm_slo_vllm.setting import Setting, read_setting

POST_SECONDS = 0.5
LONGEST_TEXT = 16_384
"""Characters of a text: the end of a traceback names the error, its beginning the place."""
MOST_POSTS = 8
PER_SECONDS = 60.0

_DEATH = re.compile(
    r"out of memory|OutOfMemory|can(?:'t|not) allocate memory|std::bad_alloc|EngineDeadError|EngineCore encountered|"
    r"hit an exception|Dumping scheduler output|CUDA error|HIP error|NCCL",
)


class DeathHandler(logging.Handler):
    """Posts log records that tell of a death. Drops what is too much, and never raises."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(logging.ERROR)
        self._setting = setting
        self._posts: list[float] = []
        self._posting = threading.local()
        self.failures = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        if getattr(self._posting, "now", False):
            return  # what the post itself logs
        self._posting.now = True
        try:
            text = _text(record)
            if _DEATH.search(text) and self._may_post():
                post(self._setting, "/v1/logs", body_of(self._setting, text, record), POST_SECONDS)
        except Exception:
            self.failures += 1
        finally:
            self._posting.now = False

    def _may_post(self) -> bool:
        now = time.monotonic()
        self._posts = [at for at in self._posts if now - at < PER_SECONDS]
        self._posts.append(now)
        return len(self._posts) <= MOST_POSTS


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT // 2] + "\n" + text[-LONGEST_TEXT // 2 :]


def body_of(setting: Setting, text: str, record: logging.LogRecord) -> dict[str, object]:
    """A log record as an ExportLogsServiceRequest. llm-slo classifies the text and drops it."""
    log = {
        "timeUnixNano": str(int(record.created * 1e9)),
        "observedTimeUnixNano": str(now_ns()),
        "severityNumber": 21 if record.levelno >= logging.CRITICAL else 17,
        "body": {"stringValue": text},
    }
    resource = {"attributes": attributes({"llm_slo.replica": setting.replica})}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [log]}]}]}


def register() -> None:
    """vLLM calls this in every process, sometimes more than once in one."""
    # Whatever goes wrong here must not stop an engine.
    with suppress(Exception):
        setting, logger = read_setting(), logging.getLogger("vllm")
        if setting is not None and not any(isinstance(handler, DeathHandler) for handler in logger.handlers):
            logger.addHandler(DeathHandler(setting))
