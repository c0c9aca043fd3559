"""The servers that every test here runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trivet.testing import serve

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("uvicorn",)


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    name: Any = request.param
    return str(name)


def serving(server: str, workers: int = 1, **environ: str) -> Any:
    """Serve the ticker with so many workers."""
    told = {"TRIVET_SERVER__WORKERS": str(workers)}
    return serve("tests.adversity.ticker:app", app_dir=ROOT, environ=told | environ)
