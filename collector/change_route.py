"""POST /api/v1/changes: pipelines tell of deploys, restarts, config and version changes, so that none is taken for a fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from aiohttp import web

from collector import telemetry
from collector.change import LARGEST_BYTES, read_change, write_change
from collector.errors import Forbidden, MalformedBody, Overloaded, Unauthenticated
from collector.store.connection import RETRY_AFTER_SECONDS
from collector.store.fleet import FleetStore
from collector.token import Gate

PATH = "/api/v1/changes"

log = structlog.get_logger()


def changes(fleet: FleetStore, gate: Gate, now: Callable[[], datetime]) -> web.RouteDef:
    """The route. Who may send spans of every tenant may tell of changes; the token of one tenant may not, for a change
    silences alerts of engines that all tenants share.

    Answers 201 with what is kept, 200 with what is kept already, and errors as ``{"error": …}``: 400 for a body that is none,
    401 and 403 as for spans, and 503 with Retry-After while Postgres is away, when nothing is kept.
    """

    async def receive(request: web.Request) -> web.Response:
        try:
            principal = gate.admit(request.headers.get("Authorization"))
            if principal.tenant is not None:
                raise Forbidden("changes of engines: the token of a tenant may not post them")
            change = read_change(await _read(request), now())
            kept = await fleet.write_change(change)
        except MalformedBody as malformed:
            return _refusal(400, str(malformed))
        except Unauthenticated as unauthenticated:
            return _refusal(401, str(unauthenticated), {"WWW-Authenticate": "Bearer"})
        except Forbidden as forbidden:
            return _refusal(403, str(forbidden))
        except Overloaded as overloaded:
            return _refusal(503, str(overloaded), {"Retry-After": str(overloaded.retry_after_seconds)})
        except Exception as error:
            telemetry.LOOP_ERRORS.labels("changes").inc()
            log.exception("a change could not be taken", error=type(error).__name__)
            return _refusal(503, "internal error", {"Retry-After": str(RETRY_AFTER_SECONDS)})
        log.info("a change was posted", kind=change.kind.value, source=change.source, id=kept.id, again=not kept.new)
        return _answer(201 if kept.new else 200, write_change(change, kept.id))

    return web.post(PATH, receive)


async def _read(request: web.Request) -> bytes:
    """The body, which is never compressed.

    :raises MalformedBody: where it is too large, or encoded
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise MalformedBody(f"Content-Encoding: expected none, got {encoding[:80]!r}")
    body = bytearray()
    async for chunk in request.content.iter_chunked(LARGEST_BYTES):
        body += chunk
        if len(body) > LARGEST_BYTES:
            raise MalformedBody(f"the body: expected at most {LARGEST_BYTES} bytes")
    return bytes(body)


def _refusal(status: int, reason: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return _answer(status, {"error": reason}, headers)


def _answer(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> web.Response:
    telemetry.CHANGES_POSTED.labels(str(status)).inc()
    return web.Response(status=status, text=json.dumps(body), content_type="application/json", headers=headers)
