"""Importing the application, and saying in a few lines why that failed."""

from __future__ import annotations

import difflib
import importlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from trivet.core.fault import FaultyApp
from trivet.core.shape import Struct
from trivet.settings import SettingsError

OURS = Path(__file__).resolve().parents[1]
LIBRARIES = (
    Path(traceback.__file__).resolve().parent,  # `sysconfig` of an embedded interpreter is wrong about this one
    *(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")),
)


class Target(Struct):
    """Which application to serve.

    Attributes:
        module: Dotted name of the module.
        attribute: Name of the application in it.
        directory: Put first on the import path.
    """

    module: str
    attribute: str
    directory: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


class CannotLoad(Exception):
    """The application can not be imported; the message says why, with the lines of the user's own code."""


def parse_target(text: str, directory: str | Path = ".") -> Target:
    """Read ``module:attribute``; the attribute is ``app`` where it is left out.

    Raises:
        CannotLoad: The text has another form.
    """
    module, _, attribute = text.partition(":")
    attribute = attribute or "app"
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise CannotLoad(f"{text!r} does not name an application: write module:attribute, such as shop.app:app")
    return Target(module=module, attribute=attribute, directory=str(Path(directory).resolve()))


def load_app(target: Target) -> Any:
    """Import the application.

    Raises:
        CannotLoad: With the reason in words, and the user's lines of the traceback.
    """
    if target.directory not in sys.path:
        sys.path.insert(0, target.directory)
    try:
        module = importlib.import_module(target.module)
    except ModuleNotFoundError as missing:
        if missing.name is not None and f"{target.module}.".startswith(f"{missing.name}."):
            raise CannotLoad(_no_module(target, missing.name)) from missing
        raise CannotLoad(explain(target, missing)) from missing
    except (Exception, SystemExit) as broken:
        raise CannotLoad(explain(target, broken)) from broken
    value: Any = module
    for name in target.attribute.split("."):
        if not hasattr(value, name):
            raise CannotLoad(_no_attribute(target, module))
        value = getattr(value, name)
    if not callable(value):
        raise CannotLoad(f"{target} is of type {type(value).__name__}, not an application: expected an App")
    return value


def _no_module(target: Target, missing: str) -> str:
    return (
        f"there is no module {missing!r} for {target}\n"
        f"    Looked in {target.directory}; choose another directory with --app-dir."
    )


def _no_attribute(target: Target, module: ModuleType) -> str:
    ours = sys.modules.get("trivet.app")  # imported by whoever made an App
    apps = [name for name, value in vars(module).items() if ours is not None and isinstance(value, ours.App)]
    near = apps or difflib.get_close_matches(target.attribute, vars(module), n=1, cutoff=0.4)
    meant = f" Did you mean {' or '.join(f'{target.module}:{name}' for name in near)}?" if near else ""
    return f"{target.module} ({module.__file__}) has no {target.attribute!r}.{meant}"


def explain(target: Target, error: BaseException) -> str:
    """Return why an application can not be served, with the user's own lines and without ours."""
    if isinstance(error, FaultyApp | SettingsError):
        return str(error)
    lines = [f"{target} can not be imported: {''.join(traceback.format_exception_only(error)).strip()}"]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    for frame in frames:
        lines.append(f"    {frame.filename}:{frame.lineno} in {frame.name}")
        if frame.line:
            lines.append(f"        {frame.line}")
    return "\n".join(lines)


def _is_users(filename: str) -> bool:
    path = Path(filename)
    if filename.startswith("<"):
        return False
    path = path.resolve()
    return not path.is_relative_to(OURS) and not any(path.is_relative_to(library) for library in LIBRARIES)


def sources(error: BaseException | None = None) -> list[str]:
    """Return the directories of the user's code that is loaded, or that a traceback goes through."""
    files = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    files |= set(_files_of(error.__traceback__ if error else None))
    if isinstance(error, SyntaxError):
        files.add(error.filename)
    users = {Path(file).resolve() for file in files if file and file.endswith(".py") and _is_users(file)}
    return sorted({str(file.parent) for file in users})


def _files_of(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
