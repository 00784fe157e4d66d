"""The message of a body of spans in which the attributes of spans are still bytes: their pairs are read by whoever knows most
of them already. Everything else is as OTLP has it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.trace.v1 import trace_pb2

_PACKAGE = "llm_slo"
_INSIDE = {"Span": None, "ScopeSpans": ("spans", "Span"), "ResourceSpans": ("scope_spans", "ScopeSpans")}
"""Messages of OTLP on the way to the attributes, and the field that leads on, with its message."""


def _message() -> type[Any]:
    theirs = FileDescriptorProto()
    trace_pb2.DESCRIPTOR.CopyToProto(theirs)
    file = FileDescriptorProto(
        name=f"{_PACKAGE}/span_body.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[theirs.name, *theirs.dependency],
    )
    for described in theirs.message_type:
        if described.name in _INSIDE:
            file.message_type.add().CopyFrom(_altered(described))
    file.message_type.add(name="Body").field.add(
        name="resource_spans",
        number=1,
        label=FieldDescriptorProto.LABEL_REPEATED,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.ResourceSpans",
    )
    # The pool that OTLP's own messages are in: events, links and statuses are those.
    pool = Default()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Body"))


def _altered(described: DescriptorProto) -> DescriptorProto:
    leads_on = _INSIDE[described.name]
    for field in described.field:
        if leads_on is not None and field.name == leads_on[0]:
            field.type_name = f".{_PACKAGE}.{leads_on[1]}"
        if leads_on is None and field.name == "attributes":
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    # Messages that are declared inside one are taken from OTLP.
    del described.nested_type[:]
    del described.enum_type[:]
    return described


SpanBody = _message()
