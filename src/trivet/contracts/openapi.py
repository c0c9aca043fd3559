"""The OpenAPI 3.1 document of an API: every constraint, example and declared error, the same bytes for the same app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from trivet.blobs.rows import MEDIA_TYPES
from trivet.contracts.body import Body, body_of
from trivet.contracts.expansion import Expansions, expansions_of
from trivet.contracts.failures import Failures, problem_schemas
from trivet.contracts.fields import RANGE_MAX, TAGS_MAX, components, fields
from trivet.contracts.information import information, security_scheme, servers, tags
from trivet.contracts.jobs import FILE_PATH, get_job, writes_files
from trivet.contracts.jobs import jobs as platform_jobs
from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.problem import (
    BodyTooLarge,
    HeadersTooLarge,
    MalformedPath,
    NotAcceptable,
    RangeNotSatisfiable,
    UnsupportedContentCoding,
    UnsupportedMediaType,
    UrlTooLong,
)
from trivet.contracts.result import Form
from trivet.contracts.schema import Schema, Schemas, as_json
from trivet.contracts.subject import is_page_request
from trivet.core.declaration import Example, Kind
from trivet.core.error import (
    DeadlineExceeded,
    Error,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
)
from trivet.core.job import JobStatus
from trivet.core.page import PageRequest
from trivet.core.precondition import PreconditionFailed, PreconditionRequired
from trivet.core.shape import Struct
from trivet.core.signature import Parameter
from trivet.core.typeinfo import fields_of
from trivet.messaging.position import PositionExpired, PositionUnknown

PAGING = "`next_page_token` of the page before, with the same arguments."
BODY_MAX = 1024 * 1024
POSITION_MAX = 4096

EXAMPLE_TAG = '"7-5f1c03aa"'
TAG = r'[ \t]*((W/)?"[!#-~]*"[ \t]*)?'
TAGS = rf"^([ \t]*\*[ \t]*|{TAG}(,{TAG})*)$"
"""A list of entity tags, or ``*`` for all of them (RFC 9110 section 13.1.1)."""


class Versions(Struct):
    """Which operations know the versions of rows, by their ids.

    Attributes:
        answered: They answer with a row and its version.
        compared: They change a row, and compare its version with the one that the caller names.
    """

    answered: frozenset[str] = frozenset()
    compared: frozenset[str] = frozenset()


def document(
    api: Api,
    version: str | None = None,
    *,
    forbidden: type[Error] = PermissionDenied,
    server: str = "/",
    environment: str = "production",
    body_max: int = BODY_MAX,
    credentials_optional: bool = False,
    versions: Versions | None = None,
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of everything the app serves over REST.

    Args:
        api: The model of the app.
        version: Version of the whole; the only module's own where there is one, else ``1.0.0``.
        forbidden: What a caller without the needed scope is answered.
        server: Where the app is served, relative to the document's own origin.
        environment: What kind of server that is.
        body_max: Bytes of a body at most.
        credentials_optional: Whether callers without credentials are the developer, as under ``trivet dev``.
        versions: Which operations know the versions of rows.
    """
    own = api.modules[0].version if len(api.modules) == 1 else "1.0.0"
    whole = _Operations(api, forbidden, credentials_optional, versions or Versions()).resolved()
    described = {
        "openapi": "3.1.0",
        "info": information(api, version or own),
        "servers": servers(api, server, environment),
        "tags": tags(api),
        "paths": whole["paths"],
        "components": {
            "schemas": dict(sorted({**whole["schemas"], **problem_schemas(body_max)}.items())),
            "responses": whole["responses"],
            "examples": whole["examples"],
            "headers": {},
            "securitySchemes": {"bearer": security_scheme(credentials_optional)},
        },
    }
    described["components"]["headers"] = components(msgspec.json.encode(described).decode())
    return described


class _Operations:
    """The operations of one document, and the components that they refer to."""

    def __init__(self, api: Api, forbidden: type[Error], credentials_optional: bool, versions: Versions) -> None:
        self.api = api
        self.versions = versions
        self.forbidden = forbidden
        self.no_credentials: list[dict[str, Any]] = [{}] if credentials_optional else []
        self.schemas = Schemas(api.edges)
        self.failures = Failures(self.schemas)

    def resolved(self) -> dict[str, Any]:
        """Return paths, schemas, responses and examples, with all references written out."""
        paths: dict[str, dict[str, Any]] = {}
        for op in self.api.operations:
            paths.setdefault(op.path, {})[op.face.method.lower()] = self._operation(op)
            if op.operation is get_job and writes_files(self.api.modules):
                paths[FILE_PATH] = {"get": self._file(op)}
        failures = self.failures
        whole, schemas = self.schemas.resolve({"paths": dict(sorted(paths.items())), "problems": failures.problems()})
        return {
            "paths": whole["paths"],
            "schemas": {**schemas, **whole["problems"]},
            "responses": dict(sorted(failures.responses.items())),
            "examples": dict(sorted(failures.examples.items())),
        }

    def _file(self, op: ApiOperation) -> dict[str, Any]:
        """Return the operation that sends the file of a job; who may have it is who may ask for the job's status."""
        headers = fields(("ETag", "Accept-Ranges", "Content-Disposition"))
        content = {kind.partition(";")[0]: {"schema": _bytes(kind)} for kind in MEDIA_TYPES.values()}
        of_part = {"headers": {**headers, **fields(("Content-Range",))}, "content": content}
        held = {"description": "Not Modified: the caller has it already.", "headers": fields(("ETag",))}
        errors = [*self._possible(op, None), PreconditionFailed, RangeNotSatisfiable]
        asked = {
            "name": "Range",
            "in": "header",
            "description": "One range of bytes, such as `bytes=1000-`; what is no single range is passed over.",
            "schema": {"type": "string", "maxLength": RANGE_MAX},
        }
        return {
            "operationId": f"{op.id}_file",
            "tags": [op.module.name],
            "summary": "Fetch the file that a job wrote.",
            "description": "Its `path` is in the result of the job. It can be fetched in parts, until it expires.",
            "parameters": [*self._path_parameters(op), *self._conditions(op), asked],
            "responses": {
                "200": {"description": "The file.", "headers": headers, "content": content},
                "206": {"description": "Partial Content: the range that was asked for.", **of_part},
                "304": held,
                **self.failures.of(op, errors, ()),
            },
            "security": self._security(op),
        }

    # -- one operation

    def _operation(self, op: ApiOperation) -> dict[str, Any]:
        declared = op.operation.declaration
        body = body_of(op)
        written: dict[str, Any] = {"operationId": op.id, "tags": [op.module.name]}
        if op.summary:
            written["summary"] = op.summary
        written["description"] = _description(op)
        if declared.deprecated is not None:
            written["deprecated"] = True
        parameters = [*self._path_parameters(op), *self._query_parameters(op), *self._conditions(op)]
        if parameters:
            written["parameters"] = parameters
        if body is not None:
            written["requestBody"] = self._request_body(op, body)
        written["responses"] = {
            **self._success(op),
            **self.failures.of(op, self._possible(op, body), _notices(op)),
        }
        written["security"] = self._security(op)
        return written

    def _security(self, op: ApiOperation) -> list[dict[str, Any]]:
        """Return what callers need; a job is found with the credentials that it was asked for with, if with any."""
        if op.module is platform_jobs:
            return [{}, {"bearer": []}]
        scopes = list(op.operation.declaration.access.scopes)
        return [*self.no_credentials, {"bearer": scopes}] if scopes else []

    def _path_parameters(self, op: ApiOperation) -> Iterator[Schema]:
        for parameter in op.parameters(op.face.path_parameters):
            schema = self.schemas.text(parameter.type)
            if schema.get("type") == "string" and not {"format", "enum", "minLength"} & schema.keys():
                schema = {**schema, "minLength": 1}
            yield {"name": parameter.name, "in": "path", "required": True, "schema": schema}

    def _conditions(self, op: ApiOperation) -> Iterator[Schema]:
        if op.operation.kind is Kind.STREAM and not op.operation.takes:
            yield {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "The `id` of the last event that the caller has: the stream goes on after it.",
                "schema": {"type": "string", "format": "stream-position", "maxLength": POSITION_MAX},
            }
        elif op.reads:
            yield {
                "name": "If-None-Match",
                "in": "header",
                "description": "Entity tags that the caller has: answered with 304 where one of them is still right.",
                "schema": {"type": "string", "format": "entity-tags", "maxLength": TAGS_MAX},
                "example": EXAMPLE_TAG,
            }
        elif op.id in self.versions.compared:
            yield {
                "name": "If-Match",
                "in": "header",
                "required": op.operation.declaration.precondition == "required",
                "description": "Entity tags that the change may be made from: answered with 412 where none is right.",
                "schema": {"type": "string", "pattern": TAGS, "maxLength": TAGS_MAX},
                "example": EXAMPLE_TAG,
            }

    def _query_parameters(self, op: ApiOperation) -> Iterator[Schema]:
        for parameter in op.parameters(op.face.query_parameters):
            if is_page_request(parameter.type):
                for field in fields_of(PageRequest):
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
        schema = self.schemas.of(body.type, "input")
        if op.operation.takes:
            return {"required": True, "content": {body.media_types[0]: {"schema": _lines(body, schema)}}}
        content: dict[str, Any] = {"schema": schema}
        examples = {name: {"value": as_json(_body_example(body, example.arguments))} for name, example in _examples(op)}
        if examples:
            content["examples"] = examples
        return {"required": body.required, "content": dict.fromkeys(body.media_types, content)}

    # -- responses

    def _success(self, op: ApiOperation) -> dict[str, Any]:
        headers = fields(_notices(op))
        status = str(op.face.status)
        if op.operation.kind is Kind.JOB:
            headers = fields(("Location", *_notices(op)))
            content = _json(self.schemas.of(JobStatus, "output"))
            return {status: {"description": "Accepted; it runs later.", "headers": headers, "content": content}}
        if op.operation.kind is Kind.STREAM:
            item = self.schemas.of(op.signature.result, "output")
            content = {"text/event-stream": {"schema": _events(item)}}
            return {status: {"description": "Items as they come.", "headers": headers, "content": content}}
        if op.result.form is Form.NOTHING:
            return {status: {"description": "Done.", "headers": headers}}
        headers = fields(
            (
                *(("ETag",) if op.reads or op.id in self.versions.answered else ()),
                *(("Last-Modified",) if op.reads and op.id in self.versions.answered else ()),
                *(("Location",) if op.face.status == 201 else ()),
                *(("Data-Age",) if op.reads and op.module.views else ()),
                *_notices(op),
            )
        )
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
            responses["204"] = {"description": "There is none.", "headers": fields(_notices(op))}
        if op.reads:
            responses["304"] = {
                "description": "Not Modified: the caller has it already.",
                "headers": fields(("ETag", *_notices(op))),
            }
        return responses

    def _result_schema(self, op: ApiOperation) -> Schema:
        result = op.result
        if result.form is Form.LIST:
            items = self.schemas.of(op.result.type, "output")
            asked = op.signature.parameter("ids") if op.face.standard == "batch_get" else None
            if asked is not None and "maxItems" in (wanted := self.schemas.of(asked.type, "input")):
                items = {**items, "maxItems": wanted["maxItems"]}  # one for each id
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
            errors += [BodyTooLarge, UnsupportedMediaType, UnsupportedContentCoding]
        if op.id in self.versions.compared:
            errors += [PreconditionFailed]
            if op.operation.declaration.precondition == "required":
                errors += [PreconditionRequired]
        if op.operation.declaration.limits:
            errors += [QuotaExceeded]
        errors += [NotAcceptable, UrlTooLong, HeadersTooLarge, Internal, Unavailable]
        resumes = op.operation.kind is Kind.STREAM and not op.operation.takes
        errors += [PositionUnknown, PositionExpired] if resumes else [DeadlineExceeded]
        return list(dict.fromkeys(errors))


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _bytes(media_type: str) -> Schema:
    """Return the schema of a file. It has no bound that a document could know, so it is no bounded text."""
    return {"description": f"A file: {media_type}.", "contentMediaType": media_type.partition(";")[0]}


def _events(item: Schema) -> Schema:
    """Return the schema of a stream. It has no length, so it is no bounded text; OpenAPI 3.1 can say what is in it."""
    return {
        "description": "Server-sent events; the schema of the content is that of one of them.",
        "contentMediaType": "text/event-stream",
        "contentSchema": {
            "type": "object",
            "properties": {
                "id": {
                    "type": "string",
                    "maxLength": POSITION_MAX,
                    "description": "Where to resume: send `Last-Event-ID`.",
                },
                "event": {"const": "error", "description": "Where the stream failed; its data is a problem document."},
                "data": {"contentMediaType": "application/json", "contentSchema": item},
            },
            "required": ["data"],
        },
    }


def _lines(body: Body, item: Schema) -> Schema:
    """Return the schema of items that come in; like a stream, they have no length."""
    return {
        "description": "Any number of items, each as JSON on a line of its own; the schema of the content is one's.",
        "contentMediaType": body.media_types[0],
        "contentSchema": item,
    }


def _notices(op: ApiOperation) -> list[str]:
    """Return the header fields with which every answer of a deprecated operation says so."""
    notice = op.operation.declaration.deprecated
    if notice is None:
        return []
    return ["Deprecation"] + ["Sunset"] * (notice.sunset is not None) + ["Link"] * bool(notice.link)


def _description(op: ApiOperation) -> str:
    """Return what stands below the summary: the rest of the docstring, who may call, what to use instead."""
    declared = op.operation.declaration
    scopes = declared.access.scopes
    needed = " and ".join(f"`{scope}`" for scope in scopes)
    said = [
        op.operation.doc.partition("\n")[2].strip(),
        f"Needs the scope{'s' * (len(scopes) > 1)} {needed}." if scopes else "Open to everyone.",
    ]
    if declared.deprecated is not None and declared.deprecated.use is not None:
        said.append(f"Deprecated; use {declared.deprecated.use}.")
    return "\n\n".join(filter(None, said))


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
