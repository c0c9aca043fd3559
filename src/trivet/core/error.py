"""Errors: one closed set of codes, and domain errors as classes with typed fields.

::

    Error                       code                  REST
    ├── InvalidArgument         invalid_argument      400
    ├── FailedPrecondition      failed_precondition   400
    ├── OutOfRange              out_of_range          400
    ├── Unauthenticated         unauthenticated       401
    ├── PermissionDenied        permission_denied     403
    ├── NotFound                not_found             404
    ├── AlreadyExists           already_exists        409
    ├── Conflict                aborted               409
    ├── QuotaExceeded           resource_exhausted    429
    ├── Cancelled               cancelled             499
    ├── Internal                internal              500
    ├── Unimplemented           unimplemented         501
    ├── Unavailable             unavailable           503
    └── DeadlineExceeded        deadline_exceeded     504

A domain error subclasses one of these. Its annotated attributes are its metadata, its docstring's first line is its
message, its reason is its name in UPPER_SNAKE, and ``raise ... from cause`` keeps the cause inside the process.
"""

from __future__ import annotations

import enum
import inspect
import re
from typing import Annotated, Any, ClassVar, dataclass_transform, get_origin

import msgspec
from msgspec import Meta

from trivet.core.shape import Struct, field


class Code(enum.Enum):
    """The gRPC status codes that an outcome can have; the value is the canonical number."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


SERVER_FAULTS = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})
"""Codes of which a caller learns nothing beyond the request id."""


Text = Annotated[str, Meta(max_length=2**21)]
"""It may quote an input."""


class Violation(Struct):
    """One thing that is wrong with an input.

    Attributes:
        detail: What is wrong, safe to show.
        pointer: Where, as a JSON pointer in URI fragment form (RFC 6901 section 6); for what has no document, the name
            of the parameter after ``#/``.
    """

    detail: Text
    pointer: Text = "#"


def upper_snake(name: str) -> str:
    """Return ``SkuTaken`` as ``SKU_TAKEN``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()


def _class_variable(hint: Any) -> bool:
    return get_origin(hint) is ClassVar or hint is ClassVar or (isinstance(hint, str) and "ClassVar" in hint)


def _rebuild(kind: type[TypedError], fields: dict[str, Any]) -> TypedError:
    return kind(**fields)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class TypedError(Exception):
    """Exceptions whose annotated attributes are their fields; use :class:`Error`.

    A class of its own, because type checkers give the fields of the class that carries `dataclass_transform` to none
    of its subclasses.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    reason: ClassVar[str] = "UNKNOWN"
    message: ClassVar[str] = "The request failed."
    status: ClassVar[int | None] = None
    """An HTTP status that a standard asks for instead of the code's own."""
    shape: ClassVar[type[msgspec.Struct]]
    """The metadata as a shape: one field for each annotated attribute."""

    def __init_subclass__(cls, *, reason: str | None = None, status: int | None = None) -> None:
        super().__init_subclass__()
        cls.reason = reason or upper_snake(cls.__name__)
        if status is not None:
            cls.status = status
        if cls.__doc__ and "__doc__" in cls.__dict__:  # kept now: docstrings vanish under -OO
            cls.message = cls.__doc__.strip().split("\n", 1)[0]
        else:
            cls.message = "".join(f" {part}" if part.isupper() else part for part in cls.__name__).strip() + "."
        own = {
            name: hint
            for name, hint in inspect.get_annotations(cls).items()
            if not name.startswith("_") and not _class_variable(hint)
        }
        fields: list[Any] = [(n, h, cls.__dict__[n]) if n in cls.__dict__ else (n, h) for n, h in own.items()]
        base = next(parent.shape for parent in cls.__mro__[1:] if issubclass(parent, TypedError))
        cls.shape = msgspec.defstruct(
            cls.__name__, fields, bases=(base,), module=cls.__module__, frozen=True, kw_only=True
        )
        for name in own:
            if name in cls.__dict__:
                delattr(cls, name)

    def __init__(self, **fields: Any) -> None:
        values = self.shape(**fields)
        for name in self.shape.__struct_fields__:
            setattr(self, name, getattr(values, name))
        super().__init__(fields.get("detail") or self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), {name: getattr(self, name) for name in self.shape.__struct_fields__})

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={getattr(self, k)!r}" for k in self.shape.__struct_fields__)
        return f"{type(self).__name__}({fields})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def metadata(self) -> dict[str, Any]:
        """Return the typed fields of this error as plain JSON values, without those every error has."""
        return {
            name: msgspec.to_builtins(getattr(self, name))
            for name in self.shape.__struct_fields__
            if name not in RENDERED_APART
        }


class _NoFields(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of an error without fields."""


TypedError.shape = _NoFields


class Error(TypedError):
    """The request failed.

    Attributes:
        detail: What was wrong this time, safe to show; the class's message where absent.
    """

    detail: str | None = None


RENDERED_APART = frozenset({"detail", "violations", "retry_after"})
"""Fields that each transport has a place of its own for."""


class InvalidArgument(Error):
    """The request is not valid."""

    code: ClassVar[Code] = Code.INVALID_ARGUMENT
    violations: tuple[Violation, ...] = ()


class FailedPrecondition(Error):
    """The system is not in a state that this request needs."""

    code: ClassVar[Code] = Code.FAILED_PRECONDITION


class OutOfRange(Error):
    """The request is past what there is."""

    code: ClassVar[Code] = Code.OUT_OF_RANGE


class Unauthenticated(Error):
    """Valid credentials are needed."""

    code: ClassVar[Code] = Code.UNAUTHENTICATED


class PermissionDenied(Error):
    """The caller may not do this."""

    code: ClassVar[Code] = Code.PERMISSION_DENIED


class NotFound(Error):
    """There is no such thing."""

    code: ClassVar[Code] = Code.NOT_FOUND


class AlreadyExists(Error):
    """It exists already."""

    code: ClassVar[Code] = Code.ALREADY_EXISTS


class Conflict(Error):
    """Somebody else changed it first; read it again and retry."""

    code: ClassVar[Code] = Code.ABORTED


class QuotaExceeded(Error):
    """The caller's quota is used up."""

    code: ClassVar[Code] = Code.RESOURCE_EXHAUSTED
    retry_after: float | None = None


class Cancelled(Error):
    """The caller went away."""

    code: ClassVar[Code] = Code.CANCELLED


class Internal(Error):
    """Something went wrong on our side; the request id tells us what."""

    code: ClassVar[Code] = Code.INTERNAL


class Unimplemented(Error):
    """This is not supported."""

    code: ClassVar[Code] = Code.UNIMPLEMENTED


class Unavailable(Error):
    """The service cannot answer right now; retry later."""

    code: ClassVar[Code] = Code.UNAVAILABLE
    retry_after: float | None = None


class DeadlineExceeded(Error):
    """The answer did not exist in time."""

    code: ClassVar[Code] = Code.DEADLINE_EXCEEDED
