"""The contract as descriptors of Google's protobuf: what reflection answers with, made without ``protoc``."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import (
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
)

from trivet.contracts.proto.message import EnumType, Field, Form, Message, Package, Scalar
from trivet.contracts.proto.text import EMPTY, imports_of
from trivet.core.declaration import Kind
from trivet.core.naming import camel, pascal

KNOWN = (timestamp_pb2, duration_pb2, struct_pb2, field_mask_pb2, empty_pb2)
"""The files of protobuf's own that a contract may import."""

FieldProto = descriptor_pb2.FieldDescriptorProto
TYPES = {
    Scalar.BOOL: FieldProto.TYPE_BOOL,
    Scalar.INT64: FieldProto.TYPE_INT64,
    Scalar.DOUBLE: FieldProto.TYPE_DOUBLE,
    Scalar.STRING: FieldProto.TYPE_STRING,
    Scalar.BYTES: FieldProto.TYPE_BYTES,
}


def descriptors(packages: Iterable[Package]) -> list[descriptor_pb2.FileDescriptorProto]:
    """Return a descriptor for each package, after those of protobuf's own files that they import."""
    packages = list(packages)
    wanted = {path for package in packages for path in imports_of(package)}
    known = [descriptor_pb2.FileDescriptorProto.FromString(m.DESCRIPTOR.serialized_pb) for m in KNOWN]
    return [file for file in known if file.name in wanted] + [_file(package) for package in packages]


def _file(package: Package) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=package.file, package=package.name, syntax="proto3")
    file.dependency.extend(imports_of(package))
    for message in package.messages:
        _message(file.message_type.add(name=message.name), message)
    for found in package.enums:
        _enum(file.enum_type.add(name=found.name), found)
    service = file.service.add(name=package.service)
    for method in package.methods:
        operation = method.op.operation
        made = service.method.add(
            name=method.name,
            input_type=f".{method.input.full_name}",
            output_type=f".{EMPTY if method.output is None else method.output.full_name}",
        )
        if method.streams:
            made.server_streaming = True
        if method.item is not None:
            made.client_streaming = True
        if operation.kind in (Kind.QUERY, Kind.STREAM) and method.item is None:
            made.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
        elif operation.declaration.idempotent:
            made.options.idempotency_level = descriptor_pb2.MethodOptions.IDEMPOTENT
        if operation.declaration.deprecated is not None:
            made.options.deprecated = True
    return file


def _message(made: descriptor_pb2.DescriptorProto, message: Message) -> None:
    if message.form is Form.UNION:
        made.oneof_decl.add(name="kind")
    for field in message.fields:
        added = made.field.add(name=field.name, number=field.number, json_name=camel(field.name))
        added.label = FieldProto.LABEL_OPTIONAL if field.single else FieldProto.LABEL_REPEATED
        if field.map_key is not None:
            entry = made.nested_type.add(name=f"{pascal(field.name)}Entry")
            entry.options.map_entry = True
            for number, name, type_ in ((1, "key", field.map_key), (2, "value", field.type)):
                part = entry.field.add(name=name, number=number, json_name=name, label=FieldProto.LABEL_OPTIONAL)
                _typed(part, Field(name, type_))
            added.type = FieldProto.TYPE_MESSAGE
            added.type_name = f".{message.full_name}.{entry.name}"
            continue
        _typed(added, field)
        if message.form is Form.UNION:
            added.oneof_index = 0
    for field, added in zip(message.fields, made.field, strict=True):
        if field.single and message.form is not Form.UNION and added.type != FieldProto.TYPE_MESSAGE:
            added.proto3_optional = True
            added.oneof_index = len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{field.name}")
    for number in sorted(message.reserved.values()):
        made.reserved_range.add(start=number, end=number + 1)
    made.reserved_name.extend(sorted(message.reserved))


def _typed(added: descriptor_pb2.FieldDescriptorProto, field: Field) -> None:
    type_ = field.type
    if isinstance(type_, EnumType):
        added.type, added.type_name = FieldProto.TYPE_ENUM, f".{type_.full_name}"
    elif isinstance(type_, Message):
        added.type, added.type_name = FieldProto.TYPE_MESSAGE, f".{type_.full_name}"
    elif type_.well_known:
        added.type, added.type_name = FieldProto.TYPE_MESSAGE, f".{type_.value}"
    else:
        added.type = TYPES[type_]


def _enum(made: descriptor_pb2.EnumDescriptorProto, found: EnumType) -> None:
    for name, number in found.numbers.items():
        made.value.add(name=name, number=number)
    for number in sorted(found.reserved.values()):
        made.reserved_range.add(start=number, end=number)
    made.reserved_name.extend(sorted(found.reserved))
