"""The way of a span from decoded body to committed row: assemble → normalise → judge → batch, or the spool and from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from psycopg import Error

from collector import telemetry
from collector.assemble import Assembled, Group, assemble
from collector.batch import RETRY_AFTER_SECONDS, Batcher, count_written
from collector.call import Call
from collector.dialects import DIALECTS, Role, recognise
from collector.errors import Overloaded, StoreUnavailable, Unstorable
from collector.fragment import Fragment, Seal, Trace
from collector.normalise import GENERIC_KEYS, Policy, normalise
from collector.objective import Objective, judge
from collector.otlp.allow import AllowList, Decoded, Receipt
from collector.request import Reject
from collector.span import Span
from collector.spool import Batch, Spool
from collector.store.fragment import FragmentStore
from collector.store.request import Judged, RequestStore
from collector.token import Principal
from collector.waitlist import Waitlist

FAILED_PATIENCE_SECONDS = 25.0
"""A failed attempt is exported long before its request is, where a retry or a fallback follows: closed as soon as it is quiet
it would be a failed request that nobody saw, beside the one that went well."""


def allow_list(policy: Policy) -> AllowList:
    """Every attribute that a dialect or the configuration reads. Whatever else a span carries is dropped while decoding."""
    names = policy.attributes
    configured = frozenset({*names.tenant, *names.environment, *names.replica, *names.model, *names.end_user, *names.session})
    return AllowList(
        span=frozenset().union(*(dialect.keys for dialect in DIALECTS)) | configured | GENERIC_KEYS,
        resource=configured,
        event=frozenset({"exception.type"}).union(*(dialect.event_keys for dialect in DIALECTS)),
        error_texts=frozenset({"exception.message"}).union(*(dialect.error_texts for dialect in DIALECTS)),
        error_classes=frozenset({"exception.type"}).union(*(dialect.error_types for dialect in DIALECTS)),
        documents={key: paths for dialect in DIALECTS for key, paths in dialect.documents.items()},
    )


def seal_of(policy: Policy) -> Seal:
    """How a span is kept that waits. What is read as somebody's id, and as nothing else, is kept as the row would have it."""
    names = policy.attributes
    read = {(field, source.key) for dialect in DIALECTS for field, sources in dialect.all_fields.items() for source in sources}
    people = {*names.end_user, *names.session} | {key for field, key in read if field in ("end_user", "session")}
    others = {*names.tenant, *names.environment, *names.replica, *names.model} | GENERIC_KEYS
    others |= {key for field, key in read if field not in ("end_user", "session")}
    return Seal(frozenset(people - others), policy.hash_key)


def patience_seconds(span: Span) -> float:
    """How much longer than others a span waits. What follows a failed attempt may go on for long before the request ends."""
    dialect = recognise(span)
    failed = dialect is not None and dialect.role is Role.CALL and dialect.enclosed and Call(span, dialect).failed
    return FAILED_PATIENCE_SECONDS if failed else 0.0


class Ingest:
    """What the receivers hand decoded bodies to."""

    def __init__(
        self,
        batcher: Batcher,
        spool: Spool,
        fragments: FragmentStore,
        waitlist: Waitlist,
        *,
        policy: Policy,
        objectives: Sequence[Objective],
        now: Callable[[], datetime],
    ) -> None:
        self._batcher = batcher
        self._spool = spool
        self._fragments = fragments
        self._waitlist = waitlist
        self._policy = policy
        self._seal = seal_of(policy)
        self._objectives = tuple(objectives)
        self._now = now

    async def __call__(self, decoded: Decoded, principal: Principal) -> Receipt:
        """Return once everything that can become a row is committed, and what waits for more; or all of it is on disk, where
        Postgres is away.

        :raises Overloaded: when nothing was taken, and the sender must keep the data
        """
        assembled = await self._join(assemble(decoded.spans, closing=False), principal.tenant)
        now = self._now()
        policy = self._policy.of(principal.tenant)
        results = [normalise(group, policy, now) for group in assembled.groups]
        rejects = [result for result in results if isinstance(result, Reject)]
        requests = [Judged(result, judge(result, self._objectives)) for result in results if not isinstance(result, Reject)]
        fragments = [self._seal(span, principal.tenant, patience_seconds(span)) for span in assembled.waiting]
        try:
            await self._keep(requests, fragments, now)
        except Overloaded:
            telemetry.SPANS_REFUSED.inc(len(decoded.spans) + len(decoded.rejects))
            raise
        # Counted only now: the ledger is of what was acknowledged, so that a refused body that is sent again counts once.
        rejected = Counter(reject.reason.value for reject in (*decoded.rejects, *rejects))
        for reason, count in rejected.items():
            telemetry.SPANS_REJECTED.labels(reason).inc(count)
        telemetry.SPANS_IGNORED.inc(assembled.ignored)
        telemetry.SPANS_MERGED.inc(assembled.merged)
        telemetry.SPANS_RECEIVED.inc(rejected.total() + assembled.ignored + assembled.merged)
        return Receipt(tuple(rejects))

    async def _join(self, assembled: Assembled, tenant: str | None) -> Assembled:
        """Let a gateway's request wait after all where parts of its trace do: they may be attempts at it."""
        traces = {Trace(tenant or "", group.span.trace_id) for group in assembled.groups if group.dialect.enclosed}
        if not traces or self._spool.store_away:
            return assembled
        try:
            waiting = {trace.trace_id for trace in await self._fragments.waiting(traces)}
        except StoreUnavailable:
            return assembled  # as one that came before them
        going: list[Group] = []
        joining: list[Group] = []
        for group in assembled.groups:
            joins = group.dialect.enclosed and group.span.trace_id in waiting
            (joining if joins else going).append(group)
        return Assembled(
            tuple(going),
            assembled.merged - sum(group.size - 1 for group in joining),
            assembled.ignored,
            assembled.waiting + tuple(span for group in joining for span in group.spans),
        )

    async def _keep(self, requests: Sequence[Judged], fragments: Sequence[Fragment], now: datetime) -> None:
        self._waitlist.admit(len(fragments))
        try:
            if not self._spool.store_away:
                try:
                    await self._batcher.submit(requests, fragments)
                    self._waitlist.touch((fragment.trace for fragment in fragments), self._now())
                    return
                except StoreUnavailable:
                    pass  # replay finds out when Postgres is back
            await self._spool.append([judged.request for judged in requests], now, fragments)
        except Overloaded:
            self._waitlist.leave(len(fragments))
            raise


class Replayed:
    """What the spool hands its batches to. ``store`` is its own: live traffic does not queue behind what is replayed."""

    def __init__(
        self, store: RequestStore, waitlist: Waitlist, objectives: Sequence[Objective], now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._waitlist = waitlist
        self._objectives = tuple(objectives)
        self._now = now

    async def __call__(self, batch: Batch) -> None:
        """Return once the batch is committed.

        :raises StoreUnavailable: when Postgres did not commit
        :raises Unstorable: when Postgres does not take something in it
        """
        judged = [Judged(request, judge(request, self._objectives)) for request in batch.requests]
        try:
            written = await self._store.write(judged, batch.received_at, batch.fragments)
        except (Error, ValueError) as error:
            raise Unstorable(f"{type(error).__name__} in a batch of the spool", RETRY_AFTER_SECONDS) from error
        count_written(written)
        self._waitlist.touch((fragment.trace for fragment in batch.fragments), self._now())
