"""From the model of an API to GraphQL types, with everything that does not fit found at once.

What may fail by itself is nullable: root fields and edges. So an error stays where it happened, and what other fields
found is answered (partial data). Fields of shapes are as nullable as the shape says.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.contracts.graphql.scalars import CUSTOM
from trivet.contracts.graphql.types import (
    ABSENT,
    IF_VERSION,
    Argument,
    ConnectionType,
    EnumType,
    Field,
    Graph,
    InputType,
    InterfaceType,
    NamedType,
    ObjectType,
    Ref,
    ScalarType,
    UnionType,
)
from trivet.contracts.model import ROOTS, Api, ApiEdge, ApiOperation
from trivet.contracts.result import Form
from trivet.contracts.schema import as_json, component_name, own_doc
from trivet.contracts.subject import is_page_request
from trivet.core.declaration import Kind
from trivet.core.decode import patched_shape
from trivet.core.error import upper_snake
from trivet.core.fault import NOWHERE, Fault, Place, place_of
from trivet.core.job import JobStatus
from trivet.core.naming import camel
from trivet.core.page import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page
from trivet.core.patch import patch_shape
from trivet.core.signature import Parameter
from trivet.core.typeinfo import info_of

NAME = re.compile(r"(?!__)[_A-Za-z][_0-9A-Za-z]*")
INT32 = 2**31

NODE = "Node"
PAGE_INFO = "PageInfo"

SCALARS: dict[type[kinds.Type], str] = {
    kinds.BoolType: "Boolean",
    kinds.FloatType: "Float",
    kinds.StrType: "String",
    kinds.UUIDType: "ID",
    kinds.DecimalType: "Decimal",
    kinds.DateTimeType: "DateTime",
    kinds.DateType: "Date",
    kinds.TimeType: "Time",
    kinds.TimeDeltaType: "Duration",
    kinds.BytesType: "Base64",
    kinds.ByteArrayType: "Base64",
    kinds.MemoryViewType: "Base64",
}

OBJECTS = kinds.StructType | kinds.DataclassType | kinds.TypedDictType | kinds.NamedTupleType


def graph_of(api: Api, compared: Container[str] = ()) -> tuple[Graph, list[Fault]]:
    """Return the GraphQL types of an app, and a fault for everything that does not fit into one schema.

    Args:
        api: The model of the app.
        compared: The ids of operations that compare the version of a row before they change it.
    """
    reader = _Reader(api, compared)
    reader.read()
    return reader.graph, reader.faults


class _Reader:
    def __init__(self, api: Api, compared: Container[str]) -> None:
        self.api = api
        self.compared = compared
        self.graph = Graph()
        self.faults: list[Fault] = []
        self._made: dict[Any, NamedType] = {}
        self._owners: dict[str, tuple[str, Any]] = {}

    def read(self) -> None:
        graph = self.graph
        for root in ("Query", "Mutation", "Subscription"):
            self._owners[root] = ("a root type", NOWHERE)
        graph.types["Query"] = graph.query
        for op in self.api.operations:
            if not op.operation.takes:  # GraphQL has no way to send items one by one
                self._operation(op)
        self._nodes()
        if not graph.query.fields:
            boolean = Ref(of=self._scalar("Boolean"))
            graph.query.fields["_"] = Field("_", boolean, "None", description="There is nothing to ask for.")

    # -- root fields

    def _operation(self, op: ApiOperation) -> None:
        name = op.face.graphql
        root = self._root(ROOTS[op.operation.kind])
        if not self._named(name, f"{op.id}: GraphQL field", op.operation.place, 'Say graphql="...".'):
            return
        if name in root.fields:
            return  # a fault of the model: graphql-name
        arguments = self._arguments(op.signature.parameters, op.id, op.operation.place)
        compares = op.id in self.compared
        if compares:
            self._if_version(op, arguments)
        root.fields[name] = Field(
            name,
            self._result(op).nullable(),
            arguments=arguments,
            operation=op,
            compares=compares,
            description=op.operation.doc or None,
            deprecated=_deprecation(op),
        )

    def _if_version(self, op: ApiOperation, arguments: dict[str, Argument]) -> None:
        """Add the argument that names a version; who leaves it out where it is required is refused by the policy."""
        if IF_VERSION in arguments:
            problem = (
                f"{op.id}: a parameter is {IF_VERSION!r} in GraphQL, where the platform has an argument of its own"
            )
            self._fault("graphql-name", op.operation.place, problem, "Rename the parameter.")
            return
        required = op.operation.declaration.precondition == "required"
        arguments[IF_VERSION] = Argument(
            name=IF_VERSION,
            wire=IF_VERSION,
            type=Ref(of=self._scalar("Long")),
            description=f"Refuse the change if this is not the version any more.{' Required.' if required else ''}",
        )

    def _root(self, name: str) -> ObjectType:
        found = self.graph.types.get(name)
        if isinstance(found, ObjectType):
            return found
        root = self.graph.types[name] = ObjectType(name)
        if name == "Mutation":
            self.graph.mutation = root
        else:
            self.graph.subscription = root
        return root

    def _result(self, op: ApiOperation) -> Ref:
        if op.operation.kind is Kind.JOB:
            return self._output(info_of(JobStatus))
        if op.result.form is Form.NOTHING:
            return Ref(of=self._scalar("Boolean"))
        return self._output(info_of(op.signature.result))

    def _arguments(self, parameters: tuple[Parameter, ...], title: str, place: Place) -> dict[str, Argument]:
        arguments: dict[str, Argument] = {}
        for parameter in parameters:
            for argument in self._argument(parameter, place):
                if argument.name in arguments:
                    problem = f"{title}: two parameters are {argument.name!r} in GraphQL"
                    self._fault("graphql-name", place, problem, "Rename one of them.")
                elif self._named(argument.name, f"{title}: parameter", place, "Rename the parameter."):
                    arguments[argument.name] = argument
        return arguments

    def _argument(self, parameter: Parameter, place: Place) -> Iterator[Argument]:
        if is_page_request(parameter.type):
            size = f"How many; {DEFAULT_PAGE_SIZE} when left out, never more than {MAX_PAGE_SIZE}."
            yield Argument(name="first", wire="first", type=Ref(of=self._scalar("Int")), description=size)
            after = "The cursor after which to go on."
            yield Argument(name="after", wire="after", type=Ref(of=self._scalar("String")), description=after)
            return
        ref = self._input(self._info(parameter.type))
        default = ABSENT if parameter.required else parameter.default
        ref, shown = _with_default(ref, default)
        yield Argument(
            name=camel(parameter.name),
            wire=parameter.name,
            type=ref,
            default=shown,
            description=_said(parameter.type),
        )

    def _info(self, annotation: Any) -> kinds.Type:
        patched = patched_shape(annotation)
        return info_of(annotation if patched is None else patch_shape(patched))

    # -- global ids

    def _nodes(self) -> None:
        """Give every entity that can be read by its id alone a global id, unless the app has a `Node` of its own."""
        graph = self.graph
        if NODE in graph.types or {"node", "nodes"} & graph.query.fields.keys():
            return
        batches: dict[Any, ApiOperation] = {}
        for op in self.api.operations:
            if op.face.standard == "batch_get" and _required(op) == ["ids"]:
                batches.setdefault((op.module, op.face.noun), op)
        found: dict[str, tuple[ApiOperation, ApiOperation | None]] = {}
        for op in self.api.operations:
            shape = op.result.shape
            kind = self._made.get(("output", shape))
            if (
                op.operation.kind is Kind.QUERY
                and op.face.standard == "get"
                and op.result.form is Form.OBJECT
                and _required(op) == ["id"]
                and isinstance(kind, ObjectType)
                and "id" in kind.fields
                and "nodeId" not in kind.fields
            ):
                found.setdefault(kind.name, (op, batches.get((op.module, op.face.noun))))
        if not found:
            return
        identity = Ref(of=self._scalar("ID"), required=True)
        node = InterfaceType(NODE, "What has a global id, under which `node` finds it again.")
        node.fields["nodeId"] = Field("nodeId", identity, description="The global id; opaque.")
        graph.types[NODE] = node
        for name in found:
            kind = graph.types[name]
            assert isinstance(kind, ObjectType)
            read = f"global_id({name!r}, {{o}}.id)"
            kind.fields["nodeId"] = Field("nodeId", identity, read, description="The global id; opaque.")
            kind.is_node = True
            node.members.append(kind)
        graph.nodes = found
        one = Argument(name="id", wire="id", type=identity)
        many = Argument(name="ids", wire="ids", type=Ref(of=identity, many=True, required=True))
        ref = Ref(of=node)
        graph.query.fields["node"] = Field(
            "node", ref, arguments={"id": one}, node="node", description="What has this global id."
        )
        graph.query.fields["nodes"] = Field(
            "nodes",
            Ref(of=ref, many=True),
            arguments={"ids": many},
            node="nodes",
            description=f"What has these global ids, in their order; at most {MAX_PAGE_SIZE}.",
        )

    # -- what goes out

    def _output(self, info: kinds.Type) -> Ref:
        """Return the type of a value that is answered."""
        if isinstance(info, kinds.Metadata):
            return self._output(info.type)
        if isinstance(info, kinds.UnionType):
            return self._union(info, "output")
        if isinstance(info, OBJECTS):
            page = _item_of_page(info)
            return Ref(of=self._object(info) if page is None else self._connection(info.cls, page), required=True)
        return self._either(info, "output")

    def _either(self, info: kinds.Type, view: str) -> Ref:
        """Return the type of what looks the same in both directions, but for what is inside of it."""
        if isinstance(info, kinds.EnumType):
            return Ref(of=self._enum(info.cls), required=True)
        if isinstance(info, kinds.CollectionType) and not isinstance(info, kinds.TupleType):
            item = self._input(info.item_type) if view == "input" else self._output(info.item_type)
            return Ref(of=item, many=True, required=True)
        if isinstance(info, kinds.IntType):
            return Ref(of=self._scalar("Int" if _fits_int(info) else "Long"), required=True)
        if isinstance(info, kinds.LiteralType):
            values = [value for value in info.values if value is not None]
            texts = all(isinstance(value, str) for value in values)
            whole = all(isinstance(v, int) and not isinstance(v, bool) and -INT32 <= v < INT32 for v in values)
            return Ref(
                of=self._scalar("String" if texts else "Int" if whole else "JSON"),
                required=len(values) == len(info.values),
            )
        if isinstance(info, kinds.NoneType | kinds.AnyType | kinds.RawType):
            return Ref(of=self._scalar("JSON"))
        return Ref(of=self._scalar(SCALARS.get(type(info), "JSON")), required=True)

    def _union(self, info: kinds.UnionType, view: str) -> Ref:
        members = [m for m in info.types if not isinstance(m, kinds.NoneType)]
        one = self._input if view == "input" else self._output
        if len(members) == 1:
            ref = one(members[0])
        elif all(isinstance(_plain(m), kinds.StructType) for m in members):
            shapes = [_plain(m) for m in members]
            ref = Ref(of=self._one_of(shapes) if view == "input" else self._any_of(shapes), required=True)
        else:
            ref = Ref(of=self._scalar("JSON"), required=True)
        return ref.nullable() if info.includes_none else ref

    def _any_of(self, shapes: list[Any]) -> NamedType:
        key = ("output", tuple(shape.cls for shape in shapes))
        if key not in self._made:
            members = [self._output(shape).of for shape in shapes]
            made = UnionType("Or".join(member.name for member in members))
            made.members = members
            self._register(key, made, shapes[0].cls)
        return self._made[key]

    def _object(self, info: Any) -> NamedType:
        key = ("output", info.cls)
        if key not in self._made:
            made = ObjectType(component_name(info.cls), info.cls, own_doc(info.cls))
            self._register(key, made, info.cls)
            for field in info.fields:
                ref = self._output(field.type)
                if not field.required and getattr(field, "default", None) is msgspec.UNSET:
                    ref = ref.nullable()
                described = _described(field.type)
                self._add(made, Field(camel(field.name), ref, _read(info, field), description=described), info.cls)
            for edge in self.api.edges_of(info.cls).values():
                self._edge(made, edge)
            if not made.fields:
                boolean = Ref(of=self._scalar("Boolean"))
                made.fields["_"] = Field("_", boolean, "None", description="There is nothing to say about it.")
        return self._made[key]

    def _edge(self, made: ObjectType, edge: ApiEdge) -> None:
        title = f"edge {edge.edge.source.__name__}.{edge.name}"
        field = Field(
            camel(edge.name),
            self._output(info_of(edge.signature.result)).nullable(),
            arguments=self._arguments(edge.signature.parameters, title, edge.edge.place),
            edge=edge,
            description=edge.edge.doc or None,
        )
        self._add(made, field, made.cls, edge.edge.place)

    def _add(self, made: ObjectType, field: Field, cls: Any, place: Place | None = None) -> None:
        where = place or cls
        if field.name in made.fields:
            problem = f"{made.name}: two fields are {field.name!r} in GraphQL"
            self._fault("graphql-name", where, problem, "Rename one of them.")
        elif self._named(field.name, f"{made.name}: field", where, "Rename the field."):
            made.fields[field.name] = field

    def _connection(self, cls: Any, item: kinds.Type) -> NamedType:
        key = ("output", cls)
        if key not in self._made:
            node = self._output(item)
            name = node.named.name
            made = ConnectionType(f"{name}Connection", cls, f"One page of a list of {name}.")
            self._register(key, made, cls)
            edge = ObjectType(f"{name}Edge", None, f"One {name} on a page.")
            self._register(("edge", cls), edge, cls)
            text = Ref(of=self._scalar("String"))
            edge.fields["node"] = Field("node", node, "{o}[1]", description="The item.")
            cursor = "Stands for the item as `after`; null where the list can only go on after its page."
            edge.fields["cursor"] = Field("cursor", text, "{o}[0]", description=cursor)
            edges = Ref(of=Ref(of=edge, required=True), many=True, required=True)
            nodes = Ref(of=node, many=True, required=True)
            info = Ref(of=self._page_info(), required=True)
            made.fields["edges"] = Field("edges", edges, "edges_of({o})", description="The items with their cursors.")
            made.fields["nodes"] = Field("nodes", nodes, "{o}.items", description="The items.")
            made.fields["pageInfo"] = Field("pageInfo", info, "{o}", description="Where the page stands in the list.")
        return self._made[key]

    def _page_info(self) -> NamedType:
        key = ("output", PAGE_INFO)
        if key not in self._made:
            made = ObjectType(PAGE_INFO, None, "Where a page stands in its list.")
            self._register(key, made, Page)
            boolean, text = Ref(of=self._scalar("Boolean"), required=True), Ref(of=self._scalar("String"))
            for name, ref, read, description in (
                ("hasNextPage", boolean, "({o}.next_page_token is not None)", "Whether there is more after it."),
                ("hasPreviousPage", boolean, "resumed", "Whether it was asked for with a cursor."),
                ("startCursor", text, "start_of({o})", "The cursor of the first item."),
                ("endCursor", text, "end_of({o})", "The cursor of the last item; give it as `after`."),
            ):
                made.fields[name] = Field(name, ref, read, description=description)
        return self._made[key]

    # -- what comes in

    def _input(self, info: kinds.Type) -> Ref:
        """Return the type of a value that a client sends."""
        if isinstance(info, kinds.Metadata):
            return self._input(info.type)
        if isinstance(info, kinds.UnionType):
            return self._union(info, "input")
        if isinstance(info, kinds.StructType) and not info.array_like:
            return Ref(of=self._input_object(info), required=True)
        if isinstance(info, kinds.DataclassType | kinds.TypedDictType):
            return Ref(of=self._input_object(info), required=True)
        return self._either(info, "input")

    def _input_object(self, info: Any) -> NamedType:
        key = ("input", info.cls)
        if key not in self._made:
            patched = getattr(info.cls, "__patched__", None)
            name = component_name(info.cls)
            if patched is None and not name.endswith("Input"):
                name = f"{name}Input"
            described = "What to change; a field that is left out stays as it is." if patched else own_doc(info.cls)
            made = InputType(name, described)
            cls = patched or info.cls
            self._register(key, made, cls)
            for field in info.fields:
                self._input_field(made, field, cls)
            if not made.fields:
                nothing = "There is nothing to say."
                made.fields["_"] = Argument(
                    name="_", wire="_", type=Ref(of=self._scalar("Boolean")), description=nothing
                )
        return self._made[key]

    def _input_field(self, made: InputType, field: Any, cls: Any) -> None:
        default = getattr(field, "default", msgspec.NODEFAULT)
        factory = getattr(field, "default_factory", msgspec.NODEFAULT)
        if default is msgspec.NODEFAULT and factory in (list, dict, set, tuple):
            default = factory()
        elif field.required:
            default = ABSENT
        elif default is msgspec.NODEFAULT:
            default = None
        ref, shown = _with_default(self._input(field.type), default)
        argument = Argument(
            name=camel(field.name),
            wire=getattr(field, "encode_name", field.name),
            type=ref,
            default=shown,
            description=_described(field.type),
        )
        if argument.name in made.fields:
            problem = f"{made.name}: two fields are {argument.name!r} in GraphQL"
            self._fault("graphql-name", cls, problem, "Rename one of them.")
        elif self._named(argument.name, f"{made.name}: field", cls, "Rename the field."):
            made.fields[argument.name] = argument

    def _one_of(self, shapes: list[Any]) -> NamedType:
        key = ("input", tuple(shape.cls for shape in shapes))
        if key not in self._made:
            names = [component_name(shape.cls) for shape in shapes]
            made = InputType(f"{'Or'.join(names)}Input", "Exactly one of its fields.")
            made.tags = {}
            self._register(key, made, shapes[0].cls)
            for shape, name in zip(shapes, names, strict=True):
                field = camel(name)
                made.fields[field] = Argument(name=field, wire=field, type=self._input(shape).nullable())
                made.tags[field] = (shape.tag_field, shape.tag)
        return self._made[key]

    # -- names

    def _enum(self, cls: Any) -> NamedType:
        key = ("enum", cls)
        if key not in self._made:
            values = {member.name: upper_snake(member.name) for member in cls}
            made = EnumType(component_name(cls), cls, values, own_doc(cls))
            self._register(key, made, cls)
            shown = list(values.values())
            for name in shown:
                self._named(name, f"{made.name}: value", cls, "Rename the member.")
            if len(set(shown)) < len(shown) or not shown:
                problem = f"{made.name}: its members are {', '.join(shown) or 'none'} in GraphQL"
                self._fault("graphql-name", cls, problem, "Give it members with names of their own.")
        return self._made[key]

    def _scalar(self, name: str) -> NamedType:
        found = self._made.get(("scalar", name))
        if found is None:
            found = ScalarType(name, CUSTOM[name].description if name in CUSTOM else None)
            self._register(("scalar", name), found, None)
        return found

    def _register(self, key: Any, made: NamedType, cls: Any) -> None:
        self._made[key] = made
        what = "a scalar of the platform" if cls is None else f"{getattr(cls, '__module__', '')}.{made.name}"
        where = NOWHERE if cls is None else cls
        other = self._owners.get(made.name)
        if other is None:
            self._owners[made.name] = (what, where)
            self.graph.types[made.name] = made
            self._named(made.name, "GraphQL type", where, "Rename the class.")
            return
        if cls is None:
            what, where, other = other[0], other[1], (what, NOWHERE)
        mend = "Rename one of the classes, or serve no GraphQL: `graphql.enabled = false`."
        self._fault("graphql-type", where, f"two types are {made.name!r} in GraphQL: {what}, and {other[0]}", mend)

    def _named(self, name: str, what: str, where: Any, mend: str) -> bool:
        if NAME.fullmatch(name):
            return True
        self._fault("graphql-name", where, f"{what} {name!r} is no name in GraphQL", mend)
        return False

    def _fault(self, rule: str, where: Any, problem: str, mend: str) -> None:
        """Note a fault; finding the line of a class takes long, so it is looked for only now."""
        place = where if isinstance(where, Place) else place_of(_origin(where))
        self.faults.append(Fault(rule=rule, place=place, problem=problem, mend=mend))


def _required(op: ApiOperation) -> list[str]:
    return [parameter.name for parameter in op.signature.parameters if parameter.required]


def _plain(info: kinds.Type) -> kinds.Type:
    return _plain(info.type) if isinstance(info, kinds.Metadata) else info


def _origin(cls: Any) -> Any:
    found = getattr(cls, "__origin__", cls)
    return found if isinstance(found, type) else type(found)


def _read(info: Any, field: Any) -> str:
    """Return the expression that reads a field of a value."""
    if isinstance(info, kinds.TypedDictType):
        return f"{{o}}.get({field.name!r})"
    read = f"{{o}}.{field.name}"
    return f"present({read})" if getattr(field, "default", None) is msgspec.UNSET else read


def _item_of_page(info: Any) -> kinds.Type | None:
    """Return the type of an item of a page, ``None`` for any other shape."""
    if _origin(info.cls) is not Page:
        return None
    items: kinds.Type = next(field.type for field in info.fields if field.name == "items").item_type
    return items


def _fits_int(info: kinds.IntType) -> bool:
    """Whether every value fits 32 bits."""
    low = info.ge if info.ge is not None else None if info.gt is None else info.gt + 1
    high = info.le if info.le is not None else None if info.lt is None else info.lt - 1
    return low is not None and high is not None and low >= -INT32 and high < INT32


def _with_default(ref: Ref, default: Any) -> tuple[Ref, Any]:
    """Return the type and the default as the schema shows them; what the schema can not show may be left out."""
    if default is ABSENT:
        return ref, ABSENT
    if default is None or default is msgspec.UNSET:
        return ref.nullable(), ABSENT
    inner = ref.named
    if isinstance(inner, InputType) or inner.name == "JSON":
        return ref.nullable(), ABSENT
    return ref, as_json(default)


def _described(annotation_info: kinds.Type) -> str | None:
    """Return what ``Meta(description=...)`` says."""
    while isinstance(annotation_info, kinds.Metadata):
        said = (annotation_info.extra_json_schema or {}).get("description")
        if isinstance(said, str):
            return said
        annotation_info = annotation_info.type
    return None


def _said(annotation: Any) -> str | None:
    return None if patched_shape(annotation) is not None else _described(info_of(annotation))


def _deprecation(op: ApiOperation) -> str | None:
    notice = op.operation.declaration.deprecated
    if notice is None:
        return None
    parts = [f"Deprecated since {notice.since}."]
    if notice.use:
        parts.append(f"Use {notice.use}.")
    if notice.sunset:
        parts.append(f"It stops answering on {notice.sunset}.")
    if notice.link:
        parts.append(notice.link)
    return " ".join(parts)
