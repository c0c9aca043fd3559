"""Errors in an OpenAPI document: the problem schema, one response for each status, one example for each reason."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from trivet.contracts.fields import fields
from trivet.contracts.model import ApiOperation
from trivet.contracts.problem import PHRASES, slug_of, status_of
from trivet.contracts.sample import NoSampleError, sample
from trivet.contracts.schema import Schema, Schemas, as_json
from trivet.core.checks import MAX_VIOLATIONS
from trivet.core.error import RENDERED_APART, Code, Error, InvalidArgument, Violation
from trivet.core.naming import pascal
from trivet.core.typeinfo import fields_of

EXAMPLE_REQUEST_ID = "0198c1f2-1"

BY_STATUS: dict[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    415: ("Accept", "Accept-Encoding"),
    416: ("Content-Range",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
"""Header fields that answers of a status have."""


def problem_schemas(body_max: int) -> dict[str, Schema]:
    """Return the schema that every error has (RFC 9457), and that of one thing that is wrong.

    Args:
        body_max: Bytes of a body at most: what is wrong may be the name of a member, and is quoted.
    """
    quoted = {"type": "string", "maxLength": 2 * body_max + 1024}
    violation: Schema = {
        "type": "object",
        "description": "One thing that is wrong with the input.",
        "properties": {
            "detail": {**quoted, "description": "What is wrong."},
            "pointer": {**quoted, "description": "JSON pointer to a member, or `#/` and a parameter."},
        },
        "required": ["detail", "pointer"],
    }
    problem: Schema = {
        "type": "object",
        "description": "An error (RFC 9457). Its own fields stand beside these members.",
        "properties": {
            "type": {
                "type": "string",
                "format": "uri-reference",
                "maxLength": 2048,
                "description": "Where this kind of error is explained.",
            },
            "title": {"type": "string", "maxLength": 1024, "description": "What this kind of error means."},
            "status": {"type": "integer", "format": "int32", "minimum": 400, "maximum": 599},
            "detail": {**quoted, "description": "What was wrong this time."},
            "instance": {"type": "string", "format": "uri", "maxLength": 128, "description": "The request, by its id."},
            "code": {"type": "string", "enum": sorted(code.name.lower() for code in Code)},
            "reason": {
                "type": "string",
                "description": "Stable name of this kind of error.",
                "pattern": "^[A-Z0-9_]+$",
                "maxLength": 63,
            },
            "errors": {
                "type": "array",
                "description": "Everything that is wrong with the input.",
                "maxItems": MAX_VIOLATIONS,
                "items": {"$ref": "#/components/schemas/ProblemViolation"},
            },
        },
        "required": ["type", "title", "status", "instance", "code", "reason"],
    }
    return {"Problem": problem, "ProblemViolation": violation}


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
    return shown


def whole_example(error: type[Error], schemas: Schemas) -> dict[str, Any]:
    """Return what an error of this class looks like.

    Raises:
        NoSampleError: No value is known that fits one of its fields.
    """
    return problem_example(error) | {
        field.encode_name: sample(schemas.of(field.type, "output"), schemas.lookup) for field in own_fields(error)
    }


def own_fields(error: type[Error]) -> list[msgspec.structs.FieldInfo]:
    """Return the fields that only errors of this kind have."""
    return [field for field in fields_of(error.shape) if field.encode_name not in RENDERED_APART]


class Failures:
    """Collects what operations answer when they fail.

    Args:
        schemas: The shapes of the same document.

    Attributes:
        responses: What several operations share, by name.
        examples: One problem document for each reason, by reason.
    """

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._errors: dict[str, type[Error]] = {}
        self.responses: dict[str, dict[str, Any]] = {}
        self.examples: dict[str, dict[str, Any]] = {}

    def of(self, op: ApiOperation, errors: Sequence[type[Error]], notices: Sequence[str]) -> dict[str, Any]:
        """Return the responses of an operation that fails, by status.

        Args:
            op: The operation.
            errors: All that it can be answered with.
            notices: Header fields that every answer of it has.
        """
        by_status: dict[int, list[type[Error]]] = {}
        for error in errors:
            by_status.setdefault(status_of(error), []).append(error)
        described = {
            str(status): (
                self._failure(status, found, notices)
                if notices or set(found) & set(op.errors)
                else self._shared(status, found)
            )
            for status, found in sorted(by_status.items())
        }
        return {**described, "default": self._any_other(notices)}

    def problems(self) -> dict[str, Schema]:
        """Return the schemas of errors that have fields of their own."""
        return {problem_name(error): self._problem(error) for _, error in sorted(self._errors.items())}

    def _shared(self, status: int, errors: Sequence[type[Error]]) -> dict[str, Any]:
        """Return a reference to a response that many operations have: what the platform itself answers."""
        name = "Or".join(pascal(error.reason.lower()) for error in errors)
        if name not in self.responses:
            self.responses[name] = self._failure(status, errors, ())
        return {"$ref": f"#/components/responses/{name}"}

    def _any_other(self, notices: Sequence[str]) -> dict[str, Any]:
        other = {
            "description": "Any other error, of a proxy on the way for instance.",
            "headers": fields(notices),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        if notices:
            return other
        self.responses["OtherError"] = other
        return {"$ref": "#/components/responses/OtherError"}

    def _failure(self, status: int, errors: Sequence[type[Error]], notices: Sequence[str]) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self._schema(errors)}
        examples = {error.reason: {"$ref": f"#/components/examples/{error.reason}"} for error in errors}
        shown = {reason: reference for reason, reference in examples.items() if reason in self.examples}
        if shown:
            content["examples"] = shown
        reasons = ", ".join(f"`{error.reason}`" for error in errors)
        return {
            "description": f"{PHRASES.get(status, 'Error')}: {reasons}",
            "headers": fields((*BY_STATUS.get(status, ()), *notices)),
            "content": {"application/problem+json": content},
        }

    def _schema(self, errors: Sequence[type[Error]]) -> Schema:
        own = [error for error in errors if own_fields(error)]
        for error in errors:
            self._example(error)
        if not own:
            return {"$ref": "#/components/schemas/Problem"}
        for error in own:
            self._errors[error.reason] = error
        refs = [{"$ref": f"#/components/schemas/{problem_name(error)}"} for error in own]
        if len(own) < len(errors):
            refs.append({"$ref": "#/components/schemas/Problem"})
        return refs[0] if len(refs) == 1 else {"anyOf": refs}

    def _example(self, error: type[Error]) -> None:
        if error.reason in self.examples:
            return
        with suppress(NoSampleError):
            self.examples[error.reason] = {"summary": error.message, "value": whole_example(error, self._schemas)}

    def _problem(self, error: type[Error]) -> Schema:
        own = own_fields(error)
        properties: Schema = {"reason": {"const": error.reason}}
        properties |= {field.encode_name: self._schemas.of(field.type, "output") for field in own}
        return {
            "description": error.message,
            "allOf": [{"$ref": "#/components/schemas/Problem"}],
            "type": "object",
            "properties": properties,
            "required": ["reason", *(field.encode_name for field in own)],
        }


def problem_name(error: type[Error]) -> str:
    """Return the name of an error's schema: `SkuTakenProblem`."""
    return f"{pascal(error.reason.lower())}Problem"
