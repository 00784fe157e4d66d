"""OTLP over HTTP: POST /v1/traces and /v1/logs in protobuf or JSON, with the status codes of the OTLP specification."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
import zstandard
from aiohttp import web
from google.rpc.status_pb2 import Status

from collector import telemetry
from collector.errors import BodyTooLarge, Forbidden, MalformedBody, Overloaded, Unauthenticated
from collector.listener import listen
from collector.otlp.partial import summary
from collector.otlp.signal import JSON, PROTOBUF, HandOver, Signal
from collector.request import Reject
from collector.token import Gate

_CHUNK = 2**16
ENCODINGS = ("identity", "gzip", "zstd")
OFF_LOOP_BYTES = 2**18
"""A larger body is decoded in a thread: it would hold up health checks and other senders. A compressed one always is,
because a few kilobytes can be a million spans."""
RETRY_AFTER_SECONDS = 5
"""After a fault of ours."""
_INVALID_ARGUMENT, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 3, 7, 8, 14, 16


log = structlog.get_logger()


class Refused(Exception):
    """A body that is refused whole: the HTTP status, the gRPC code that OTLP puts in the answer, and why."""

    def __init__(self, status: int, code: int, reason: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds


def application(signals: Sequence[Signal], limit: int, gate: Gate, beside: Sequence[web.RouteDef] = ()) -> web.Application:
    """The receiver. ``limit`` is the largest body, as sent and as decompressed [bytes]; ``beside`` is what is no OTLP."""
    # aiohttp's own limit is off: it answers in HTML, and knows nothing of what a body decompresses to.
    app = web.Application(client_max_size=0)
    app.add_routes([*(web.post(signal.path, _receiver(signal, limit, gate)) for signal in signals), *beside])
    return app


def _receiver(signal: Signal, limit: int, gate: Gate) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def receive(request: web.Request) -> web.Response:
        content_type = request.content_type
        try:
            # Before the body is read: who may not send costs nothing.
            principal = gate.admit(request.headers.get("Authorization"))
            hand_over = await _decode(request, content_type, signal, limit)
            rejects = await hand_over(principal)
        except Refused as refused:
            return _refusal(refused, content_type)
        except Unauthenticated as unauthenticated:
            return _refusal(Refused(401, _UNAUTHENTICATED, str(unauthenticated)), content_type)
        except Forbidden as forbidden:
            return _refusal(Refused(403, _PERMISSION_DENIED, str(forbidden)), content_type)
        except Overloaded as overloaded:
            return _refusal(Refused(503, _UNAVAILABLE, str(overloaded), overloaded.retry_after_seconds), content_type)
        except Exception as error:
            # A fault of ours. With 500 the sender would drop what it has; with 503 it keeps it and comes again.
            telemetry.LOOP_ERRORS.labels("otlp_http").inc()
            log.exception("a body could not be taken", error=type(error).__name__)
            return _refusal(Refused(503, _UNAVAILABLE, "internal error", RETRY_AFTER_SECONDS), content_type)
        return _accepted(rejects, signal, content_type)

    return receive


@asynccontextmanager
async def serve_http(
    address: str, signals: Sequence[Signal], limit: int, gate: Gate, beside: Sequence[web.RouteDef] = ()
) -> AsyncIterator[None]:
    """Serve on ``address`` those whom the gate admits.

    :raises AddressUnavailable: when the address is in use
    """
    async with listen(application(signals, limit, gate, beside), "otlp_http", address):
        yield


async def _decode(request: web.Request, content_type: str, signal: Signal, limit: int) -> HandOver:
    decoder = signal.decoders.get(content_type)
    if decoder is None:
        raise Refused(415, _INVALID_ARGUMENT, f"Content-Type {content_type!r}: expected {PROTOBUF} or {JSON}")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise Refused(415, _INVALID_ARGUMENT, f"Content-Encoding {encoding!r}: expected {', '.join(ENCODINGS)}")
    body = await _read(request, limit)

    def decode() -> HandOver:
        return decoder(decompress(body, encoding, limit))

    try:
        off_loop = encoding != "identity" or len(body) > OFF_LOOP_BYTES
        return await asyncio.to_thread(decode) if off_loop else decode()
    except MalformedBody as malformed:
        raise Refused(400, _INVALID_ARGUMENT, str(malformed)) from malformed
    except BodyTooLarge as too_large:
        raise Refused(413, _RESOURCE_EXHAUSTED, str(too_large)) from too_large


async def _read(request: web.Request, limit: int) -> bytes:
    """The body as it was sent."""
    body = bytearray()
    async for chunk in request.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body, decompressed. Nothing larger than the limit is ever made, however small what was sent is.

    :raises Refused: 413 for what is larger, 400 for what is cut off or not compressed like that
    """
    try:
        if encoding == "gzip":
            # Every member of the stream: a body of which only the first was read would be acknowledged and lost in part.
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
                plain = stream.read(limit + 1)
            if len(plain) > limit:
                raise _too_large(limit)
            return plain
        if encoding == "zstd":
            return _decompress_zstd(body, limit)
    except EOFError:
        raise Refused(400, _INVALID_ARGUMENT, "the body is a gzip stream that was cut off") from None
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError):
        raise Refused(400, _INVALID_ARGUMENT, f"the body is not {encoding}, one frame of it, and whole") from None
    return body


def _decompress_zstd(body: bytes, limit: int) -> bytes:
    """One frame. What follows it is refused, not left out: it would be acknowledged and lost."""
    if zstandard.frame_content_size(body) > limit:
        raise _too_large(limit)
    try:
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError:
        # A frame that does not say its size fails in the same way when it is cut off and when it is too large.
        with zstandard.ZstdDecompressor().stream_reader(body) as stream:
            if len(stream.read(limit + 1)) > limit:
                raise _too_large(limit) from None
        raise


def _too_large(limit: int) -> Refused:
    return Refused(413, _RESOURCE_EXHAUSTED, f"the body is larger than {limit} bytes")


def _accepted(rejects: Sequence[Reject], signal: Signal, content_type: str) -> web.Response:
    if content_type == PROTOBUF:
        return web.Response(body=signal.answer(rejects).SerializeToString(), content_type=PROTOBUF)
    body = {"partialSuccess": {signal.rejected_key: str(len(rejects)), "errorMessage": summary(rejects)}} if rejects else {}
    return web.Response(text=json.dumps(body), content_type=JSON)


def _refusal(refused: Refused, content_type: str) -> web.Response:
    telemetry.BODIES_REFUSED.labels("http", str(refused.status)).inc()
    headers = {} if refused.retry_after_seconds is None else {"Retry-After": str(refused.retry_after_seconds)}
    if refused.code == _UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if content_type == PROTOBUF:
        body = Status(code=refused.code, message=str(refused)).SerializeToString()
        return web.Response(status=refused.status, body=body, content_type=PROTOBUF, headers=headers)
    text = json.dumps({"code": refused.code, "message": str(refused)})
    return web.Response(status=refused.status, text=text, content_type=JSON, headers=headers)
