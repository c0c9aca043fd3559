"""The reference of an API as pages, rendered from its OpenAPI document: what a client reads is what tools read.

One page for each operation and each shape, so that a page costs the same however many there are. Requests can be sent
from the page of an operation, to the host that it came from and to no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from trivet.contracts.body import LINES
from trivet.contracts.sample import NoSampleError, sample
from trivet.transports.members import Members, code_name
from trivet.transports.pages import (
    Frame,
    Html,
    badge,
    block,
    code,
    element,
    items,
    joined,
    link,
    section,
)
from trivet.transports.prose import inline, prose

COLOURS = {"GET": "blue", "POST": "green", "PATCH": "amber", "PUT": "amber", "DELETE": "red", "STREAM": "violet"}
"""Of methods; the method is written too, so nothing depends on seeing them."""

STREAM = "text/event-stream"
PROBLEM = "application/problem+json"
SCHEMAS = "#/components/schemas/"


class OperationEntry:
    """One operation of a document.

    Args:
        method: The HTTP method.
        path: The path with its parameters in braces, as the document has it.
        described: What the document says about it.
    """

    def __init__(self, method: str, path: str, described: Mapping[str, Any]) -> None:
        self.method = method.upper()
        self.path = path
        self.described = described
        self.id: str = described["operationId"]
        self.tag: str = described["tags"][0]
        self.summary: str = described.get("summary", "")

    @property
    def label(self) -> str:
        """What its badge says."""
        return "STREAM" if self.streams else self.method

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return any(STREAM in answer.get("content", {}) for answer in self.described["responses"].values())

    @property
    def scopes(self) -> list[str]:
        """What a caller needs."""
        return [scope for need in self.described.get("security", ()) for scope in need.get("bearer", ())]


class Reference:
    """The pages of one document.

    Args:
        document: The OpenAPI document.
        frame: What all pages have around them.
    """

    def __init__(self, document: Mapping[str, Any], frame: Frame) -> None:
        self._document = document
        self._frame = frame
        self._components = document["components"]
        self._members = Members(self._components["schemas"], self._schema_address)
        self.operations = {
            entry.id: entry
            for path, methods in document["paths"].items()
            for method, described in methods.items()
            for entry in (OperationEntry(method, path, described),)
        }

    def page(self, name: str) -> bytes | None:
        """Return the page of this name below ``/docs``, if there is one; the empty name is the overview."""
        if not name:
            return self._overview()
        kind, _, shape = name.partition("/")
        if kind == "schemas" and shape in self._components["schemas"]:
            return self._schema(shape)
        entry = self.operations.get(name)
        return self._operation(entry) if entry is not None else None

    def entries(self, tag: str) -> list[OperationEntry]:
        """Return the operations of a module."""
        return [entry for entry in self.operations.values() if entry.tag == tag]

    def listed(self, tag: str) -> Html:
        """Return the operations of a module as a list of links."""
        return items((self._listed(entry) for entry in self.entries(tag)), class_="ops")

    def address(self, entry: OperationEntry) -> str:
        """Return where an operation is explained."""
        return f"{self._frame.root}/docs/{quote(entry.id)}"

    def _schema_address(self, name: str) -> str:
        return f"{self._frame.root}/docs/schemas/{quote(name)}"

    def _listed(self, entry: OperationEntry) -> Html:
        said = inline(entry.summary) if entry.summary else Html("")
        if entry.described.get("deprecated"):
            said = joined([said, " Deprecated."])
        shown = (badge(entry.label, COLOURS.get(entry.label, "")), code(entry.path), element("span", said))
        return link(self.address(entry), *shown)

    # -- the overview

    def _overview(self) -> bytes:
        info, tags = self._document["info"], self._document["tags"]
        groups = (
            element(
                "section",
                section(tag["name"], tag["name"], element("p", tag["description"], class_="quiet")),
                self.listed(tag["name"]),
                aria_labelledby=tag["name"],
                data_group=True,
            )
            for tag in tags
            if self.entries(tag["name"])
        )
        shapes = (link(self._schema_address(name), code(name), class_="plain") for name in self._components["schemas"])
        return self._frame.page(
            "API reference",
            element("h1", "API reference"),
            _introduction(info["description"]),
            search("Find an operation", ".ops li"),
            *groups,
            section("Shapes", "shapes", items(shapes, class_="chips")),
            here="/docs",
            side=self._side(None),
            wide=False,
        )

    def _side(self, current: OperationEntry | None) -> Html:
        """Return the navigation: all modules, and the operations of the current one."""
        parts: list[str] = []
        for tag in self._document["tags"]:
            entries = self.entries(tag["name"])
            if not entries:
                continue
            if current is None or current.tag != tag["name"]:
                parts.append(items([link(f"{self._frame.root}/docs#{tag['name']}", tag["name"])]))
                continue
            links = (
                link(
                    self.address(entry),
                    badge(entry.label, COLOURS.get(entry.label, "")),
                    element("span", entry.id.partition(".")[2].replace("_", " ")),
                    aria_current="page" if entry is current else None,
                )
                for entry in entries
            )
            parts += [element("h2", tag["name"]), items(links)]
        parts.append(items([link(f"{self._frame.root}/docs#shapes", "Shapes")]))
        summary = element("summary", "Modules and operations")
        return element("nav", element("details", summary, *parts), aria_label="Operations", class_="side")

    # -- one operation

    def _operation(self, entry: OperationEntry) -> bytes:
        described = entry.described
        parts = [
            element("p", link(f"{self._frame.root}/docs#{entry.tag}", entry.tag), f" · {entry.id}", class_="crumbs"),
            element("h1", inline(entry.summary.rstrip(".") if entry.summary else entry.id)),
            element("p", badge(entry.label, COLOURS.get(entry.label, "")), code(entry.path), class_="route"),
        ]
        if described.get("deprecated"):
            parts.append(element("p", "This operation is deprecated.", class_="note"))
        parts.append(prose(described.get("description", "")))
        body = described.get("requestBody")
        for place, title in (("path", "Path"), ("query", "Query"), ("header", "Header fields")):
            found = [p for p in described.get("parameters", ()) if p["in"] == place]
            if found:
                parts.append(section(title, place, items((self._parameter(p) for p in found), class_="members")))
        if body is not None:
            said = element("p", joined((code(name) for name in body["content"]), " or "), class_="quiet")
            schema = next(iter(body["content"].values()))["schema"]
            if LINES[0] in body["content"]:
                said = element("p", code(LINES[0]), " Each line has:", class_="quiet")
                schema = schema["contentSchema"]
            parts.append(section("Body", "body", said, self._members.table(schema)))
        parts.append(section("Answers", "answers", items(self._answers(entry), class_="answers")))
        aside = element(
            "aside",
            section("Request", "request", block(self._curl(entry), "Request", anchor="curl")),
            self._try(entry),
            *self._success_example(entry),
            aria_label="Examples",
        )
        return self._frame.page(
            entry.summary.rstrip(".") or entry.id,
            element("div", element("div", *parts), aside, class_="split"),
            here="/docs",
            side=self._side(entry),
            wide=False,
        )

    def _parameter(self, parameter: Mapping[str, Any]) -> Html:
        said = parameter.get("description", "")
        name = code_name(parameter["name"])
        return self._members.member(name, parameter["schema"], required=parameter.get("required", False), said=said)

    def _answers(self, entry: OperationEntry) -> Iterator[Html]:
        for status, written in entry.described["responses"].items():
            if status == "default":
                continue
            answer = self._resolved(written)
            if status < "400":
                yield self._success(status, answer)
            else:
                yield self._failure(status, answer)

    def _success(self, status: str, answer: Mapping[str, Any]) -> Html:
        parts = [badge(status, "green"), element("strong", answer["description"])]
        for media_type, content in answer.get("content", {}).items():
            schema = content["schema"]
            if media_type == STREAM:
                schema = schema["contentSchema"]["properties"]["data"]["contentSchema"]
                parts.append(element("span", " Each event has:", class_="quiet"))
            parts += [
                element("p", self._members.type_of(schema), class_="quiet"),
                self._members.table(schema, sent=False),
            ]
        headers = [
            self._members.member(code_name(name), self._resolved(field)["schema"], required=True, said=text, sent=False)
            for name, field in answer.get("headers", {}).items()
            for text in (self._resolved(field)["description"],)
        ]
        if headers:
            summary = element("summary", f"{len(headers)} header fields")
            parts.append(element("details", summary, items(headers, class_="members")))
        return joined(parts)

    def _failure(self, status: str, answer: Mapping[str, Any]) -> Html:
        phrase, _, _ = answer["description"].partition(": ")
        parts = [badge(status, "red" if status >= "500" else "amber"), element("strong", phrase)]
        examples = answer.get("content", {}).get(PROBLEM, {}).get("examples", {})
        reasons = []
        for reason, example in examples.items():
            shown = self._resolved(example)
            slug = reason.lower().replace("_", "-")
            reasons.append(
                joined(
                    [link(f"{self._frame.root}/problems/{slug}", code(reason), class_="plain"), " ", shown["summary"]]
                )
            )
        return joined([*parts, items(reasons, class_="reasons")])

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in node:
            return node
        _, _, kind, name = node["$ref"].split("/")
        found: Mapping[str, Any] = self._components[kind][name]
        return found

    # -- examples

    def sample(self, schema: Mapping[str, Any]) -> Any:
        """Return a value that fits a schema, ``None`` where none is known."""
        try:
            return sample(schema, lambda name: self._components["schemas"][name.removeprefix(SCHEMAS)])
        except NoSampleError:
            return None

    def body_example(self, entry: OperationEntry) -> str | None:
        """Return a body that the operation takes, ``None`` where it takes none."""
        body = entry.described.get("requestBody")
        if body is None:
            return None
        content = next(iter(body["content"].values()))
        if LINES[0] in body["content"]:
            return msgspec.json.encode(self.sample(content["schema"]["contentSchema"])).decode()
        examples = [example["value"] for example in content.get("examples", {}).values()]
        value = examples[0] if examples else self.sample(content["schema"])
        if not value and entry.method == "PATCH":
            value = self._patch_example(content["schema"])
        return _pretty(value)

    def _patch_example(self, schema: Mapping[str, Any]) -> Any:
        members = self._members.resolved(schema).get("properties", {})
        for name, member in members.items():
            value = self.sample(member)
            if isinstance(value, str | int):
                return {name: value}
        return {}

    def _curl(self, entry: OperationEntry) -> str:
        """Return how the operation is called from a command line; the script makes it follow the form."""
        options = "-N " * entry.streams + ("" if entry.method == "GET" else f"-X {entry.method} ")
        lines = [f"curl {options}'{self._frame.root}{entry.path}'"]
        if entry.streams:
            lines.append(f"  -H 'Accept: {STREAM}'")
        body = self.body_example(entry)
        if body is not None:
            media_type = next(iter(entry.described["requestBody"]["content"]))
            lines += [f"  -H 'Content-Type: {media_type}'", f"  -d '{body}'"]
        return " \\\n".join(lines)

    def _success_example(self, entry: OperationEntry) -> Iterator[Html]:
        for status, written in entry.described["responses"].items():
            answer = self._resolved(written)
            content = answer.get("content", {})
            if status.startswith("2") and "application/json" in content:
                media = content["application/json"]
                examples = [example["value"] for example in media.get("examples", {}).values()]
                value = examples[0] if examples else self.sample(media["schema"])
                if value is not None:
                    shown = block(_pretty(value), f"Answer {status}", language="json")
                    yield section(f"Answer {status}", "example", shown)
                return

    # -- trying it

    def _try(self, entry: OperationEntry) -> Html:
        """Return the form that sends a request; it shows when the script that can do so runs."""
        fields = [self._field(parameter) for parameter in entry.described.get("parameters", ())]
        body = self.body_example(entry)
        media_type = next(iter(entry.described["requestBody"]["content"])) if body is not None else None
        if body is not None:
            label = element("label", "Body", for_="try-body")
            fields.append(
                element("div", label, element("textarea", body, id="try-body", spellcheck="false"), class_="field")
            )
        if entry.scopes:
            hint = element("small", " not kept; leave it out on a development server")
            label = element("label", "Bearer token", hint, for_="try-token")
            box = _input(id="try-token", name="token", type="password", autocomplete="off")
            fields.append(element("div", label, box, class_="field"))
        result = element(
            "div",
            element("p", role="status"),
            element(
                "pre", element("code", data_part="body"), tabindex="0", role="region", aria_label="Body of the answer"
            ),
            element(
                "details",
                element("summary", "Header fields"),
                element(
                    "pre",
                    element("code", data_part="fields"),
                    tabindex="0",
                    role="region",
                    aria_label="Header fields of the answer",
                ),
            ),
            class_="result",
            hidden=True,
        )
        return element(
            "form",
            element("h2", "Try it", id="try"),
            *fields,
            element("button", "Send", type="submit", class_="button first"),
            result,
            class_="try",
            hidden=True,
            aria_labelledby="try",
            autocomplete="off",
            data_method=entry.method,
            data_path=f"{self._frame.root}{entry.path}",
            data_type=media_type,
            data_accept=STREAM if entry.streams else "application/json",
        )

    def _field(self, parameter: Mapping[str, Any]) -> Html:
        name, place = parameter["name"], parameter["in"]
        schema = self._members.resolved(parameter["schema"])
        marks: list[str] = [name]
        if parameter.get("required"):
            marks.append(element("small", " required"))
        if schema.get("type") == "array":
            marks.append(element("small", " several, separated by commas"))
        label = element("label", *marks, for_=f"try-{name}")
        required = bool(parameter.get("required"))
        if "enum" in schema:
            options = (element("option", str(value), value=str(value)) for value in schema["enum"])
            empty = () if required else (element("option", "", value=""),)
            box = element("select", *empty, *options, id=f"try-{name}", name=name, data_in=place)
        else:
            hint = "true or false" if schema.get("type") == "boolean" else str(schema.get("default", "") or "")
            listed = "each" if schema.get("type") == "array" and parameter.get("explode") else None
            box = _input(
                id=f"try-{name}",
                name=name,
                data_in=place,
                data_list=listed,
                required=required,
                placeholder=hint or None,
                spellcheck="false",
            )
        return element("div", label, box, class_="field")

    # -- one shape

    def _schema(self, name: str) -> bytes:
        schema = self._components["schemas"][name]
        used = [entry for entry in self.operations.values() if _mentions(entry.described, f"{SCHEMAS}{name}")]
        value = self.sample(schema)
        parts = [
            element("p", link(f"{self._frame.root}/docs#shapes", "Shapes"), class_="crumbs"),
            element("h1", name),
            prose(schema.get("description", "")),
            self._members.table({**schema, "description": ""}, sent="additionalProperties" in schema),
        ]
        if used:
            parts.append(section("Used by", "used", items((self._listed(entry) for entry in used), class_="ops")))
        example = section("Example", "example", block(_pretty(value), "Example", language="json")) if value else ""
        return self._frame.page(
            name,
            element(
                "div",
                element("div", *parts),
                element("aside", example, aria_label="Example") if example else "",
                class_="split",
            ),
            here="/docs",
            side=self._side(None),
            wide=False,
        )


def search(label: str, rows: str) -> Html:
    """Return a box that finds rows of the page; it shows when the script that can do so runs.

    Args:
        label: What is looked for.
        rows: A selector of what is shown or hidden.
    """
    return element(
        "div",
        element("label", label, for_="find"),
        _input(id="find", type="search", data_find=rows, aria_describedby="found", class_="find", autocomplete="off"),
        element("p", id="found", role="status", class_="quiet"),
        class_="field",
        hidden=True,
    )


def _introduction(description: str) -> Html:
    said, heading, conventions = description.partition("## ")
    title, _, rest = conventions.partition("\n")
    parts = [prose(said)]
    if heading:
        parts.append(element("details", element("summary", title), prose(rest)))
    return joined(parts)


def _input(**attributes: str | bool | None) -> Html:
    return Html(element("input", **attributes).removesuffix("</input>"))


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _mentions(node: Any, reference: str) -> bool:
    if isinstance(node, Mapping):
        return any(value == reference or _mentions(value, reference) for value in node.values())
    return isinstance(node, list) and any(_mentions(value, reference) for value in node)
