"""The spool: acknowledged requests that wait on disk while Postgres is away, and spans whose request is not whole yet.

It holds requests, not spans, wherever it can: what normalising left of an allow-listed span. So the disk sees no attribute
that a row would not have (raw ids that become keyed hashes stay in memory), the tenant and the sender's rejects are settled
when the sender is answered, and an upgrade or a changed configuration cannot turn an acknowledged span into a reject
afterwards. Names are kept as names; ids of the database, and verdicts, are made when a request leaves the spool. A span that
waits for the rest of its request is kept as the fragment that Postgres would have kept, and goes there.

The ledger ``received = rows + merged + ignored + duplicate + rejected + pending`` holds at every scrape of one process:

- A body that goes into the spool counts its requests as received and pending, after fsync.
- A request that leaves it is no longer pending, and is a row or a duplicate. After a crash between commit and the note of how
  far the spool was read, it is delivered again, its row is there already, and it counts as a duplicate.
- A record that cannot be read or stored is set aside, and its requests count as rejected, by reason.
- A fragment is in none of the counts while it waits, here as in Postgres: whoever closes it counts it as received and as what
  it became. One that cannot be read or stored counts as received and rejected.
- A process that opens a spool with requests in it counts them as received and pending, since its own counters began at zero.
  ``llm_slo_spool_adopted_total`` says how many those are: subtract it where counters are added up over restarts.

What is acknowledged is never dropped for its age or for room: a spool that is full, or whose oldest request is older than the
limit, takes nothing more, and senders get 503 with Retry-After until it was replayed.
"""

from __future__ import annotations

from collector.spool.replay import Batch, Deliver
from collector.spool.spool import Spool

__all__ = ["Batch", "Deliver", "Spool"]
