"""Modules as packages: every operation that is not internal as a method of its module's service.

A request is a message of the operation's parameters, with a page request and the resume position of a stream laid out
in it; a response is a message that holds the result under its noun. So both can gain fields later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.proto import lock
from trivet.contracts.proto.message import Absent, Field, FieldType, Form, Message, Method, Package, Scalar
from trivet.contracts.proto.shapes import Shapes, Unfit, type_name
from trivet.contracts.result import Form as ResultForm
from trivet.contracts.subject import is_page_request
from trivet.core.declaration import Kind
from trivet.core.decode import patched_shape
from trivet.core.fault import Fault, Place
from trivet.core.job import JobStatus
from trivet.core.naming import pascal, snake
from trivet.core.page import PageRequest
from trivet.core.shape import Struct
from trivet.core.typeinfo import fields_of

MASK = "update_mask"
RESUME_AFTER = "resume_after"
POSITION = "position"
VALUE = "value"
"""The plain key of an item of a stream, beside its position."""

FIRST = "The first message says everything else as well, and may be without an item; no other message may."


class ProtoContract(Struct):
    """The RPC contract of an app.

    Attributes:
        packages: One for each module that has operations.
        drift: What the lock does not know yet; nothing where there is no lock.
        locked: Whether there is a lock.
        lock: Where it is, or would be.
    """

    packages: tuple[Any, ...] = ()
    drift: tuple[Fault, ...] = ()
    locked: bool = False
    lock: str = ""


def contract_of(api: Api, place: Place) -> tuple[ProtoContract, list[Fault]]:
    """Return the RPC contract of an app, and a fault for everything that does not fit protobuf or the lock.

    Args:
        api: The model of the app.
        place: Where the app is made; the lock is a file beside it.
    """
    faults: list[Fault] = []
    by_module: dict[str, list[ApiOperation]] = {}
    for op in api.operations:
        by_module.setdefault(f"{op.module.name}.v{op.version}", []).append(op)
    root = re.sub(r"[^a-z0-9]+", "_", api.name.lower()).strip("_")
    if by_module and not re.match("[a-z]", root):
        faults.append(
            Fault(
                rule="rpc-package",
                place=place,
                problem=f"{api.name!r} gives no name of a package",
                mend='Begin with a letter: App("shop", ...).',
            )
        )
        root = f"app_{root}"
    packages = [_package(f"{root}.{name}", ops, faults) for name, ops in by_module.items()]
    path = Path(place.file).parent / lock.NAME
    try:
        entries = lock.read(path)
    except lock.LockError as unreadable:
        mend = "Mend the file, or take it from version control again."
        faults.append(Fault(rule="rpc-lock", place=Place(file=str(path), line=1), problem=str(unreadable), mend=mend))
        entries = None
    wrong, drift = lock.assign(packages, entries, Place(file=str(path), line=1))
    contract = ProtoContract(packages=tuple(packages), drift=tuple(drift), locked=entries is not None, lock=str(path))
    return contract, faults + wrong


def _package(name: str, ops: Sequence[ApiOperation], faults: list[Fault]) -> Package:
    package = Package(name, ops[0].module, f"{pascal(ops[0].module.name)}Service")
    shapes = Shapes(name)
    for op in ops:
        try:
            package.methods.append(_method(op, shapes))
        except Unfit as unfit:
            problem = f"{op.id}: {unfit}"
            faults.append(Fault(rule="rpc-type", place=op.operation.place, problem=problem, mend=unfit.mend))
    package.messages, package.enums = shapes.messages, shapes.enums
    return package


def _method(op: ApiOperation, shapes: Shapes) -> Method:
    kind: Kind = op.operation.kind
    name = op.face.rpc
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
        raise Unfit(f"{name!r} is no name of a method", 'Write it in PascalCase: rpc="GetProduct".')
    items = op.signature.items
    doc = f"What {name} takes." if items is None else f"One item of what {name} takes."
    if items is not None and op.signature.parameters:
        doc += f" {FIRST}"
    request = shapes.message(f"{name}Request", doc=doc)
    masks: dict[str, str] = {}
    patches = [p for p in op.signature.parameters if patched_shape(p.type) is not None]
    for parameter in op.signature.parameters:
        if is_page_request(parameter.type):
            for field in fields_of(PageRequest):
                request.fields.append(shapes.field(field.encode_name, field.type, required=False))
            continue
        patched = patched_shape(parameter.type)
        if patched is None:
            empty = parameter.required or not parameter.default
            request.fields.append(
                shapes.field(parameter.name, parameter.type, required=parameter.required, empty=empty)
            )
            continue
        request.fields.append(shapes.patch(parameter.name, patched))
        mask = MASK if len(patches) == 1 else f"{parameter.name}_mask"
        masks[mask] = parameter.name
        doc = (
            f"Which fields of `{parameter.name}` are changed: one that is named but not there gets its default back. "
            "Without a mask, those that are there are changed."
        )
        request.fields.append(Field(mask, Scalar.MASK, doc=doc))
    item = None
    if items is not None:
        item = _holder(shapes.single(items.type), items.name)
        item.doc = f"The next of the {items.name.replace('_', ' ')}."
        request.fields.append(item)
    elif kind is Kind.STREAM:
        doc = "The position of the last item that was read: continue after it."
        request.fields.append(Field(RESUME_AFTER, Scalar.STRING, doc=doc))
    _distinct(request)
    return Method(op, name, request, _response(op, name, shapes), masks, kind is Kind.STREAM, item)


def _holder(type_: FieldType, key: str) -> Field:
    """Return the field that holds an item that comes in, under its noun."""
    return Field(snake(type_name(type_)) if isinstance(type_, Message) else VALUE, type_, key=key)


def _response(op: ApiOperation, name: str, shapes: Shapes) -> Message | None:
    kind: Kind = op.operation.kind
    result = op.result
    if result.form is ResultForm.NOTHING and kind is not Kind.JOB:
        return None
    if result.form is ResultForm.PAGE and kind is not Kind.JOB:
        response = shapes.message(f"{name}Response", doc=f"What {name} returns.")
        response.fields.append(
            Field(
                "items",
                shapes.single(result.item),
                repeated=True,
                absent=Absent.EMPTY,
                doc="The items of this page, in order.",
            )
        )
        doc = "Asks for the next page; absent on the last one."
        response.fields.append(Field("next_page_token", Scalar.STRING, doc=doc))
        return response
    form = Form.RECORD if kind is Kind.STREAM else Form.BOX
    response = shapes.message(f"{name}Response", form, doc=f"What {name} returns.")
    if kind is Kind.JOB:
        response.fields.append(Field("job", shapes.single(JobStatus), doc="The job, which runs from now on."))
        return response
    annotation = op.signature.result
    holder = shapes.field("value", annotation)
    if not holder.single:
        holder.name = "entries" if holder.map_key else "items"
    elif isinstance(holder.type, Message) and holder.type.source is not None:
        holder.name = snake(type_name(holder.type))
    holder.key = VALUE
    holder.absent = Absent.EMPTY if not holder.single else Absent.NONE if result.optional else Absent.MISSING
    response.fields.append(holder)
    if kind is Kind.STREAM and op.signature.items is None:
        response.fields.append(
            Field(POSITION, Scalar.STRING, doc="Where the stream stands after this item, to resume it.")
        )
    return response


def _distinct(request: Message) -> None:
    names = [field.name for field in request.fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Unfit(f"{', '.join(twice)} is said by the platform already", "Name the parameter differently.")
