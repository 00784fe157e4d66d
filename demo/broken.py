"""Faults for a running demo: of its engine, of its users, and of what the daemon stands on (``demo.outage``)."""

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

from demo.order import BrokenPromise, CannotBreak, Order, Progress
from demo.outage import fill_disk, stop_postgres, stop_sink
from demo.process_tree import engine_core
from demo.state import NoDemo, Replica, read_state
from demo.tenant import keys_by_tenant, read_directory
from demo.traffic import send
from demo.workload import invalid_asks

SLOW_SECONDS = 60.0
_PAST_DEADLINE_SECONDS = 10.0
_STOPPED_SECONDS = 0.9
_RUNNING_SECONDS = 0.1
_BURST = 60
_BURST_PAUSE_SECONDS = 0.1
_BATCH_SECONDS = 60.0
_LOOK_SECONDS = 0.05


def break_demo(
    directory: Path,
    fault: str,
    progress: Progress,
    *,
    replica: str | None = None,
    seconds: float | None = None,
    note: str = "",
) -> None:
    """Cause one of FAULTS in the demo that runs in ``directory``, and return when it is over.

    ``replica`` defaults to the first. ``seconds`` is how long a fault lasts that lasts. ``note`` is added to the text of a
    simulated error. Raises NoDemo, CannotBreak and BrokenPromise.
    """
    state = read_state(directory)
    chosen = [one for one in state.replicas if replica in (None, one.name)]
    if not chosen:
        raise CannotBreak(f"no replica {replica}; there are: {', '.join(one.name for one in state.replicas)}")
    FAULTS[fault](Order(state, directory, chosen[0], seconds, progress, note))


def _kill_engine(order: Order) -> None:
    """SIGKILL to the engine core; the supervisor starts the server again."""
    core = _core(order.replica)
    os.kill(core, signal.SIGKILL)
    order.progress(f"killed the engine core of {order.replica.name} (process {core}); its supervisor starts it again")


def _time_out(order: Order) -> None:
    """Stop the engine core until the calls in flight are over the gateway's deadline, then let it go on."""
    core = _core(order.replica)
    seconds = order.seconds or order.state.deadline_seconds + _PAST_DEADLINE_SECONDS
    order.progress(f"stopping the engine core of {order.replica.name} (process {core}) for {seconds:.0f} s")
    try:
        os.kill(core, signal.SIGSTOP)
        time.sleep(seconds)
    finally:
        _let_go(core)
    order.progress("the engine core goes on")


def _slow_down(order: Order) -> None:
    """Let the engine core run for a tenth of the time only."""
    core = _core(order.replica)
    seconds = order.seconds or SLOW_SECONDS
    order.progress(f"slowing the engine core of {order.replica.name} (process {core}) down for {seconds:.0f} s")
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
    order.progress("the engine core runs at full speed again")


def _run_out_of_memory(order: Order) -> None:
    """The next batch fails as it does where the GPU's memory is used up; vLLM dies of that, and is started again."""
    core = _core(order.replica)
    trigger = Path(order.replica.oom_file)
    # Renamed: the engine must not find it half written.
    prepared = trigger.with_name(f"{trigger.name}.new")
    prepared.write_text(order.note)
    prepared.replace(trigger)
    until = time.monotonic() + _BATCH_SECONDS
    try:
        while trigger.exists():
            if time.monotonic() > until:
                raise CannotBreak(f"{order.replica.name} computed nothing for {_BATCH_SECONDS:.0f} s: is there any traffic?")
            time.sleep(_LOOK_SECONDS)
    finally:
        trigger.unlink(missing_ok=True)
    order.progress(
        f"simulated: a plugin in the real vLLM made a batch of {order.replica.name} (process {core}) fail with "
        f"torch.OutOfMemoryError; vLLM dies of it as of a real one, and its supervisor starts it again"
    )


def _send_invalid(order: Order) -> None:
    """A burst of requests that must be refused: users' mistakes, which page nobody."""
    state = order.state
    order.progress(f"sending {_BURST} invalid requests to {state.gateway_url}")
    sent = asyncio.run(
        send(
            state.gateway_url,
            keys_by_tenant(read_directory(Path(state.keys_file))),
            islice(invalid_asks(time.time_ns(), state.model), _BURST),
            repeat(_BURST_PAUSE_SECONDS),
            stop=asyncio.Event(),
            record=order.directory / "invalid.jsonl",
        )
    )
    order.progress(f"{sent} invalid requests were answered")


FAULTS: Mapping[str, Callable[[Order], None]] = {
    "kill-engine": _kill_engine,
    "timeouts": _time_out,
    "slow": _slow_down,
    "validation": _send_invalid,
    "oom": _run_out_of_memory,
    "postgres-down": stop_postgres,
    "sink-down": stop_sink,
    "disk-full": fill_disk,
}
"""By the word on the command line."""


def mind_sigterm() -> None:
    """SIGTERM to this process must leave nothing broken either: as SystemExit it passes the ``finally``s."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


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
    parser.add_argument("--seconds", type=float, help="how long a fault lasts that lasts")
    arguments = parser.parse_args()
    mind_sigterm()
    try:
        break_demo(arguments.directory, arguments.fault, print, replica=arguments.replica, seconds=arguments.seconds)
    except (NoDemo, CannotBreak, BrokenPromise) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
