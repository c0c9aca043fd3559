"""Rules that hold for what an app serves: what breaks one is a fault, with the place and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trivet.contracts.cachetags import tag_faults
from trivet.contracts.model import ROOTS, Api, ApiOperation
from trivet.contracts.paths import path_shape
from trivet.contracts.problem import PROBLEM_MEMBERS
from trivet.contracts.result import Form, result_of, unwrap
from trivet.contracts.subject import is_page_request, is_scalar, item_of
from trivet.contracts.wiretypes import type_problem
from trivet.core.edge import Edge
from trivet.core.error import Error
from trivet.core.fault import Fault, Place, place_of
from trivet.core.module import Module
from trivet.core.naming import Noun, kebab
from trivet.core.operation import Operation
from trivet.core.page import PageRequest
from trivet.core.typeinfo import fields_of

MAX_REASON = 63


def operation_faults(operation: Operation[..., Any]) -> Iterator[Fault]:
    """Yield what is wrong with one operation whose types are known."""
    yield from _type_faults(operation)
    yield from _paging_faults(operation)
    yield from _id_faults(operation)
    yield from tag_faults(operation)


def edge_faults(edge: Edge[Any, ..., Any]) -> Iterator[Fault]:
    """Yield what is wrong with one edge whose types are known."""
    title = edge_title(edge)
    source: Any = edge.source
    if edge.name in {field.encode_name for field in fields_of(source)} or edge.name in source.__struct_fields__:
        yield Fault(
            rule="edge-name",
            place=edge.place,
            problem=f"{title}: {source.__name__} has a field of that name",
            mend="Name the edge differently, or drop the field.",
        )
    signature = edge.signature
    if (problem := type_problem(signature.result)) is not None:
        yield _unserialisable(edge.place, f"{title}: result", problem)
    for parameter in signature.parameters:
        if (problem := type_problem(parameter.type)) is not None:
            yield _unserialisable(edge.place, f"{title}: {parameter.name}", problem)
    paged = any(is_page_request(p.type) for p in signature.parameters)
    if paged != (result_of(signature.result).form is Form.PAGE):
        yield _paging_fault(edge.place, title, paged)


def edge_clash(edge: Edge[Any, ..., Any], other: Edge[Any, ..., Any]) -> Fault:
    """Return the fault of a second edge of the same name from the same shape."""
    return _clash("edge", edge.place, edge_title(edge), _named(edge), _named(other))


def edge_title(edge: Edge[Any, ..., Any]) -> str:
    """Return how faults name an edge."""
    return f"edge {edge.source.__name__}.{edge.name}"


def api_faults(api: Api) -> Iterator[Fault]:
    """Yield what operations and edges can not be beside each other."""
    yield from _same_names(api)
    yield from _shared_collections(api)


def error_faults(modules: Sequence[Module]) -> Iterator[Fault]:
    """Yield what is wrong with the domain errors that operations may answer with."""
    by_reason: dict[str, type[Error]] = {}
    checked: set[type[Error]] = set()
    for error in (e for m in modules for op in m.operations for e in op.declaration.raises):
        if error in checked:
            continue
        checked.add(error)
        place = place_of(error)
        other = by_reason.setdefault(error.reason, error)
        if other is not error:
            yield _clash("reason", place, f"reason {error.reason}", _class_name(error), _class_name(other))
        if len(error.reason) > MAX_REASON:
            yield Fault(
                rule="reason",
                place=place,
                problem=f"{_class_name(error)}: reason {error.reason} is longer than {MAX_REASON} characters",
                mend='Name the class shorter, or say class X(Base, reason="SHORTER").',
            )
        if error.status is not None and not 400 <= error.status <= 599:
            yield Fault(
                rule="error-status",
                place=place,
                problem=f"{_class_name(error)}: status={error.status} is no status of an error",
                mend="Leave it out, or say one from 400 to 599.",
            )
        taken = sorted(PROBLEM_MEMBERS.intersection(error.shape.__struct_fields__) - {"detail"})
        if taken:
            yield Fault(
                rule="error-field",
                place=place,
                problem=f"{_class_name(error)} has fields that every error has: {', '.join(taken)}",
                mend="Name them after what they say.",
            )
        if (problem := type_problem(error.shape)) is not None:
            yield _unserialisable(place, _class_name(error), problem)


def _type_faults(operation: Operation[..., Any]) -> Iterator[Fault]:
    signature = operation.signature
    for parameter in (*signature.parameters, *((signature.items,) if signature.items is not None else ())):
        if (problem := type_problem(parameter.type)) is not None:
            yield _unserialisable(operation.place, f"{operation.id}: {parameter.name}", problem)
    if (problem := type_problem(signature.result)) is not None:
        yield _unserialisable(operation.place, f"{operation.id}: result", problem)


def _paging_faults(operation: Operation[..., Any]) -> Iterator[Fault]:
    asked = [p.name for p in operation.signature.parameters if is_page_request(p.type)]
    pages = result_of(operation.signature.result).form is Form.PAGE
    if bool(asked) != pages:
        yield _paging_fault(operation.place, operation.id, bool(asked))
    taken = {p.name for p in operation.signature.parameters}.intersection(PageRequest.__struct_fields__)
    if asked and taken:
        yield Fault(
            rule="paging",
            place=operation.place,
            problem=f"{operation.id}: {', '.join(sorted(taken))} is said by the page request already",
            mend="Name the parameter differently.",
        )
    elif len(asked) > 1:
        yield Fault(
            rule="paging",
            place=operation.place,
            problem=f"{operation.id} takes several page requests: {', '.join(asked)}",
            mend="Take one `page: PageRequest`.",
        )


def _paging_fault(place: Place, title: str, asked: bool) -> Fault:
    return Fault(
        rule="paging",
        place=place,
        problem=f"{title} takes a PageRequest but returns no Page" if asked else f"{title} returns a Page unasked",
        mend="Return Page[...]." if asked else "Take `page: PageRequest`.",
    )


def _id_faults(operation: Operation[..., Any]) -> Iterator[Fault]:
    for parameter in operation.signature.parameters:
        if parameter.name == "id" or (parameter.name.endswith("_id") and parameter.required):
            if is_scalar(parameter.type) and unwrap(parameter.type) not in (float, bool):
                continue
            wanted = "one word: a UUID, a string, an integer or an enum"
        elif parameter.name == "ids":
            item = item_of(parameter.type)
            if item is not None and is_scalar(item):
                continue
            wanted = "a list of ids"
        else:
            continue
        yield Fault(
            rule="id-type",
            place=operation.place,
            problem=f"{operation.id}: {parameter.name} is {parameter.type!r}",
            mend=f"Make it {wanted}; NewType gives it a name.",
        )


def _same_names(api: Api) -> Iterator[Fault]:
    def graphql_name(op: ApiOperation) -> tuple[str, str]:
        return ("no field", op.id) if op.operation.takes else (ROOTS[op.operation.kind], op.face.graphql)

    names: tuple[tuple[str, str, Callable[[ApiOperation], Any]], ...] = (
        ("operation-id", "operation", lambda op: op.id),
        ("route", "route", lambda op: (op.face.method, path_shape(op.path))),
        ("graphql-name", "GraphQL field", graphql_name),
        ("rpc-name", "RPC method", lambda op: (f"{op.module.name}.v{op.version}", op.face.rpc)),
    )
    for rule, what, name_of in names:
        first: dict[Any, ApiOperation] = {}
        for op in api.operations:
            name = name_of(op)
            other = first.setdefault(name, op)
            if other is not op:
                shown = " ".join(str(part) for part in name) if isinstance(name, tuple) else str(name)
                yield _clash(rule, op.operation.place, f"{what} {shown}", _named(op), _named(other))


def _shared_collections(api: Api) -> Iterator[Fault]:
    owners: dict[tuple[int, str], ApiOperation] = {}
    for op in api.operations:
        collection = _own_collection(op, api.nouns)
        if collection is None:
            continue
        owner = owners.setdefault((op.version, collection), op)
        if owner.module is not op.module:
            yield Fault(
                rule="collection",
                place=op.operation.place,
                problem=f"collection {collection} belongs to two modules: {_named(op)} and {_named(owner)}",
                mend=f'Say Module("{op.module.name}", prefix="...") to tell them apart.',
            )


def _own_collection(op: ApiOperation, nouns: Mapping[str, Noun]) -> str | None:
    """Return the top-level collection that the operation's entity lives in, ``None`` where it is below another's."""
    noun = nouns.get(op.face.noun) if op.face.noun else None
    if noun is None or noun.plural is None:
        return None
    segments = op.face.path.split("/")
    first = segments[1].partition(":")[0]
    return first if first.endswith(kebab(noun.plural)) else None


def _unserialisable(place: Place, what: str, problem: str) -> Fault:
    return Fault(
        rule="type",
        place=place,
        problem=f"{what} can not be serialised: {problem}",
        mend="Use a Struct or a value type.",
    )


def _clash(rule: str, place: Place, what: str, one: str, other: str) -> Fault:
    return Fault(
        rule=rule, place=place, problem=f"{what} is said twice: by {one} and by {other}", mend="Rename one of them."
    )


def _named(thing: Any) -> str:
    if isinstance(thing, ApiOperation):
        return f"{thing.id} ({thing.operation.place})"
    return f"{thing.module.name}.{thing.resolver.__name__} ({thing.place})"


def _class_name(error: type[Error]) -> str:
    return f"{error.__module__}.{error.__qualname__}"
