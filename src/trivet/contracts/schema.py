"""JSON Schema (draft 2020-12) of types: one view for what comes in, one for what goes out.

They differ: inputs refuse unknown members and take a decimal as text or as a number; outputs always have all members
and write decimals as text. A shape that goes both ways is two components, `Money` and `MoneyInput`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import inspect as kinds

from trivet.contracts.model import ApiEdge
from trivet.core.decode import patched_shape
from trivet.core.naming import pascal
from trivet.core.patch import accepts_none, nested_shape
from trivet.core.shape import Struct
from trivet.core.typeinfo import fields_of, info_of
from trivet.core.value import MAX_SAFE_INTEGER, Digits

View = Literal["input", "output"]
Schema = dict[str, Any]

DECIMAL_OUT = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


class Schemas:
    """Collects the schemas of an API's shapes as components with clean, unique names.

    Args:
        edges: Edges by shape: an expanded answer has them as further members.
    """

    def __init__(self, edges: Mapping[Any, Mapping[str, ApiEdge]] | None = None) -> None:
        self._edges = edges or {}
        self._bodies: dict[tuple[Any, View], Schema] = {}
        self._tokens: dict[tuple[Any, View], str] = {}
        self._keys: dict[str, tuple[Any, View]] = {}

    def of(self, annotation: Any, view: View) -> Schema:
        """Return the schema of a type; shapes and enums in it become components."""
        patched = patched_shape(annotation)
        if patched is not None:
            return self._patch(patched)
        return self._schema(info_of(annotation), view, None)

    def text(self, annotation: Any) -> Schema:
        """Return the schema of a value that stands in a URL, where a decimal is text and nothing is ``null``."""
        info = info_of(annotation)
        while isinstance(info, kinds.UnionType):
            info = next(m for m in info.types if not isinstance(m, kinds.NoneType))
        schema = self._schema(info, "input", None)
        return schema["anyOf"][0] if schema.get("anyOf", [{}])[0].get("format") == "decimal" else schema

    def resolve(self, document: Any) -> tuple[Any, dict[str, Schema]]:
        """Give every component its name.

        Returns:
            The document with its references written out, and the components by name.
        """
        names = self._names(self._bodies)
        targets = {self._token(key): f"#/components/schemas/{name}" for key, name in names.items()}
        components = {name: _replaced(self._bodies[key], targets) for key, name in names.items()}
        return _replaced(document, targets), {name: components[name] for name in sorted(components)}

    def lookup(self, token: str) -> Schema:
        """Return the component that stands behind a reference of a schema that is not resolved yet."""
        return self._bodies[self._keys[token]]

    def _token(self, key: tuple[Any, View]) -> str:
        """Stands for the component's address until all names are known."""
        token = self._tokens.setdefault(key, f"<{len(self._tokens)}>")
        self._keys[token] = key
        return token

    def _names(self, keys: Iterable[tuple[Any, View]]) -> dict[tuple[Any, View], str]:
        wanted: dict[str, dict[Any, list[tuple[Any, View]]]] = {}
        for key in keys:
            wanted.setdefault(component_name(key[0]), {}).setdefault(key[0], []).append(key)
        names: dict[tuple[Any, View], str] = {}
        for name, shapes in wanted.items():
            prefixes = _telling_apart(list(shapes)) if len(shapes) > 1 else dict.fromkeys(shapes, "")
            for shape, views in shapes.items():
                for key in views:
                    suffix = "Input" if key[1] == "input" and (shape, "output") in views else ""
                    names[key] = f"{prefixes[shape]}{name}{suffix}"
        return names

    # -- one type

    def _schema(self, info: kinds.Type, view: View, extra: Mapping[str, Any] | None) -> Schema:
        if isinstance(info, kinds.Metadata):
            schema = self._schema(info.type, view, info.extra or extra)
            return _with(schema, as_json(info.extra_json_schema or {}))
        if isinstance(info, kinds.UnionType):
            return self._union(info, view)
        if isinstance(info, kinds.StructType | kinds.DataclassType | kinds.TypedDictType):
            return self._component(info.cls, view, lambda: self._object(info, view))
        if isinstance(info, kinds.EnumType):
            return self._component(info.cls, "output", lambda: _enumerated([m.value for m in info.cls], info.cls))
        if isinstance(info, kinds.LiteralType):
            return _enumerated(sorted(info.values, key=str), None)
        if isinstance(info, kinds.DecimalType):
            return _decimal(view, (extra or {}).get("digits"))
        if isinstance(info, kinds.DictType):
            return self._map(info, view)
        if isinstance(info, kinds.TupleType):
            return _tuple([self._schema(item, view, None) for item in info.item_types])
        if isinstance(info, kinds.NamedTupleType):
            return _tuple([self._schema(field.type, view, None) for field in info.fields])
        if isinstance(info, kinds.CollectionType):
            array: Schema = {"type": "array", "items": self._schema(info.item_type, view, None)}
            if isinstance(info, kinds.SetType | kinds.FrozenSetType) and view == "output":
                array["uniqueItems"] = True
            return _bounded(array, info, minItems="min_length", maxItems="max_length")
        return _scalar(info)

    def _component(self, shape: Any, view: View, build: Any) -> Schema:
        key = (shape, view)
        if key not in self._bodies:
            self._bodies[key] = {}
            self._bodies[key] = build()
        return {"$ref": self._token(key)}

    def _object(self, info: Any, view: View) -> Schema:
        properties: Schema = {}
        required: list[str] = []
        if getattr(info, "tag_field", None) is not None:
            properties[info.tag_field] = {"const": info.tag}
            required.append(info.tag_field)
        config = getattr(get_origin(info.cls) or info.cls, "__struct_config__", None)
        always = view == "output" and config is not None and not config.omit_defaults
        for field in info.fields:
            member = self._schema(field.type, view, None)
            if view == "input":
                member = _with_default(member, getattr(field, "default", msgspec.NODEFAULT))
            properties[field.encode_name] = member
            if field.required or (always and getattr(field, "default", None) is not msgspec.UNSET):
                required.append(field.encode_name)
        if getattr(info, "array_like", False):
            return _tuple(list(properties.values()))
        if view == "output":
            properties.update(self._expansions(info.cls))
        schema: Schema = {"type": "object"}
        if (doc := own_doc(info.cls)) is not None:
            schema["description"] = doc
        schema["properties"] = properties
        if required:
            schema["required"] = required
        if view == "input" and (config is None or config.forbid_unknown_fields):
            schema["additionalProperties"] = False
        return schema

    def _expansions(self, shape: Any) -> Schema:
        return {
            name: {
                **self._schema(info_of(edge.signature.result), "output", None),
                "description": f"Only with `expand={name}`.",
            }
            for name, edge in sorted(self._edges.get(shape, {}).items())
            if edge.bare
        }

    def _patch(self, shape: type[Struct]) -> Schema:
        return self._component(_Patched(shape), "input", lambda: self._patch_object(shape))

    def _patch_object(self, shape: type[Struct]) -> Schema:
        properties: Schema = {}
        for field in fields_of(shape):
            inner = nested_shape(field.type)
            schema = _with(self._patch(inner), said_besides(field.type)) if inner else self.of(field.type, "input")
            if not field.required and not accepts_none(field.type):
                schema = {"anyOf": [schema, {"type": "null"}]}
            properties[field.encode_name] = schema
        return {
            "type": "object",
            "description": "What to change; a member that is absent stays as it is (RFC 7396).",
            "properties": properties,
            "additionalProperties": False,
        }

    def _union(self, info: kinds.UnionType, view: View) -> Schema:
        members = [m for m in info.types if not isinstance(m, kinds.NoneType)]
        schemas = [self._schema(member, view, None) for member in members]
        tags = {m.tag: s["$ref"] for m, s in zip(members, schemas, strict=True) if isinstance(m, kinds.StructType)}
        if len(schemas) == 1:
            schema = schemas[0]
        elif len(tags) == len(schemas) and None not in tags:
            tag_field = next(m.tag_field for m in members if isinstance(m, kinds.StructType))
            mapping = {str(tag): target for tag, target in tags.items()}
            schema = {"oneOf": schemas, "discriminator": {"propertyName": tag_field, "mapping": mapping}}
        else:
            schema = {"anyOf": schemas}
        if not info.includes_none:
            return schema
        if isinstance(schema.get("type"), str) and "enum" not in schema and "const" not in schema:
            return {**schema, "type": [schema["type"], "null"]}
        return {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}

    def _map(self, info: kinds.DictType, view: View) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self._schema(info.value_type, view, None)}
        keys = self._schema(info.key_type, view, None)
        if keys.get("type") == "integer":
            keys = {"pattern": "^-?(0|[1-9][0-9]*)$"}
        if keys not in ({"type": "string"}, {}):
            schema["propertyNames"] = keys
        return _bounded(schema, info, minProperties="min_length", maxProperties="max_length")


class _Patched(msgspec.Struct, frozen=True):
    """Stands for the merge patch over a shape."""

    shape: Any


def component_name(shape: Any) -> str:
    """Return the name of a type as a component: ``Page[Product]`` is ``ProductPage``."""
    if isinstance(shape, _Patched):
        return f"{component_name(shape.shape)}Patch"
    origin = get_origin(shape)
    if origin is not None:
        return "".join(component_name(argument) for argument in get_args(shape)) + component_name(origin)
    return pascal(str(getattr(shape, "__name__", "Value")).rpartition(".")[2])


def as_json(value: Any) -> Any:
    """Return a value as the plain JSON that it is written as."""
    return msgspec.json.decode(msgspec.json.encode(value))


def said_besides(annotation: Any) -> Schema:
    """Return what ``Meta`` adds to the schema of a type."""
    info = info_of(annotation)
    return as_json(info.extra_json_schema or {}) if isinstance(info, kinds.Metadata) else {}


ANNOTATIONS = frozenset({"title", "description", "default", "deprecated", "examples"})
"""Keywords that say something about a value and demand nothing of it."""


def _with(schema: Schema, more: Schema) -> Schema:
    """Return a schema with further keywords.

    Beside a reference stand annotations only: many tools pass over what else is there, or over the reference itself.
    """
    if "$ref" not in schema or more.keys() <= ANNOTATIONS:
        return {**schema, **more}
    said = {name: value for name, value in more.items() if name in ANNOTATIONS}
    demanded = {name: value for name, value in more.items() if name not in ANNOTATIONS}
    return {**said, "allOf": [schema, demanded]}


def own_doc(shape: Any) -> str | None:
    """Return the first paragraph of a class's own docstring."""
    doc = vars(get_origin(shape) or shape).get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{getattr(shape, '__name__', '')}("):
        return None
    return " ".join(doc.strip().split("\n\n", 1)[0].split()) or None


def _telling_apart(shapes: list[Any]) -> dict[Any, str]:
    """Return a prefix for each of several types of one name: the parts of their modules that they do not share."""
    modules = {shape: str(getattr(getattr(shape, "shape", shape), "__module__", "")).split(".") for shape in shapes}
    shared = set.intersection(*(set(parts) for parts in modules.values()))
    prefixes = {shape: pascal("_".join(p for p in parts if p not in shared)) for shape, parts in modules.items()}
    if len(set(prefixes.values())) == len(shapes):
        return prefixes
    ordered = sorted(shapes, key=lambda s: (modules[s], str(getattr(s, "__qualname__", s))))
    return {shape: f"{prefixes[shape]}{index}" for index, shape in enumerate(ordered, 1)}


def _replaced(value: Any, targets: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(item, targets) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, targets) for item in value]
    return targets.get(value, value) if isinstance(value, str) else value


def _with_default(schema: Schema, default: Any) -> Schema:
    if default is msgspec.NODEFAULT or default is msgspec.UNSET or default is None:
        return schema
    return {**schema, "default": as_json(default)}


def _enumerated(values: list[Any], cls: type[enum.Enum] | None) -> Schema:
    texts = all(isinstance(value, str) for value in values)
    schema: Schema = {}
    if texts:
        schema["type"] = "string"
    elif _all_integers(values):
        schema |= {"type": "integer", "minimum": min(values), "maximum": max(values)}
        schema["format"] = _width(schema)
    if cls is not None and (doc := own_doc(cls)) is not None:
        schema["description"] = doc
    return {**schema, "enum": values}


def _all_integers(values: list[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _decimal(view: View, digits: Digits | None) -> Schema:
    if view == "output":
        return {"type": "string", "format": "decimal", "pattern": DECIMAL_OUT, "maxLength": 64}
    whole, scale = (digits.total - digits.scale, digits.scale) if digits is not None else (18, 18)
    fraction = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    pattern = rf"^-?(0|[1-9][0-9]{{0,{max(whole - 1, 0)}}}){fraction}$"
    limit = 10**whole
    number: Schema = {"type": "number", "format": "decimal", "exclusiveMinimum": -limit, "exclusiveMaximum": limit}
    if digits is not None:
        number["multipleOf"] = float(Decimal(1).scaleb(-scale)) if scale else 1
    text = {"type": "string", "format": "decimal", "pattern": pattern, "maxLength": max(whole, 1) + scale + 2}
    return {"anyOf": [text, number]}


def _tuple(items: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def _bounded(schema: Schema, info: Any, **members: str) -> Schema:
    for member, attribute in members.items():
        value = getattr(info, attribute, None)
        if value is not None:
            schema[member] = value
    return schema


PLAIN: dict[type[kinds.Type], Schema] = {
    kinds.NoneType: {"type": "null"},
    kinds.BoolType: {"type": "boolean"},
    kinds.DateTimeType: {"type": "string", "format": "date-time", "maxLength": 64},
    kinds.DateType: {"type": "string", "format": "date", "maxLength": 10},
    kinds.TimeType: {"type": "string", "format": "time", "maxLength": 64},
    kinds.TimeDeltaType: {"type": "string", "format": "duration", "maxLength": 64},
    kinds.UUIDType: {"type": "string", "format": "uuid", "maxLength": 36},
}
"""Types without constraints of their own. Texts with a format are bounded as well: readers size buffers by that."""

INT32 = 2**31 - 1
BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def _scalar(info: kinds.Type) -> Schema:
    if isinstance(info, kinds.IntType):
        schema = _bounded(
            {"type": "integer"},
            info,
            minimum="ge",
            maximum="le",
            exclusiveMinimum="gt",
            exclusiveMaximum="lt",
            multipleOf="multiple_of",
        )
        if "minimum" not in schema and "exclusiveMinimum" not in schema:
            schema["minimum"] = -MAX_SAFE_INTEGER
        if "maximum" not in schema and "exclusiveMaximum" not in schema:
            schema["maximum"] = MAX_SAFE_INTEGER
        return {**schema, "format": _width(schema)}
    if isinstance(info, kinds.FloatType):
        return _bounded(
            {"type": "number", "format": "double"},
            info,
            minimum="ge",
            maximum="le",
            exclusiveMinimum="gt",
            exclusiveMaximum="lt",
            multipleOf="multiple_of",
        )
    if isinstance(info, kinds.StrType):
        return _bounded({"type": "string"}, info, minLength="min_length", maxLength="max_length", pattern="pattern")
    if isinstance(info, kinds.BytesType | kinds.ByteArrayType | kinds.MemoryViewType):
        encoded: Schema = {"type": "string", "contentEncoding": "base64"}
        longest = getattr(info, "max_length", None)
        return encoded if longest is None else {**encoded, "maxLength": (longest + 2) // 3 * 4}
    return dict(PLAIN.get(type(info), {}))


def _width(schema: Schema) -> str:
    """Return the format of an integer: whether 32 bits hold every value that it can have."""
    bounds = [schema[name] for name in BOUNDS if name in schema]
    return "int32" if min(bounds) >= -INT32 and max(bounds) <= INT32 else "int64"
