"""The way of a span from decoded body to committed row: assemble → normalise → judge → batch, or the spool and from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from psycopg import Error

from collector import telemetry
from collector.assemble import assemble
from collector.batch import RETRY_AFTER_SECONDS, Batcher, count_written
from collector.dialects import DIALECTS
from collector.errors import Overloaded, StoreUnavailable, Unstorable
from collector.normalise import GENERIC_KEYS, Policy, normalise
from collector.objective import Objective, judge
from collector.otlp.allow import AllowList, Decoded, Receipt
from collector.request import Reject
from collector.spool import Batch, Spool
from collector.store.request import Judged, RequestStore
from collector.token import Principal


def allow_list(policy: Policy) -> AllowList:
    """Every attribute that a dialect or the configuration reads. Whatever else a span carries is dropped while decoding."""
    names = policy.attributes
    configured = frozenset({*names.tenant, *names.environment, *names.replica, *names.model})
    return AllowList(
        span=frozenset().union(*(dialect.keys for dialect in DIALECTS)) | configured | GENERIC_KEYS,
        resource=configured,
        event=frozenset({"exception.type"}),
        error_texts=frozenset({"exception.message"}).union(*(dialect.error_texts for dialect in DIALECTS)),
        error_classes=frozenset({"exception.type"}).union(*(dialect.error_types for dialect in DIALECTS)),
    )


class Ingest:
    """What the receivers hand decoded bodies to."""

    def __init__(
        self,
        batcher: Batcher,
        spool: Spool,
        *,
        policy: Policy,
        objectives: Sequence[Objective],
        now: Callable[[], datetime],
    ) -> None:
        self._batcher = batcher
        self._spool = spool
        self._policy = policy
        self._objectives = tuple(objectives)
        self._now = now

    async def __call__(self, decoded: Decoded, principal: Principal) -> Receipt:
        """Return once everything that can become a row is committed, or on disk where Postgres is away.

        :raises Overloaded: when nothing was taken, and the sender must keep the data
        """
        assembled = assemble(decoded.spans)
        now = self._now()
        policy = self._policy if principal.tenant is None else replace(self._policy, tenant=principal.tenant)
        results = [normalise(group, policy, now) for group in assembled.groups]
        rejects = [result for result in results if isinstance(result, Reject)]
        requests = [Judged(result, judge(result, self._objectives)) for result in results if not isinstance(result, Reject)]
        try:
            await self._keep(requests, now)
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

    async def _keep(self, requests: Sequence[Judged], now: datetime) -> None:
        if not self._spool.store_away:
            try:
                return await self._batcher.submit(requests)
            except StoreUnavailable:
                pass  # replay finds out when Postgres is back
        await self._spool.append([judged.request for judged in requests], now)


class Replayed:
    """What the spool hands its batches to. ``store`` is its own: live traffic does not queue behind what is replayed."""

    def __init__(self, store: RequestStore, objectives: Sequence[Objective]) -> None:
        self._store = store
        self._objectives = tuple(objectives)

    async def __call__(self, batch: Batch) -> None:
        """Return once the batch is committed.

        :raises StoreUnavailable: when Postgres did not commit
        :raises Unstorable: when Postgres does not take something in it
        """
        judged = [Judged(request, judge(request, self._objectives)) for request in batch.requests]
        try:
            written = await self._store.write(judged, batch.received_at)
        except (Error, ValueError) as error:
            raise Unstorable(f"{type(error).__name__} in a batch of the spool", RETRY_AFTER_SECONDS) from error
        count_written(written)
