"""Results to JSON. What is no object by itself becomes one (`items`, `value`), so that it can gain members later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.result import Form, Result
from trivet.core.declaration import Kind

Encode = Callable[[Any], bytes]

ENCODER = msgspec.json.Encoder(decimal_format="string")


def encoder_of(op: ApiOperation) -> Encode | None:
    """Return what writes the operation's result; ``None`` where nothing is written, or item by item."""
    if op.operation.kind is Kind.STREAM:
        return None
    return ENCODER.encode if op.operation.kind is Kind.JOB else encoder_for(op.result)


def encoder_for(result: Result) -> Encode | None:
    """Return what writes a result of this form; absent optional results are written as nothing."""
    encode = ENCODER.encode
    if result.form is Form.NOTHING:
        return None
    if result.form is Form.LIST:
        return lambda value: b'{"items":%b}' % encode(value)
    if result.form is Form.VALUE:
        write: Encode = lambda value: b'{"value":%b}' % encode(value)  # noqa: E731 - one of three forms
    else:
        write = encode
    return (lambda value: b"" if value is None else write(value)) if result.optional else write


Locate = Callable[[Any, Mapping[str, Any]], str]
"""Returns where the new thing is found, from the result and the arguments."""


def readers_of(api: Api) -> Mapping[Any, ApiOperation]:
    """Return what reads one entity by its id, by module and noun."""
    readers: dict[Any, ApiOperation] = {}
    for op in api.operations:
        if op.face.standard == "get":
            readers.setdefault((op.module, op.face.noun), op)
    return readers


def location_of(op: ApiOperation, readers: Mapping[Any, ApiOperation]) -> Locate | None:
    """Return how to tell where what the operation created is found; ``None`` where nothing reads one by its id."""
    if op.face.standard != "create" or op.result.form is not Form.OBJECT:
        return None
    get = readers.get((op.module, op.face.noun))
    shape = op.result.shape
    if get is None or shape is None or "{id}" not in get.path or ":" in get.path:
        return None
    names = get.face.path_parameters
    known = {parameter.name for parameter in op.signature.parameters}
    if any(name not in shape.__struct_fields__ and name not in known for name in names):
        return None
    template = get.path

    def locate(value: Any, arguments: Mapping[str, Any]) -> str:
        words = {name: getattr(value, name, None) or arguments.get(name) for name in names}
        return template.format_map({name: quote(str(word), safe="") for name, word in words.items()})

    return locate
