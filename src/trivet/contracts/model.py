"""The model of an API: everything that an app serves, read from its modules once, for every transport.

Whatever is wrong is collected, not raised: an app reports all of it in one go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import inspect as kinds

from trivet.contracts.cachetags import tag_faults
from trivet.contracts.jobs import jobs as platform_jobs
from trivet.contracts.result import Form, Result, result_of, shape_of, unwrap
from trivet.contracts.subject import is_page_request, is_scalar, item_of, subject_of
from trivet.core.about import About
from trivet.core.declaration import Kind
from trivet.core.decode import patched_shape
from trivet.core.edge import Edge
from trivet.core.error import Error
from trivet.core.fault import Fault, Place, place_of
from trivet.core.module import Module
from trivet.core.naming import Face, NamingError, Noun, Subject, face_of, kebab, nouns_of
from trivet.core.operation import Operation
from trivet.core.page import PageRequest
from trivet.core.patch import patch_shape
from trivet.core.shape import Struct
from trivet.core.signature import Parameter, Signature
from trivet.core.typeinfo import describe_together, fields_of, info_of

CustomMethods = Literal["colon", "slash"]

PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "reason", "errors"})
"""Members that every rendered error has; an error's own fields stand beside them (RFC 9457 section 3.2)."""

MAX_REASON = 63


class ApiOperation(Struct):
    """One operation with its faces.

    Attributes:
        operation: As declared.
        face: Its names on every protocol.
        path: The whole path, version included, with custom methods as the app writes them.
        signature: Parameters and result with their types resolved.
        result: The result type, taken apart.
    """

    operation: Any
    face: Face
    path: str
    signature: Signature
    result: Result

    @property
    def id(self) -> str:
        """Names the operation on every protocol: ``module.name``."""
        return str(self.operation.id)

    @property
    def module(self) -> Module:
        """The module that it belongs to."""
        module: Module = self.operation.module
        return module

    @property
    def version(self) -> int:
        """The contract major under which it is served."""
        return self.module.major

    @property
    def errors(self) -> tuple[type[Error], ...]:
        """The domain errors it may answer with."""
        raises: tuple[type[Error], ...] = self.operation.declaration.raises
        return raises

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return str(self.operation.doc).split("\n", 1)[0]

    @property
    def reads(self) -> bool:
        """Whether it is served under ``GET`` and answers at once: what caches and conditional requests are for."""
        return self.face.method == "GET" and self.operation.kind is not Kind.STREAM

    def parameters(self, names: Iterable[str]) -> Iterator[Parameter]:
        """Yield the parameters of these names."""
        for name in names:
            parameter = self.signature.parameter(name)
            if parameter is not None:
                yield parameter


class ApiEdge(Struct):
    """One relation with its types resolved.

    Attributes:
        edge: As declared.
        signature: Its own parameters and the type of one value.
        result: That type, taken apart.
    """

    edge: Any
    signature: Signature
    result: Result

    @property
    def name(self) -> str:
        """The field under which it appears."""
        return str(self.edge.name)

    @property
    def bare(self) -> bool:
        """Whether it can be followed without arguments; a page request has its defaults."""
        return all(not p.required or is_page_request(p.type) for p in self.signature.parameters)


class Api(Struct):
    """What an app serves.

    Attributes:
        name: The app's name.
        modules: In the order given.
        operations: Every operation that is not internal, in the order of declaration; where there are jobs, the
            platform's own operation that tells their status is the last one.
        edges: The edges of each shape, by name.
        nouns: The entities and their collections.
        custom_methods: ``colon`` writes ``/orders/{id}:cancel``, ``slash`` writes ``/orders/{id}/cancel``.
        about: What the app says about itself.
    """

    name: str
    modules: tuple[Any, ...]
    operations: tuple[ApiOperation, ...]
    edges: Mapping[Any, Mapping[str, ApiEdge]]
    nouns: Mapping[str, Noun]
    custom_methods: CustomMethods = "colon"
    about: About = About()

    def edges_of(self, shape: Any) -> Mapping[str, ApiEdge]:
        """Return the edges that start from a shape, by name."""
        return self.edges.get(shape_of(shape), {}) if shape is not None else {}

    def errors(self) -> list[type[Error]]:
        """Return every declared domain error once, by reason."""
        found = {error.reason: error for op in self.operations for error in op.errors}
        return [found[reason] for reason in sorted(found)]


def describe(
    app_name: str,
    modules: Sequence[Module],
    custom_methods: CustomMethods = "colon",
    about: About | None = None,
) -> tuple[Api, list[Fault]]:
    """Read the model of an API from an app's modules.

    Args:
        app_name: Names the API in documents.
        modules: All modules of the app.
        custom_methods: How a custom method is written in a path.
        about: What the app says about itself.

    Returns:
        The model of everything that is right, and a fault for everything that is not.
    """
    faults: list[Fault] = []
    resolved: list[tuple[Operation[..., Any], Subject]] = []
    for module in modules:
        for operation in module.operations:
            try:
                operation.signature  # noqa: B018 - resolves it, or says why it can not
                resolved.append((operation, subject_of(operation)))
            except TypeError as unresolved:
                faults.append(
                    Fault(
                        rule="signature",
                        place=operation.place,
                        problem=f"{operation.id}: {unresolved}",
                        mend="Annotate every parameter and the result with types that can be imported there.",
                    )
                )
    if any(operation.kind is Kind.JOB for operation, _ in resolved):
        resolved.extend((operation, subject_of(operation)) for operation in platform_jobs.operations)
    describe_together(wire_of(type) for operation, _ in resolved for type in operation.signature.types)
    nouns = _nouns(resolved, faults)
    by_word: dict[str, list[Noun]] = {}
    for noun in nouns.values():
        for word in filter(None, (noun.singular, noun.plural)):
            by_word.setdefault(word, []).append(noun)
    operations = [
        described
        for operation, subject in resolved
        if not operation.declaration.access.internal
        and (described := _described(operation, subject, _relevant(subject, by_word), custom_methods, faults))
        is not None
    ]
    api = Api(
        name=app_name,
        modules=tuple(modules),
        operations=tuple(operations),
        edges=_edges(modules, faults),
        nouns=nouns,
        custom_methods=custom_methods,
        about=about or About(),
    )
    for operation, _ in resolved:
        _check_types(operation, faults)
        _check_paging(operation, faults)
        _check_ids(operation, faults)
        faults.extend(tag_faults(operation))
    _check_clashes(api, faults)
    _check_errors(modules, faults)
    return api, faults


# -- operations and edges


def _nouns(resolved: Sequence[tuple[Operation[..., Any], Subject]], faults: list[Fault]) -> dict[str, Noun]:
    try:
        return nouns_of([subject for _, subject in resolved])
    except NamingError:
        agreeing: list[Subject] = []
        for operation, subject in resolved:
            try:
                nouns_of([*agreeing, subject])
                agreeing.append(subject)
            except NamingError as disagreeing:
                faults.append(
                    Fault(
                        rule="collection",
                        place=operation.place,
                        problem=f"{operation.id}: {disagreeing}",
                        mend=disagreeing.mend,
                    )
                )
        return nouns_of(agreeing)


def _relevant(subject: Subject, by_word: Mapping[str, Sequence[Noun]]) -> dict[str, Noun]:
    """Return the nouns that an operation's name can end in or its parents can be: no name is held against all."""
    parts = subject.name.split("_")
    words = ["_".join(parts[start:]) for start in range(1, len(parts))]
    words += [name.removesuffix("_id") for name in subject.parameters]
    return {noun.singular: noun for word in words for noun in by_word.get(word, ())}


def _described(
    operation: Operation[..., Any],
    subject: Subject,
    nouns: Mapping[str, Noun],
    custom_methods: CustomMethods,
    faults: list[Fault],
) -> ApiOperation | None:
    try:
        face = face_of(subject, nouns, operation.module.prefix)
        path = f"/v{operation.version}{written(face.path, custom_methods)}"
        problem = template_problem(path)
        if problem:
            raise NamingError(problem, "Segments are words or {parameter}; only the last may end in :verb.")
    except NamingError as unnamed:
        faults.append(
            Fault(rule="path", place=operation.place, problem=f"{operation.id}: {unnamed}", mend=unnamed.mend)
        )
        return None
    signature = operation.signature
    return ApiOperation(
        operation=operation, face=face, path=path, signature=signature, result=result_of(signature.result)
    )


def written(path: str, custom_methods: CustomMethods) -> str:
    """Return the path with its custom method as the app writes them."""
    return path.replace(":", "/") if custom_methods == "slash" else path


TEMPLATE = re.compile(
    r"(?:/(?:[A-Za-z0-9._~-]+|\{[a-z_][a-z0-9_]*\}))*/(?:[A-Za-z0-9._~-]+|\{[a-z_][a-z0-9_]*\})(?::[A-Za-z][A-Za-z0-9]*)?"
)


def template_problem(path: str) -> str | None:
    """Say why a path can not be routed, ``None`` when it can."""
    if not TEMPLATE.fullmatch(path):
        return f"{path!r} is not a path template"
    if any(segment in (".", "..") for segment in path.split("/")):
        return f"{path!r} has a dot segment, which clients remove"
    names = re.findall(r"\{(\w+)\}", path)
    return f"{path!r} names a parameter twice" if len(set(names)) < len(names) else None


def _edges(modules: Sequence[Module], faults: list[Fault]) -> dict[Any, dict[str, ApiEdge]]:
    found: dict[Any, dict[str, ApiEdge]] = {}
    for module in modules:
        for edge in module.edges:
            described = _edge(edge, faults)
            if described is None:
                continue
            others = found.setdefault(edge.source, {})
            if edge.name in others:
                other = others[edge.name].edge
                faults.append(
                    _clash("edge", edge.place, f"edge {edge.source.__name__}.{edge.name}", _named(edge), _named(other))
                )
            else:
                others[edge.name] = described
    return found


def _edge(edge: Edge[Any, ..., Any], faults: list[Fault]) -> ApiEdge | None:
    title = f"edge {edge.source.__name__}.{edge.name}"
    try:
        signature = edge.signature
    except TypeError as unresolved:
        mend = "Write async def edge(ctx: Read, parents: Sequence[Shape], ...) -> Sequence[Value]."
        faults.append(Fault(rule="signature", place=edge.place, problem=f"{title}: {unresolved}", mend=mend))
        return None
    source: Any = edge.source
    fields = {field.encode_name for field in fields_of(source)}
    if edge.name in fields or edge.name in edge.source.__struct_fields__:
        faults.append(
            Fault(
                rule="edge-name",
                place=edge.place,
                problem=f"{title}: {edge.source.__name__} has a field of that name",
                mend="Name the edge differently, or drop the field.",
            )
        )
    result = result_of(signature.result)
    if (problem := type_problem(signature.result)) is not None:
        faults.append(_unserialisable(edge.place, f"{title}: result", problem))
    for parameter in signature.parameters:
        if (problem := type_problem(parameter.type)) is not None:
            faults.append(_unserialisable(edge.place, f"{title}: {parameter.name}", problem))
    paged = any(is_page_request(p.type) for p in signature.parameters)
    if paged != (result.form is Form.PAGE):
        faults.append(_paging_fault(edge.place, title, paged))
    return ApiEdge(edge=edge, signature=signature, result=result)


# -- rules


def type_problem(annotation: Any) -> str | None:
    """Say why a type can not cross a boundary, ``None`` when it can."""
    try:
        wire = wire_of(annotation)
        info = info_of(wire)
        msgspec.json.Decoder(wire)
    except (TypeError, NotImplementedError, ValueError, RecursionError) as unknown:
        return str(unknown).split("\n", 1)[0]
    foreign = next(foreign_types(info, set()), None)
    return f"{foreign!r} is no shape, scalar, list or map" if foreign is not None else None


def wire_of(annotation: Any) -> Any:
    """Return the type as which a type crosses a boundary: a patch has a shape of its own."""
    patched = patched_shape(annotation)
    return annotation if patched is None else patch_shape(patched)


def foreign_types(info: kinds.Type, seen: set[Any]) -> Iterator[Any]:
    """Yield the classes inside a type that msgspec knows nothing about."""
    if isinstance(info, kinds.CustomType):
        yield info.cls
    elif isinstance(info, kinds.Metadata):
        yield from foreign_types(info.type, seen)
    elif isinstance(info, kinds.StructType | kinds.DataclassType | kinds.TypedDictType | kinds.NamedTupleType):
        if info.cls not in seen:
            seen.add(info.cls)
            for field in info.fields:
                yield from foreign_types(field.type, seen)
    elif isinstance(info, kinds.UnionType):
        for member in info.types:
            yield from foreign_types(member, seen)
    elif isinstance(info, kinds.TupleType):
        for member in info.item_types:
            yield from foreign_types(member, seen)
    elif isinstance(info, kinds.DictType):
        yield from foreign_types(info.key_type, seen)
        yield from foreign_types(info.value_type, seen)
    elif isinstance(info, kinds.CollectionType):
        yield from foreign_types(info.item_type, seen)


def _check_types(operation: Operation[..., Any], faults: list[Fault]) -> None:
    items = operation.signature.items
    for parameter in (*operation.signature.parameters, *((items,) if items is not None else ())):
        problem = type_problem(parameter.type)
        if problem is not None:
            faults.append(_unserialisable(operation.place, f"{operation.id}: {parameter.name}", problem))
    problem = type_problem(operation.signature.result)
    if problem is not None:
        faults.append(_unserialisable(operation.place, f"{operation.id}: result", problem))


def _unserialisable(place: Place, what: str, problem: str) -> Fault:
    return Fault(
        rule="type",
        place=place,
        problem=f"{what} can not be serialised: {problem}",
        mend="Use a Struct or a value type.",
    )


def _check_paging(operation: Operation[..., Any], faults: list[Fault]) -> None:
    asked = [p.name for p in operation.signature.parameters if is_page_request(p.type)]
    pages = result_of(operation.signature.result).form is Form.PAGE
    if bool(asked) != pages:
        faults.append(_paging_fault(operation.place, operation.id, bool(asked)))
    taken = {p.name for p in operation.signature.parameters}.intersection(PageRequest.__struct_fields__)
    if asked and taken:
        faults.append(
            Fault(
                rule="paging",
                place=operation.place,
                problem=f"{operation.id}: {', '.join(sorted(taken))} is said by the page request already",
                mend="Name the parameter differently.",
            )
        )
    elif len(asked) > 1:
        faults.append(
            Fault(
                rule="paging",
                place=operation.place,
                problem=f"{operation.id} takes several page requests: {', '.join(asked)}",
                mend="Take one `page: PageRequest`.",
            )
        )


def _paging_fault(place: Place, title: str, asked: bool) -> Fault:
    return Fault(
        rule="paging",
        place=place,
        problem=f"{title} takes a PageRequest but returns no Page" if asked else f"{title} returns a Page unasked",
        mend="Return Page[...]." if asked else "Take `page: PageRequest`.",
    )


def _check_ids(operation: Operation[..., Any], faults: list[Fault]) -> None:
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
        faults.append(
            Fault(
                rule="id-type",
                place=operation.place,
                problem=f"{operation.id}: {parameter.name} is {parameter.type!r}",
                mend=f"Make it {wanted}; NewType gives it a name.",
            )
        )


def _check_clashes(api: Api, faults: list[Fault]) -> None:
    def graphql_name(op: ApiOperation) -> tuple[str, str]:
        return ("no field", op.id) if op.operation.takes else (ROOTS[op.operation.kind], op.face.graphql)

    def unique(rule: str, what: str, key: Callable[[ApiOperation], Any]) -> None:
        first: dict[Any, ApiOperation] = {}
        for op in api.operations:
            name = key(op)
            other = first.setdefault(name, op)
            if other is not op:
                shown = " ".join(str(part) for part in name) if isinstance(name, tuple) else str(name)
                faults.append(_clash(rule, op.operation.place, f"{what} {shown}", _named(op), _named(other)))

    unique("operation-id", "operation", lambda op: op.id)
    unique("route", "route", lambda op: (op.face.method, path_shape(op.path)))
    unique("graphql-name", "GraphQL field", graphql_name)
    unique("rpc-name", "RPC method", lambda op: (f"{op.module.name}.v{op.version}", op.face.rpc))
    owners: dict[tuple[int, str], ApiOperation] = {}
    for op in api.operations:
        collection = own_collection(op, api.nouns)
        if collection is None:
            continue
        owner = owners.setdefault((op.version, collection), op)
        if owner.module is not op.module:
            faults.append(
                Fault(
                    rule="collection",
                    place=op.operation.place,
                    problem=f"collection {collection} belongs to two modules: {_named(op)} and {_named(owner)}",
                    mend=f'Say Module("{op.module.name}", prefix="...") to tell them apart.',
                )
            )


ROOTS = {Kind.QUERY: "Query", Kind.COMMAND: "Mutation", Kind.JOB: "Mutation", Kind.STREAM: "Subscription"}
"""The GraphQL root type that each kind of operation is a field of; an intake is none."""


def path_shape(path: str) -> str:
    """Return the path with its parameters unnamed: what decides whether two paths match the same targets."""
    return re.sub(r"\{\w+\}", "{}", path)


def own_collection(op: ApiOperation, nouns: Mapping[str, Noun]) -> str | None:
    """Return the top-level collection that the operation's entity lives in, ``None`` where it is below another's."""
    noun = nouns.get(op.face.noun) if op.face.noun else None
    if noun is None or noun.plural is None:
        return None
    segments = op.face.path.split("/")
    first = segments[1].partition(":")[0]
    return first if first.endswith(kebab(noun.plural)) else None


def _check_errors(modules: Sequence[Module], faults: list[Fault]) -> None:
    by_reason: dict[str, type[Error]] = {}
    checked: set[type[Error]] = set()
    for error in (e for m in modules for op in m.operations for e in op.declaration.raises):
        if error in checked:
            continue
        checked.add(error)
        place = place_of(error)
        other = by_reason.setdefault(error.reason, error)
        if other is not error:
            faults.append(_clash("reason", place, f"reason {error.reason}", _class_name(error), _class_name(other)))
        if len(error.reason) > MAX_REASON:
            faults.append(
                Fault(
                    rule="reason",
                    place=place,
                    problem=f"{_class_name(error)}: reason {error.reason} is longer than {MAX_REASON} characters",
                    mend='Name the class shorter, or say class X(Base, reason="SHORTER").',
                )
            )
        if error.status is not None and not 400 <= error.status <= 599:
            faults.append(
                Fault(
                    rule="error-status",
                    place=place,
                    problem=f"{_class_name(error)}: status={error.status} is no status of an error",
                    mend="Leave it out, or say one from 400 to 599.",
                )
            )
        taken = sorted(PROBLEM_MEMBERS.intersection(error.shape.__struct_fields__) - {"detail"})
        if taken:
            faults.append(
                Fault(
                    rule="error-field",
                    place=place,
                    problem=f"{_class_name(error)} has fields that every error has: {', '.join(taken)}",
                    mend="Name them after what they say.",
                )
            )
        if (problem := type_problem(error.shape)) is not None:
            faults.append(_unserialisable(place, _class_name(error), problem))


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
