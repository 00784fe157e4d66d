"""OTLP over gRPC: a synchronous server with a few threads, which costs half of what grpc.aio does (measured)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import structlog
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from collector import telemetry
from collector.errors import AddressUnavailable, BodyTooLarge, Forbidden, MalformedBody, Overloaded, Unauthenticated
from collector.otlp.signal import PROTOBUF, Signal
from collector.token import Gate

_THREADS = 4
TAKEN_SECONDS = 30.0
"""A thread waits no longer for a commit: a few stuck ones would keep every other sender out."""
RETRY_AFTER_SECONDS = 5
_GRACE_SECONDS = 5.0
_DETAILS = "grpc-status-details-bin"
log = structlog.get_logger()
Export = Callable[[bytes, grpc.ServicerContext], bytes]


@asynccontextmanager
async def serve_grpc(address: str, signals: Sequence[Signal], limit: int, gate: Gate) -> AsyncIterator[None]:
    """Serve on ``address`` those whom the gate admits. ``limit`` is the largest message, decompressed [bytes].

    :raises AddressUnavailable: when the address is in use
    """
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-grpc"),
        options=[
            ("grpc.max_receive_message_length", limit),
            # Else a second collector would share the port without a word.
            ("grpc.so_reuseport", 0),
        ],
    )
    loop = asyncio.get_running_loop()
    for signal in signals:
        # The body stays bytes, so that both transports are decoded by the same code.
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_export(signal, gate, loop))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(signal.service, {"Export": method}),))
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise AddressUnavailable("otlp_grpc", address, "in use, or no address of this machine") from error
    server.start()
    try:
        yield
    finally:
        # Threads wait for the event loop, so it must turn while they end.
        await asyncio.to_thread(server.stop(_GRACE_SECONDS).wait)


def _export(signal: Signal, gate: Gate, loop: asyncio.AbstractEventLoop) -> Export:
    decode = signal.decoders[PROTOBUF]

    def export(body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            principal = gate.admit(_authorization(context))
            hand_over = decode(body)
            rejects = asyncio.run_coroutine_threadsafe(hand_over(principal), loop).result(TAKEN_SECONDS)
            return signal.answer(rejects).SerializeToString()
        except Unauthenticated as unauthenticated:
            _refuse(context, grpc.StatusCode.UNAUTHENTICATED, str(unauthenticated))
        except Forbidden as forbidden:
            _refuse(context, grpc.StatusCode.PERMISSION_DENIED, str(forbidden))
        except MalformedBody as malformed:
            _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(malformed))
        except BodyTooLarge as too_large:
            _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(too_large))
        except Overloaded as overloaded:
            _retry_later(context, overloaded)
        except TimeoutError:
            _retry_later(context, Overloaded(f"not committed within {TAKEN_SECONDS:.0f} s", RETRY_AFTER_SECONDS))
        except Exception as error:
            # A fault of ours. With UNKNOWN the sender would drop what it has, and read the exception's text.
            telemetry.LOOP_ERRORS.labels("otlp_grpc").inc()
            log.exception("a body could not be taken", error=type(error).__name__)
            _retry_later(context, Overloaded("internal error", RETRY_AFTER_SECONDS))
        return b""

    return export


def _authorization(context: grpc.ServicerContext) -> str | None:
    value = dict(context.invocation_metadata()).get("authorization")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _refuse(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str) -> None:
    telemetry.BODIES_REFUSED.labels("grpc", code.name.lower()).inc()
    context.set_code(code)
    context.set_details(reason)


def _retry_later(context: grpc.ServicerContext, overloaded: Overloaded) -> None:
    """UNAVAILABLE with RetryInfo, which OTLP's clients obey."""
    code = grpc.StatusCode.UNAVAILABLE
    info = RetryInfo()
    info.retry_delay.FromTimedelta(timedelta(seconds=math.ceil(overloaded.retry_after_seconds)))
    detail = Any()
    detail.Pack(info)
    number, _ = code.value
    status = Status(code=number, message=str(overloaded), details=[detail])
    context.set_trailing_metadata(((_DETAILS, status.SerializeToString()),))
    _refuse(context, code, str(overloaded))
