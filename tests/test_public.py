"""What is public is a decision: these tests freeze it, and keep `import trivet` light."""

from __future__ import annotations

import json
import subprocess
import sys

import trivet


def test_the_public_names_are_these() -> None:
    assert sorted(trivet.__all__) == [
        "About", "AlreadyExists", "App", "Cache", "Cancelled", "Code", "Command", "Conflict", "DeadlineExceeded",
        "Deprecated", "Error", "Event", "Example", "FailedPrecondition", "FaultyApp", "File", "Fill", "Http",
        "Internal", "InvalidArgument", "Job", "JobStatus", "Limit", "Listing", "Meta", "Module", "Money",
        "NotFound", "Operation", "OutOfRange", "PUBLIC", "Page", "PageRequest", "Patch", "PermissionDenied",
        "Principal", "Priority", "Query", "QuotaExceeded", "Read", "Resource", "Run", "Search", "Selection", "Stream",
        "Struct", "Table", "UNSET", "Unauthenticated", "Unavailable", "Unimplemented", "Unique", "UnsetType",
        "View", "Violation", "Write", "contains", "digits", "field", "not_", "one_of", "starts_with",
    ]  # fmt: skip


def test_every_public_name_exists() -> None:
    assert all(getattr(trivet, name) is not None for name in trivet.__all__)


def test_importing_trivet_loads_no_heavy_library() -> None:
    script = "import sys, json, trivet; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"sqlalchemy", "uvicorn", "click", "graphql", "starlette", "asyncio", "httptools", "sqlite3"}
    assert not heavy & set(json.loads(done.stdout))
