"""The targets that this collector watches now: starts and ends a watch for each as sources and other collectors say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

import structlog

from collector import telemetry
from collector.discover.share import owner_of
from collector.discover.source import Source, SourceFailed
from collector.errors import StoreUnavailable
from collector.target import Target

log = structlog.get_logger()

Watch = Callable[[Target], Awaitable[None]]
Forget = Callable[[Target], Awaitable[None]]
Deployed = Callable[[Target, str], Awaitable[None]]
Collectors = Callable[[], Awaitable[Sequence[str]]]


class Roster:
    """Keeps one watch per target. ``own`` are our own addresses, which are no engine's whatever a source says.

    A source that fails keeps its last targets: a service discovery that is away must not blind the monitoring. A target that
    a source no longer names is forgotten, which is a fact and no failure. One that has another revision than before was
    deployed: ``deployed`` is told, with the revision before.
    """

    def __init__(
        self,
        static: Sequence[Target],
        watch: Watch,
        forget: Forget,
        deployed: Deployed,
        *,
        own: Iterable[str] = (),
        me: str = "",
    ) -> None:
        self._static = tuple(static)
        self._watch, self._forget, self._deployed = watch, forget, deployed
        self._own = frozenset(own)
        self._me = me
        self._found: dict[str, tuple[Target, ...]] = {}
        self._failing: set[str] = set()
        self._said: frozenset[str] = frozenset()
        self._watches: dict[Target, asyncio.Task[None]] = {}
        self._collectors: Sequence[str] | None = None
        self._gone: list[Target] = []
        self._revisions: dict[str, str] = {}
        self._deploys: list[tuple[Target, str]] = []
        self._moving = asyncio.Lock()
        self.known: tuple[Target, ...] = ()
        """All targets, whoever watches them."""

    @property
    def watched(self) -> tuple[Target, ...]:
        """The targets that are watched here."""
        return tuple(self._watches)

    async def run(self, sources: Sequence[Source], collectors: Collectors | None, *, share_seconds: float) -> None:
        """Until cancelled. With ``collectors``, the targets are shared with those that live."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self.settle()
                for source in sources:
                    tasks.create_task(self._follow(source))
                if collectors is not None:
                    tasks.create_task(self._share(collectors, share_seconds))
                await asyncio.Event().wait()
        finally:
            for task in self._watches.values():
                task.cancel()

    async def ask(self, source: Source) -> None:
        """Ask a source once, and settle."""
        try:
            found = await source.find()
        except SourceFailed as failed:
            telemetry.DISCOVERY_FAILURES.labels(source.name).inc()
            if source.name not in self._failing:
                self._failing.add(source.name)
                kept = len(self._found.get(source.name, ()))
                log.warning("targets are not told", source=source.name, reason=str(failed), kept=kept)
            return
        if source.name in self._failing:
            self._failing.discard(source.name)
            log.info("targets are told again", source=source.name)
        for reason in found.rejected:
            self._say(f"{source.name}: {reason}")
        self._found[source.name] = found.targets
        await self.settle()

    async def share(self, collectors: Sequence[str]) -> None:
        """Settle among the collectors that live, of which this is one."""
        self._collectors = sorted({*collectors, self._me})
        await self.settle()

    async def settle(self) -> None:
        """Start and end watches until they are what they should be."""
        async with self._moving:
            known = self._known()
            self.known = tuple(known)
            wanted = [target for target in known if self._is_mine(target)]
            for target in [target for target in self._watches if target not in wanted]:
                task = self._watches.pop(target)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                if target.replica_name not in {one.replica_name for one in known}:
                    log.info("a target has gone", replica=target.replica_name, url=target.url)
                    self._gone.append(target)
            for target in wanted:
                if target not in self._watches:
                    self._watches[target] = asyncio.create_task(self._follow_target(target))
            telemetry.TARGETS.set(len(self._watches))
            self._compare_revisions(wanted)
            await self._tell()

    def _compare_revisions(self, targets: Iterable[Target]) -> None:
        for target in targets:
            if target.revision is None:
                continue
            before = self._revisions.get(target.replica_name)
            self._revisions[target.replica_name] = target.revision
            if before not in (None, target.revision):
                log.info("a target has another revision", replica=target.replica_name, before=before, now=target.revision)
                self._deploys.append((target, str(before)))

    async def _tell(self) -> None:
        """Tell the facts. What cannot be kept now, because Postgres is away, is kept at the next refresh."""
        try:
            while self._deploys:
                await self._deployed(*self._deploys[0])
                del self._deploys[0]
            while self._gone:
                await self._forget(self._gone[0])
                del self._gone[0]
        except StoreUnavailable as unavailable:
            waiting = len(self._gone) + len(self._deploys)
            log.warning("what happened to targets is not kept yet", facts=waiting, reason=str(unavailable))

    def _known(self) -> list[Target]:
        """All targets, each replica once: the first that claims it has it."""
        claimed: dict[str, Target] = {}
        for target in (*self._static, *(target for found in self._found.values() for target in found)):
            address = target.url.split("//", 1)[1].split("/", 1)[0]
            if address in self._own:
                self._say(f"{target.url} is an address of our own, and no engine's")
                continue
            other = claimed.setdefault(target.replica_name, target)
            if other.url != target.url:
                self._say(f"{target.url} claims the replica {target.replica_name}, which is {other.url}")
        return list(claimed.values())

    def _is_mine(self, target: Target) -> bool:
        return self._collectors is None or owner_of(target.replica_name, self._collectors) == self._me

    def _say(self, what: str) -> None:
        """Say something once, not at every refresh."""
        if what not in self._said:
            self._said = frozenset([*self._said, what]) if len(self._said) < 1000 else frozenset([what])
            log.warning("a target is left out", reason=what)

    async def _follow(self, source: Source) -> None:
        while True:
            await self.ask(source)
            await asyncio.sleep(source.refresh_seconds)

    async def _follow_target(self, target: Target) -> None:
        await self._watch(target)

    async def _share(self, collectors: Collectors, seconds: float) -> None:
        while True:
            # Who lives is told by Postgres: until it is back, everybody keeps what they have.
            with suppress(StoreUnavailable):
                await self.share(await collectors())
            await asyncio.sleep(seconds)
