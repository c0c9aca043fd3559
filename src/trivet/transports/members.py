"""Schemas as HTML: what a value looks like, member by member, with everything that is demanded of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from trivet.transports.pages import Html, code, element, items, joined, link
from trivet.transports.prose import inline

Schema = Mapping[str, Any]
PREFIX = "#/components/schemas/"
MAX_NESTED = 2
"""How many shapes inside each other are unfolded on one page; further ones are links."""

BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("multipleOf", "a multiple of {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("minProperties", "at least {} entries"),
    ("maxProperties", "at most {} entries"),
)
SELF_EVIDENT = frozenset({"date", "date-time", "time", "duration", "uuid", "decimal"})
"""Formats that say how long a text is."""

SAFE = 2**53 - 1


class Members:
    """Writes the schemas of one document.

    Args:
        components: The schemas of the document by name.
        address: Returns where the page of a component is.
    """

    def __init__(self, components: Mapping[str, Schema], address: Callable[[str], str]) -> None:
        self._components = components
        self._address = address

    def resolved(self, schema: Schema) -> Schema:
        """Return what a reference names, with what stands beside it."""
        if "$ref" not in schema:
            return schema
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return {**self._components[schema["$ref"].removeprefix(PREFIX)], **beside}

    def type_of(self, schema: Schema) -> Html:
        """Return the type of a value in a few words; a component is a link to its page."""
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(PREFIX)
            return link(self._address(name), code(name), class_="plain")
        for members in ("anyOf", "oneOf"):
            if members in schema:
                return joined((self.type_of(member) for member in schema[members]), " or ")
        if "allOf" in schema:
            return self.type_of(schema["allOf"][0])
        if "const" in schema:
            return element("code", _json(schema["const"]))
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return joined((self.type_of({**schema, "type": kind}) for kind in kinds), " or ")
        if kinds == "array" and "items" in schema and schema["items"]:
            return joined(["list of ", self.type_of(schema["items"])])
        if kinds == "object" and isinstance(schema.get("additionalProperties"), Mapping):
            return joined(["map of ", self.type_of(schema["additionalProperties"])])
        if kinds == "string" and schema.get("format"):
            return Html(str(schema["format"]))
        return Html({"string": "text", None: "anything"}.get(kinds, str(kinds)))

    def rules(self, schema: Schema) -> Iterator[str]:
        """Yield what is demanded of a value besides its type."""
        for name, said in BOUNDS:
            bound = schema.get(name)
            if bound is None or (isinstance(bound, int) and abs(bound) == SAFE):
                continue
            if name == "maxLength" and schema.get("format") in SELF_EVIDENT:
                continue
            if name.startswith("min") and name != "minimum" and bound == 1:
                yield "not empty"
            elif bound != 0 or name == "minimum":
                yield said.format(f"{bound:,}" if isinstance(bound, int) else bound)
        if "pattern" in schema and schema.get("format") != "decimal":
            yield joined(["fits ", element("code", schema["pattern"])])
        if "enum" in schema:
            yield joined(["one of ", joined((element("code", _plain(v)) for v in schema["enum"]), ", ")])
        if schema.get("default") not in (None, "", []):
            yield joined(["default ", element("code", _plain(schema["default"]))])

    def table(self, schema: Schema, depth: int = 0, *, sent: bool = True) -> Html:
        """Return the members of an object; what else it is where it is none.

        Args:
            schema: The schema.
            depth: How many objects it stands in on this page.
            sent: Whether it is for clients to send; what they get is there, unless it says otherwise.
        """
        whole = self.resolved(schema)
        parts = [self.resolved(part) for part in whole.get("allOf", ())]
        properties = {name: member for part in (*parts, whole) for name, member in part.get("properties", {}).items()}
        required = {name for part in (*parts, whole) for name in part.get("required", ())}
        if not properties:
            return self._bare(whole)
        members = (
            self.member(code_name(name), member, required=name in required, depth=depth, sent=sent)
            for name, member in properties.items()
        )
        return items(members, class_="members")

    def _bare(self, schema: Schema) -> Html:
        rules = list(self.rules(schema))
        described = [inline(schema["description"])] if schema.get("description") else []
        said = joined([self.type_of(schema), *(joined([", ", rule]) for rule in rules)])
        return element("p", joined([said, *(joined([". ", text]) for text in described)]))

    def member(
        self, name: Html, schema: Schema, *, required: bool, depth: int = 0, said: str = "", sent: bool = True
    ) -> Html:
        """Return one named value: its name, type, meaning and rules, and what is in it.

        Args:
            name: How it is called.
            schema: What it is.
            required: Whether it may be left out.
            depth: How many objects it stands in on this page.
            said: What it is for, where the schema does not say so.
            sent: Whether it is for clients to send.
        """
        parts: list[str] = [name, element("span", self.type_of(schema), class_="type")]
        if required and sent:
            parts.append(element("span", "required", class_="must"))
        elif not (required or sent):
            parts.append(element("span", "may be absent", class_="type"))
        text = schema.get("description") or said
        if text:
            parts.append(element("p", inline(text)))
        target = self._inner(schema)
        listed = schema.get("type") == "array"
        rules = list(self.rules(target if "enum" in target and not listed else schema))
        if listed:
            rules += [joined(["each ", rule]) for rule in self.rules(self.resolved(schema.get("items") or {}))]
        if rules:
            parts.append(element("p", joined(rules, ", "), class_="rules"))
        if target.get("properties") and depth < MAX_NESTED:
            summary = element("summary", f"Members of {_title(target, schema)}")
            parts.append(element("details", summary, self.table(target, depth + 1, sent=sent)))
        return joined(parts)

    def _inner(self, schema: Schema) -> Schema:
        """Return the object inside a value: itself, the items of a list, what is there when it is not null."""
        if schema.get("type") == "array":
            return self._inner(schema.get("items") or {})
        for members in ("anyOf", "oneOf", "allOf"):
            real = [member for member in schema.get(members, ()) if member != {"type": "null"}]
            if real and (members == "allOf" or len(real) == 1):
                return self._inner(real[0])
        return self.resolved(schema)


def code_name(name: str) -> Html:
    """Return the name of a member."""
    return element("span", Html(element("code", name).replace("_", "_<wbr>")), class_="name plain")


def _title(target: Schema, schema: Schema) -> str:
    described = target.get("description", "")
    if "$ref" in schema:
        return str(schema["$ref"].removeprefix(PREFIX))
    members = schema.get("anyOf", schema.get("allOf", ()))
    inner: Schema = schema.get("items") or next((member for member in members if "$ref" in member), {})
    return str(inner["$ref"].removeprefix(PREFIX)) if "$ref" in inner else described or "it"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)
