"""The application of these tests, served by each kind of server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trivet.testing import serve

ROOT = Path(__file__).resolve().parents[2]


def serving(workers: int = 1, **environ: str) -> Any:
    """Serve the ticker with so many workers."""
    told = {"TRIVET_SERVER__WORKERS": str(workers)}
    return serve("tests.adversity.ticker:app", app_dir=ROOT, environ=told | environ)
