"""On what a run was measured, in terms that name no machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from trivet.core.shape import Struct

PACKAGES = (
    "trivet",
    "msgspec",
    "uvicorn",
    "uvloop",
    "httptools",
    "pyvoy",
    "granian",
    "fastapi",
    "pydantic",
    "litestar",
    "sqlalchemy",
    "aiosqlite",
    "asyncpg",
)


class Machine(Struct):
    """What the figures depend on.

    Attributes:
        cpus: Processors that this process may use.
        system: Operating system and processor architecture.
        python: Implementation and version.
        packages: Versions of what was compared and of what it stands on.
    """

    cpus: int
    system: str
    python: str
    packages: dict[str, str]


def describe(packages: Sequence[str] = PACKAGES) -> Machine:
    """Return what this machine is, without its name."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={name: installed for name in packages if (installed := version_of(name))},
    )


def version_of(package: str) -> str | None:
    """Return the installed version, ``None`` where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
