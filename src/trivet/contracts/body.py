"""The body of a request as one type: what REST decodes and what the contract describes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from trivet.contracts.model import ApiOperation
from trivet.contracts.subject import is_page_request
from trivet.core.decode import patched_shape
from trivet.core.naming import pascal
from trivet.core.page import PageRequest
from trivet.core.patch import patch_shape
from trivet.core.shape import Struct
from trivet.core.signature import Parameter
from trivet.core.typeinfo import fields_of

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
"""Items that come in, each as JSON on a line of its own."""


class Body(Struct):
    """What a request's body is.

    Attributes:
        parameter: The parameter that is the whole body; ``None`` where the body is an object of parameters.
        parameters: The parameters that come from the body.
        type: What is decoded; for an object of parameters a shape made for it, for items that come in one of them.
        required: Whether the body must be there.
        media_types: Media types in which it is read, the preferred one first.
    """

    parameter: str | None
    parameters: tuple[Parameter, ...]
    type: Any
    required: bool
    media_types: tuple[str, ...] = (JSON,)


def body_of(op: ApiOperation) -> Body | None:
    """Return the operation's body, ``None`` where its method gives a body no meaning.

    A method that takes a body but has no parameters for it reads an empty object or nothing at all, so that the
    operation can gain a parameter later.
    """
    if op.face.method in ("GET", "DELETE"):
        return None
    items = op.signature.items
    if items is not None:
        return Body(parameter=items.name, parameters=(items,), type=items.type, required=False, media_types=LINES)
    if op.face.body is not None and op.face.body != "*":
        (parameter,) = op.parameters([op.face.body])
        patches = patched_shape(parameter.type) is not None
        return Body(
            parameter=parameter.name,
            parameters=(parameter,),
            type=parameter.type,
            required=parameter.required,
            media_types=(MERGE_PATCH, JSON) if patches else (JSON,),
        )
    elsewhere = {*op.face.path_parameters, *op.face.query_parameters}
    parameters = tuple(p for p in op.signature.parameters if p.name not in elsewhere)
    shape = shape_of_parameters(op, parameters)
    required = any(p.required and not is_page_request(p.type) for p in parameters)
    return Body(parameter=None, parameters=parameters, type=shape, required=required)


def shape_of_parameters(op: ApiOperation, parameters: Iterable[Parameter]) -> Any:
    """Return a shape with a field for each parameter: a page request laid out, a patch as it is decoded."""
    return msgspec.defstruct(
        f"{pascal(op.operation.name)}Request",
        [field for parameter in parameters for field in _fields(parameter)],
        module=op.operation.handler.__module__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _fields(parameter: Parameter) -> list[Any]:
    if is_page_request(parameter.type):
        return [(f.encode_name, f.type, f.default) for f in fields_of(PageRequest)]
    patched = patched_shape(parameter.type)
    wire = parameter.type if patched is None else patch_shape(patched)
    if parameter.required:
        return [(parameter.name, wire)]
    default = parameter.default
    if isinstance(default, list | dict | set):
        return [(parameter.name, wire, msgspec.field(default_factory=default.copy))]
    return [(parameter.name, wire, default)]
