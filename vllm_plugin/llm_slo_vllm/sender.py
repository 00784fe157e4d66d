"""A bounded queue and a thread behind it: the engine's loop only ever appends. Records are made by the thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

BATCH = 512
LONGEST_QUEUE = 20_000
"""Records that wait; the oldest are dropped first. Some 20 s of a very busy engine."""
PAUSE_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0

Record = dict[str, object]
Make = Callable[[], Record]


class Sender:
    """Sends records in batches from a thread of its own. ``deliver`` raises OSError where a batch may be sent again."""

    def __init__(self, deliver: Callable[[Sequence[Record], int], None]) -> None:
        self._deliver = deliver
        self._queue: deque[Make] = deque()
        self._batch: list[Record] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._backoff = PAUSE_SECONDS
        self.dropped = 0
        """Records that were never sent, or could not be made; told with each batch."""

    def put(self, make: Make) -> None:
        """Take what makes a record. Never waits and never raises."""
        if len(self._queue) >= LONGEST_QUEUE:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(make)
        if self._thread is None:
            # Not before the first record: vLLM forks its processes after the plugins are loaded.
            self._thread = threading.Thread(target=self._run, name="llm-slo", daemon=True)
            self._thread.start()
        if len(self._queue) >= BATCH:
            self._wake.set()

    def flush(self) -> bool:
        """Send what waits. ``False`` where the receiver does not take it now; it waits on."""
        while self._batch or self._queue:
            # One that is sent again is the same to the last bit, or it would count twice.
            self._batch = self._batch or self._make()
            try:
                if self._batch:
                    self._deliver(self._batch, self.dropped)
            except OSError:
                return False
            except Exception:
                # A refused body, or a fault of ours: sending it again would end the same way.
                self.dropped += len(self._batch)
            self._batch = []
        return True

    def _make(self) -> list[Record]:
        made: list[Record] = []
        for make in [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]:
            try:
                made.append(make())
            except Exception:
                self.dropped += 1
        return made

    def _run(self) -> None:
        while True:
            self._wake.wait(self._backoff)
            self._wake.clear()
            self._backoff = PAUSE_SECONDS if self.flush() else min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
