"""A protobuf body in which something cannot be read, cut into its spans or log records, so that the others can be.

Protobuf refuses a whole message for one text in it that is no UTF-8. Bodies of spans and of logs are alike down to the span or
record, so one outline, in which everything below is bytes, serves both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from collector.otlp.check import MalformedSpan
from collector.request import RejectReason

_ONE, _MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
_MESSAGES = {
    "Body": (("parts", _MANY, ".llm_slo.Part"),),
    "Part": (("resource", _ONE, None), ("scopes", _MANY, ".llm_slo.Scope")),
    "Scope": (("scope", _ONE, None), ("items", _MANY, None)),
}


class Scope(NamedTuple):
    """Items of one scope; all of it still bytes."""

    scope: bytes
    items: tuple[bytes, ...]


class Part(NamedTuple):
    """Items of one resource; all of it still bytes."""

    resource: bytes
    scopes: tuple[Scope, ...]

    @property
    def size(self) -> int:
        """Its items."""
        return sum(len(scope.items) for scope in self.scopes)


def cut(body: bytes) -> tuple[Part, ...]:
    """Cut an ExportTraceServiceRequest or an ExportLogsServiceRequest into its spans or records.

    :raises google.protobuf.message.DecodeError: for a body that is neither
    """
    outline = _body()
    outline.ParseFromString(body)
    return tuple(
        Part(part.resource, tuple(Scope(scope.scope, tuple(scope.items)) for scope in part.scopes)) for part in outline.parts
    )


def unreadable(field: str) -> MalformedSpan:
    """What is said of an item that protobuf does not read."""
    return MalformedSpan(RejectReason.WRONG_TYPE, field, "bytes", "protobuf with text in UTF-8, not nested too deeply")


def read(message: Any, data: bytes, field: str) -> Any:
    """``message`` with what ``data`` holds.

    :raises MalformedSpan: for what protobuf does not read
    """
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise unreadable(field) from None
    return message


def _outline() -> type[Any]:
    file = FileDescriptorProto(name="llm_slo/outline.proto", package="llm_slo", syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, (name, label, type_name) in enumerate(fields, 1):
            kind = FieldDescriptorProto.TYPE_MESSAGE if type_name else FieldDescriptorProto.TYPE_BYTES
            described.field.add(name=name, number=number, label=label, type=kind, type_name=type_name)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("llm_slo.Body"))


_body = _outline()
