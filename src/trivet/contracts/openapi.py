"""The OpenAPI 3.1 document of an API: every constraint, example and declared error, the same bytes for the same app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trivet.contracts.body import Body, body_of
from trivet.contracts.expansion import Expansions, expansions_of
from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.problem import (
    PHRASES,
    SERVER_FAULTS,
    BodyTooLarge,
    HeadersTooLarge,
    MalformedPath,
    NotAcceptable,
    UnsupportedMediaType,
    UrlTooLong,
    slug_of,
    status_of,
)
from trivet.contracts.result import Form
from trivet.contracts.schema import Schema, Schemas, as_json
from trivet.contracts.subject import is_page_request
from trivet.core.declaration import Example, Kind
from trivet.core.error import (
    Code,
    DeadlineExceeded,
    Error,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Violation,
)
from trivet.core.job import JobStatus
from trivet.core.naming import pascal
from trivet.core.page import PageRequest
from trivet.core.signature import Parameter

PAGING = "`next_page_token` of the page before, with the same arguments."
EXAMPLE_REQUEST_ID = "0198c1f2-1"

PROBLEM: Schema = {
    "type": "object",
    "description": "An error (RFC 9457). Its own fields stand beside these members.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Where this kind of error is explained."},
        "title": {"type": "string", "description": "What this kind of error means."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What was wrong this time."},
        "instance": {"type": "string", "format": "uri", "description": "The request, by its id."},
        "code": {"type": "string", "enum": sorted(code.name.lower() for code in Code)},
        "reason": {"type": "string", "description": "Stable name of this kind of error.", "pattern": "^[A-Z0-9_]+$"},
        "errors": {
            "type": "array",
            "description": "Everything that is wrong with the input.",
            "items": {
                "type": "object",
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string", "description": "JSON pointer to a member, or `#/` and a parameter."},
                },
                "required": ["detail", "pointer"],
            },
        },
    },
    "required": ["type", "title", "status", "instance", "code", "reason"],
}

REQUEST_ID: Schema = {
    "description": "Names the request in logs; taken from the request if it has one.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}


def document(
    api: Api,
    version: str | None = None,
    *,
    forbidden: type[Error] = PermissionDenied,
    server: str = "/",
    credentials_optional: bool = False,
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of everything the app serves over REST.

    Args:
        api: The model of the app.
        version: Version of the whole; the only module's own where there is one, else ``1.0.0``.
        forbidden: What a caller without the needed scope is answered.
        server: Where the app is served, relative to the document's own origin.
        credentials_optional: Whether callers without credentials are the developer, as under ``trivet dev``.
    """
    return _Document(api, forbidden, credentials_optional).build(version, server)


class _Document:
    """One document being written."""

    def __init__(self, api: Api, forbidden: type[Error], credentials_optional: bool) -> None:
        self.api = api
        self.forbidden = forbidden
        self.no_credentials: list[dict[str, Any]] = [{}] if credentials_optional else []
        self.schemas = Schemas(api.edges)
        self.errors: dict[str, type[Error]] = {}
        self.responses: dict[str, dict[str, Any]] = {}

    def build(self, version: str | None, server: str) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for op in self.api.operations:
            paths.setdefault(op.path, {})[op.face.method.lower()] = self._operation(op)
        error_schemas = {_problem_name(error): self._problem(error) for _, error in sorted(self.errors.items())}
        whole, components = self.schemas.resolve(
            {"paths": {path: paths[path] for path in sorted(paths)}, "problems": error_schemas}
        )
        modules = sorted({op.module for op in self.api.operations} | {*self.api.modules}, key=lambda m: m.name)
        if version is None:
            version = self.api.modules[0].version if len(self.api.modules) == 1 else "1.0.0"
        return {
            "openapi": "3.1.0",
            "info": {"title": self.api.name, "version": version},
            "servers": [{"url": server}],
            "tags": [
                {"name": m.name, "description": f"Contract {m.version}" + (f", {m.owner}" if m.owner else "")}
                for m in modules
            ],
            "paths": whole["paths"],
            "components": {
                "schemas": dict(sorted({**components, **whole["problems"], "Problem": PROBLEM}.items())),
                "responses": {name: self.responses[name] for name in sorted(self.responses)},
                "headers": {"RequestId": REQUEST_ID},
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }

    # -- one operation

    def _operation(self, op: ApiOperation) -> dict[str, Any]:
        declared = op.operation.declaration
        body = body_of(op)
        written: dict[str, Any] = {"operationId": op.id, "tags": [op.module.name]}
        if op.summary:
            written["summary"] = op.summary
        if "\n" in op.operation.doc:
            written["description"] = op.operation.doc
        if declared.deprecated is not None:
            written["deprecated"] = True
            if declared.deprecated.use is not None:
                instead = f"Deprecated; use {declared.deprecated.use}."
                written["description"] = f"{op.operation.doc}\n\n{instead}" if op.operation.doc else instead
        parameters = [*self._path_parameters(op), *self._query_parameters(op)]
        if parameters:
            written["parameters"] = parameters
        if body is not None:
            written["requestBody"] = self._request_body(op, body)
        written["responses"] = {
            **self._success(op),
            **self._failures(op, self._possible(op, body)),
        }
        scopes = list(declared.access.scopes)
        written["security"] = [*self.no_credentials, {"bearer": scopes}] if scopes else []
        return written

    def _path_parameters(self, op: ApiOperation) -> Iterator[Schema]:
        for parameter in op.parameters(op.face.path_parameters):
            schema = self.schemas.text(parameter.type)
            if schema.get("type") == "string" and not {"format", "enum", "minLength"} & schema.keys():
                schema = {**schema, "minLength": 1}
            yield {"name": parameter.name, "in": "path", "required": True, "schema": schema}

    def _query_parameters(self, op: ApiOperation) -> Iterator[Schema]:
        for parameter in op.parameters(op.face.query_parameters):
            if is_page_request(parameter.type):
                for field in msgspec.structs.fields(PageRequest):
                    schema = self.schemas.text(field.type)
                    if field.name == "page_token":
                        schema = {**schema, "format": "page-token", "description": PAGING}
                    yield {"name": field.encode_name, "in": "query", "schema": schema}
            else:
                yield self._query_parameter(parameter)
        paths = expansions_of(self.api, op.result)
        if paths:
            yield _expand_parameter(paths)

    def _query_parameter(self, parameter: Parameter) -> Schema:
        schema = self.schemas.text(parameter.type)
        written: Schema = {"name": parameter.name, "in": "query"}
        if parameter.required:
            written["required"] = True
        elif parameter.default is not None and "$ref" not in schema:
            schema = {**schema, "default": as_json(parameter.default)}
        written["schema"] = schema
        if schema.get("type") == "array":
            written |= {"style": "form", "explode": True}
        return written

    def _request_body(self, op: ApiOperation, body: Body) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self.schemas.of(body.type, "input")}
        examples = {name: {"value": as_json(_body_example(body, example.arguments))} for name, example in _examples(op)}
        if examples:
            content["examples"] = examples
        return {"required": body.required, "content": dict.fromkeys(body.media_types, content)}

    # -- responses

    def _success(self, op: ApiOperation) -> dict[str, Any]:
        headers: dict[str, Any] = {"Request-Id": {"$ref": "#/components/headers/RequestId"}, **_notices(op)}
        status = str(op.face.status)
        if op.operation.kind is Kind.JOB:
            headers["Location"] = _location("Where the job's status is found.")
            content = _json(self.schemas.of(JobStatus, "output"))
            return {status: {"description": "Accepted; it runs later.", "headers": headers, "content": content}}
        if op.operation.kind is Kind.STREAM:
            item = self.schemas.of(op.signature.result, "output")
            events = {"schema": {"type": "string", "description": "Server-sent events."}, "x-item-schema": item}
            content = {"text/event-stream": events}
            return {status: {"description": "Items as they come.", "headers": headers, "content": content}}
        if op.result.form is Form.NOTHING:
            return {status: {"description": "Done.", "headers": headers}}
        if op.face.status == 201:
            headers["Location"] = _location("Where the new one is found.")
        schema = self._result_schema(op)
        media: dict[str, Any] = {"schema": schema}
        examples = {
            name: {"value": as_json(example.result)} for name, example in _examples(op) if example.result is not None
        }
        if examples:
            media["examples"] = examples
        responses = {
            status: {"description": "Done.", "headers": headers, "content": {"application/json": media}},
        }
        if op.result.optional:
            responses["204"] = {"description": "There is none.", "headers": headers}
        return responses

    def _result_schema(self, op: ApiOperation) -> Schema:
        result = op.result
        if result.form is Form.LIST:
            items = self.schemas.of(op.result.type, "output")
            return {"type": "object", "properties": {"items": items}, "required": ["items"]}
        if result.form is Form.VALUE:
            value = self.schemas.of(result.item, "output")
            return {"type": "object", "properties": {"value": value}, "required": ["value"]}
        return self.schemas.of(op.result.type if result.form is Form.PAGE else result.item, "output")

    def _possible(self, op: ApiOperation, body: Body | None) -> list[type[Error]]:
        """Return every error that the operation can be answered with, the declared ones first."""
        errors: list[type[Error]] = [*op.errors, InvalidArgument]
        expansions = expansions_of(self.api, op.result).paths.values()
        if op.operation.declaration.access.scopes or any(e.edge.access.scopes for edges in expansions for e in edges):
            errors += [self.forbidden]
        errors += [Unauthenticated]
        if op.face.path_parameters:
            errors += [NotFound, MalformedPath]
        if body is not None:
            errors += [BodyTooLarge, UnsupportedMediaType]
        errors += [NotAcceptable, UrlTooLong, HeadersTooLarge, Internal, Unavailable]
        if op.operation.kind is not Kind.STREAM:
            errors += [DeadlineExceeded]
        return list(dict.fromkeys(errors))

    def _failures(self, op: ApiOperation, errors: Sequence[type[Error]]) -> dict[str, Any]:
        by_status: dict[int, list[type[Error]]] = {}
        for error in errors:
            by_status.setdefault(status_of(error), []).append(error)
        notices = _notices(op)
        return {
            str(status): (
                self._failure(status, found, notices)
                if notices or set(found) & set(op.errors)
                else self._shared(status, found)
            )
            for status, found in sorted(by_status.items())
        }

    def _shared(self, status: int, errors: Sequence[type[Error]]) -> dict[str, Any]:
        """Return a reference to a response that many operations have: what the platform itself answers."""
        name = "Or".join(pascal(error.reason.lower()) for error in errors)
        if name not in self.responses:
            self.responses[name] = self._failure(status, errors, {})
        return {"$ref": f"#/components/responses/{name}"}

    def _failure(self, status: int, errors: Sequence[type[Error]], notices: Schema) -> dict[str, Any]:
        headers: dict[str, Any] = {"Request-Id": {"$ref": "#/components/headers/RequestId"}, **notices}
        if status == 401:
            headers["WWW-Authenticate"] = {"schema": {"type": "string"}, "description": "Bearer (RFC 6750)."}
        if status in (429, 503):
            headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds to wait."}
        if status == 415:
            headers["Accept"] = {"schema": {"type": "string"}, "description": "Formats that are read (RFC 9110)."}
        reasons = ", ".join(f"`{error.reason}`" for error in errors)
        return {
            "description": f"{PHRASES.get(status, 'Error')}: {reasons}",
            "headers": headers,
            "content": {
                "application/problem+json": {
                    "schema": self._failure_schema(errors),
                    "examples": {error.reason: {"value": problem_example(error)} for error in errors},
                }
            },
        }

    def _failure_schema(self, errors: Sequence[type[Error]]) -> Schema:
        own = [error for error in errors if _own_fields(error)]
        if not own:
            return {"$ref": "#/components/schemas/Problem"}
        for error in own:
            self.errors[error.reason] = error
        refs = [{"$ref": f"#/components/schemas/{_problem_name(error)}"} for error in own]
        if len(own) < len(errors):
            refs.append({"$ref": "#/components/schemas/Problem"})
        return refs[0] if len(refs) == 1 else {"anyOf": refs}

    def _problem(self, error: type[Error]) -> Schema:
        fields = _own_fields(error)
        properties: Schema = {"reason": {"const": error.reason}}
        properties |= {field.encode_name: self.schemas.of(field.type, "output") for field in fields}
        return {
            "description": error.message,
            "allOf": [{"$ref": "#/components/schemas/Problem"}],
            "type": "object",
            "properties": properties,
            "required": ["reason", *(field.encode_name for field in fields)],
        }


def _problem_name(error: type[Error]) -> str:
    return f"{pascal(error.reason.lower())}Problem"


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _notices(op: ApiOperation) -> Schema:
    """Return the header fields with which every answer of a deprecated operation says so."""
    notice = op.operation.declaration.deprecated
    if notice is None:
        return {}
    said = {"Deprecation": "Since when (RFC 9745)."}
    if notice.sunset is not None:
        said["Sunset"] = "When it is no longer served (RFC 8594)."
    if notice.link:
        said["Link"] = 'With `rel="deprecation"`: what to do instead.'
    return {name: {"schema": {"type": "string"}, "description": text} for name, text in said.items()}


def _location(description: str) -> Schema:
    return {"schema": {"type": "string", "format": "uri-reference"}, "description": description}


def _expand_parameter(expansions: Expansions) -> Schema:
    names = sorted(expansions.paths)
    return {
        "name": "expand",
        "in": "query",
        "description": "Related things to put into the answer, separated by commas.",
        "style": "form",
        "explode": False,
        "schema": {
            "type": "array",
            "minItems": 1,
            "maxItems": expansions.limit,
            "items": {"type": "string", "enum": names},
        },
    }


def _examples(op: ApiOperation) -> Iterator[tuple[str, Example]]:
    for index, example in enumerate(op.operation.declaration.examples, 1):
        yield example.summary or f"example {index}", example


def _body_example(body: Body, arguments: Mapping[str, Any]) -> Any:
    if body.parameter is not None:
        return arguments.get(body.parameter)
    names = {parameter.name for parameter in body.parameters}
    return {name: value for name, value in arguments.items() if name in names}


def _own_fields(error: type[Error]) -> list[msgspec.structs.FieldInfo]:
    apart = ("detail", "violations", "retry_after")
    return [field for field in msgspec.structs.fields(error.shape) if field.encode_name not in apart]


def problem_example(error: type[Error]) -> dict[str, Any]:
    """Return what an error of this class looks like, without its own fields."""
    shown: dict[str, Any] = {
        "type": f"/problems/{slug_of(error)}",
        "title": error.message,
        "status": status_of(error),
        "instance": f"urn:request:{EXAMPLE_REQUEST_ID}",
        "code": error.code.name.lower(),
        "reason": error.reason,
    }
    if error is InvalidArgument:
        shown["errors"] = [as_json(Violation(detail="is required", pointer="#/name"))]
    if error.code in SERVER_FAULTS:
        shown.pop("detail", None)
    return shown
