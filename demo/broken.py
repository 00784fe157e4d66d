"""Real faults for a running demo: signals to its engine, and requests that must be refused."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

from demo.process_tree import engine_core
from demo.state import NoDemo, Replica, State, read_state
from demo.tenant import keys_by_tenant, read_directory
from demo.traffic import send
from demo.workload import invalid_asks

Progress = Callable[[str], None]

SLOW_SECONDS = 60.0
_PAST_DEADLINE_SECONDS = 10.0
_STOPPED_SECONDS = 0.9
_RUNNING_SECONDS = 0.1
_BURST = 60
_BURST_PAUSE_SECONDS = 0.1


class CannotBreak(Exception):
    """The fault cannot be caused now; the message says why."""


class _Orders(NamedTuple):
    state: State
    directory: Path
    replica: Replica
    seconds: float | None
    progress: Progress


def break_demo(
    directory: Path, fault: str, progress: Progress, *, replica: str | None = None, seconds: float | None = None
) -> None:
    """Cause one of FAULTS in the demo that runs in ``directory``, and return when it is over.

    ``replica`` defaults to the first. ``seconds`` is how long ``timeouts`` and ``slow`` last. Raises NoDemo and CannotBreak.
    """
    state = read_state(directory)
    chosen = [one for one in state.replicas if replica in (None, one.name)]
    if not chosen:
        raise CannotBreak(f"no replica {replica}; there are: {', '.join(one.name for one in state.replicas)}")
    FAULTS[fault](_Orders(state, directory, chosen[0], seconds, progress))


def _kill_engine(orders: _Orders) -> None:
    """SIGKILL to the engine core; the supervisor starts the server again."""
    core = _core(orders.replica)
    os.kill(core, signal.SIGKILL)
    orders.progress(f"killed the engine core of {orders.replica.name} (process {core}); its supervisor starts it again")


def _time_out(orders: _Orders) -> None:
    """Stop the engine core until the calls in flight are over the gateway's deadline, then let it go on."""
    core = _core(orders.replica)
    seconds = orders.seconds or orders.state.deadline_seconds + _PAST_DEADLINE_SECONDS
    orders.progress(f"stopping the engine core of {orders.replica.name} (process {core}) for {seconds:.0f} s")
    try:
        os.kill(core, signal.SIGSTOP)
        time.sleep(seconds)
    finally:
        _let_go(core)
    orders.progress("the engine core goes on")


def _slow_down(orders: _Orders) -> None:
    """Let the engine core run for a tenth of the time only."""
    core = _core(orders.replica)
    seconds = orders.seconds or SLOW_SECONDS
    orders.progress(f"slowing the engine core of {orders.replica.name} (process {core}) down for {seconds:.0f} s")
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            os.kill(core, signal.SIGSTOP)
            time.sleep(_STOPPED_SECONDS)
            os.kill(core, signal.SIGCONT)
            time.sleep(_RUNNING_SECONDS)
    except ProcessLookupError:
        raise CannotBreak("the engine core ended meanwhile") from None
    finally:
        _let_go(core)
    orders.progress("the engine core runs at full speed again")


def _send_invalid(orders: _Orders) -> None:
    """A burst of requests that must be refused: users' mistakes, which page nobody."""
    state = orders.state
    orders.progress(f"sending {_BURST} invalid requests to {state.gateway_url}")
    sent = asyncio.run(
        send(
            state.gateway_url,
            keys_by_tenant(read_directory(Path(state.keys_file))),
            islice(invalid_asks(time.time_ns(), state.model), _BURST),
            repeat(_BURST_PAUSE_SECONDS),
            stop=asyncio.Event(),
            record=orders.directory / "invalid.jsonl",
        )
    )
    orders.progress(f"{sent} invalid requests were answered")


FAULTS: Mapping[str, Callable[[_Orders], None]] = {
    "kill-engine": _kill_engine,
    "timeouts": _time_out,
    "slow": _slow_down,
    "validation": _send_invalid,
}
"""By the word on the command line."""


def _core(replica: Replica) -> int:
    try:
        server = int(Path(replica.pid_file).read_text())
    except FileNotFoundError:
        raise CannotBreak(f"{replica.name} is not running") from None
    core = engine_core(server)
    if core is None:
        raise CannotBreak(f"{replica.name} has no engine core: is it starting? Its log: {replica.log}")
    return core


def _let_go(core: int) -> None:
    # Whatever ends this command, the engine must not stay stopped.
    with suppress(ProcessLookupError):
        os.kill(core, signal.SIGCONT)


def main() -> None:
    """Cause one fault."""
    parser = argparse.ArgumentParser(prog="python -m demo.broken", description=__doc__)
    parser.add_argument("directory", type=Path, help="of the demo")
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--replica", help="default: the first")
    parser.add_argument("--seconds", type=float, help="how long timeouts and slow last")
    arguments = parser.parse_args()
    # SIGTERM must not leave an engine stopped either: as SystemExit it passes the `finally`s.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        break_demo(arguments.directory, arguments.fault, print, replica=arguments.replica, seconds=arguments.seconds)
    except (NoDemo, CannotBreak) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
