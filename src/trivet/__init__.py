"""Trivet: typed operations, written once, served as REST, GraphQL and gRPC with the practices of a scalable API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trivet.core.about import About
from trivet.core.context import Read, Run, Write
from trivet.core.declaration import Cache, Deprecated, Example, Http, Limit, Priority
from trivet.core.error import (
    AlreadyExists,
    Cancelled,
    Code,
    Conflict,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Violation,
)
from trivet.core.event import Event
from trivet.core.fault import FaultyApp
from trivet.core.job import File, JobStatus
from trivet.core.module import Module
from trivet.core.operation import Command, Job, Operation, Query, Stream
from trivet.core.page import Page, PageRequest
from trivet.core.patch import Patch
from trivet.core.principal import Principal
from trivet.core.resource import Resource
from trivet.core.shape import UNSET, Meta, Struct, UnsetType, field
from trivet.core.value import Money, digits

if TYPE_CHECKING:
    from trivet.app import App
    from trivet.data import (
        PUBLIC,
        Fill,
        Listing,
        Search,
        Selection,
        Table,
        Unique,
        View,
        contains,
        not_,
        one_of,
        starts_with,
    )

__version__ = "0.1.0"

__all__ = [
    "PUBLIC",
    "UNSET",
    "About",
    "AlreadyExists",
    "App",
    "Cache",
    "Cancelled",
    "Code",
    "Command",
    "Conflict",
    "DeadlineExceeded",
    "Deprecated",
    "Error",
    "Event",
    "Example",
    "FailedPrecondition",
    "FaultyApp",
    "File",
    "Fill",
    "Http",
    "Internal",
    "InvalidArgument",
    "Job",
    "JobStatus",
    "Limit",
    "Listing",
    "Meta",
    "Module",
    "Money",
    "NotFound",
    "Operation",
    "OutOfRange",
    "Page",
    "PageRequest",
    "Patch",
    "PermissionDenied",
    "Principal",
    "Priority",
    "Query",
    "QuotaExceeded",
    "Read",
    "Resource",
    "Run",
    "Search",
    "Selection",
    "Stream",
    "Struct",
    "Table",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unique",
    "UnsetType",
    "View",
    "Violation",
    "Write",
    "contains",
    "digits",
    "field",
    "not_",
    "one_of",
    "starts_with",
]

_LATER = {
    "App": "trivet.app",
    **dict.fromkeys(("PUBLIC", "Fill", "Listing", "Search", "Selection", "Table", "Unique", "View"), "trivet.data"),
    **dict.fromkeys(("contains", "not_", "one_of", "starts_with"), "trivet.data"),
}
"""Names whose modules are imported when they are first asked for, so that `import trivet` stays light."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LATER:
        value = getattr(import_module(_LATER[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'trivet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
