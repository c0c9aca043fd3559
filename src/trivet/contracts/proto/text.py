"""The contract as ``.proto`` files, in the style that ``buf`` checks: what is written is what is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from trivet.contracts.proto import comments
from trivet.contracts.proto.message import EnumType, Field, Form, Message, Method, Package, Scalar
from trivet.core.declaration import Kind

IMPORTS = {
    Scalar.TIMESTAMP: "google/protobuf/timestamp.proto",
    Scalar.DURATION: "google/protobuf/duration.proto",
    Scalar.VALUE: "google/protobuf/struct.proto",
    Scalar.MASK: "google/protobuf/field_mask.proto",
}
EMPTY = "google.protobuf.Empty"
EMPTY_IMPORT = "google/protobuf/empty.proto"

BUF_YAML = """\
# Written by `trivet contract proto`. Operations that return nothing answer with google.protobuf.Empty.
version: v2
lint:
  use:
    - STANDARD
    - COMMENTS
  rpc_allow_google_protobuf_empty_responses: true
breaking:
  use:
    - FILE
"""


def files(packages: Iterable[Package]) -> dict[str, str]:
    """Return all files of a contract by their path below its root, with a configuration for ``buf``."""
    return {"buf.yaml": BUF_YAML} | {package.file: text_of(package) for package in packages}


def imports_of(package: Package) -> list[str]:
    """Return the files of protobuf's own that a package uses, sorted."""
    used = {IMPORTS[f.type] for m in package.messages for f in m.fields if f.type in IMPORTS}
    if any(method.output is None for method in package.methods):
        used.add(EMPTY_IMPORT)
    return sorted(used)


def text_of(package: Package) -> str:
    """Return the file of one package."""
    return "\n".join(_lines(package)) + "\n"


def _lines(package: Package) -> Iterator[str]:
    yield "// Written by `trivet contract proto` from the operations of the module; changes belong there."
    yield 'syntax = "proto3";'
    yield ""
    yield f"package {package.name};"
    imports = imports_of(package)
    if imports:
        yield ""
        yield from (f'import "{path}";' for path in imports)
    yield ""
    owner = f", by {package.module.owner}" if package.module.owner else ""
    yield from _comment(f"The operations of {package.module.name} {package.module.version}{owner}.", "")
    yield f"service {package.service} {{"
    for index, method in enumerate(package.methods):
        if index:
            yield ""
        yield from _method(method)
    yield "}"
    for message in package.messages:
        yield ""
        yield from _message(message, package.name)
    for found in package.enums:
        yield ""
        yield from _enum(found)


def _method(method: Method) -> Iterator[str]:
    operation = method.op.operation
    yield from _comment(operation.doc or f"{method.name}.", "  ")
    output = EMPTY if method.output is None else method.output.name
    stream = "stream " if method.streams else ""
    taken = "stream " if method.item is not None else ""
    options = list(options_of(method))
    head = f"  rpc {method.name}({taken}{method.input.name}) returns ({stream}{output})"
    if not options:
        yield f"{head};"
        return
    yield f"{head} {{"
    yield from (f"    option {option};" for option in options)
    yield "  }"


def options_of(method: Method) -> Iterator[str]:
    """Yield what protobuf's own options say about a method."""
    operation = method.op.operation
    if operation.kind in (Kind.QUERY, Kind.STREAM) and method.item is None:
        yield "idempotency_level = NO_SIDE_EFFECTS"
    elif operation.declaration.idempotent:
        yield "idempotency_level = IDEMPOTENT"
    if operation.declaration.deprecated is not None:
        yield "deprecated = true"


def _message(message: Message, package: str) -> Iterator[str]:
    docs = comments.of_fields(message)
    yield from _comment(comments.of_message(message), "")
    if not message.fields and not message.reserved:
        yield f"message {message.name} {{}}"
        return
    yield f"message {message.name} {{"
    yield from _reserved(message.reserved, "  ")
    indent = "  "
    if message.form is Form.UNION:
        yield from _comment("Exactly one is there.", "  ")
        yield "  oneof kind {"
        indent = "    "
    for field in message.fields:
        yield from _comment(docs[field.name], indent)
        yield f"{indent}{_declared(field, message, package)}"
    if message.form is Form.UNION:
        yield "  }"
    yield "}"


def _declared(field: Field, message: Message, package: str) -> str:
    type_ = field.spelled.replace(f"{package}.", "")
    present = field.single and message.form is not Form.UNION and not isinstance(field.type, Message)
    if present and not (isinstance(field.type, Scalar) and field.type.well_known):
        type_ = f"optional {type_}"
    return f"{type_} {field.name} = {field.number};"


def _enum(found: EnumType) -> Iterator[str]:
    docs = comments.of_constants(found)
    yield from _comment(comments.of_enum(found), "")
    yield f"enum {found.name} {{"
    yield from _reserved(found.reserved, "  ")
    for name, number in found.numbers.items():
        yield from _comment(docs[name], "  ")
        yield f"  {name} = {number};"
    yield "}"


def _reserved(reserved: dict[str, int], indent: str) -> Iterator[str]:
    if reserved:
        yield f"{indent}reserved {', '.join(str(number) for number in sorted(reserved.values()))};"
        yield f"{indent}reserved {', '.join(f'{chr(34)}{name}{chr(34)}' for name in sorted(reserved))};"


def _comment(text: str, indent: str) -> Iterator[str]:
    for index, paragraph in enumerate(text.split("\n\n")):
        if index:
            yield f"{indent}//"
        for line in wrap(
            " ".join(paragraph.split()), 100 - len(indent), break_long_words=False, break_on_hyphens=False
        ):
            yield f"{indent}// {line}"
