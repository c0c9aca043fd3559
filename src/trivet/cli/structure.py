"""What holds between the files of an app, read from their source: who imports whom, who calls whose commands.

Best effort by design: names are looked up where the call is written, and what is computed at run time is not seen.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trivet.core.declaration import Kind
from trivet.core.fault import Fault, Place
from trivet.core.module import Module
from trivet.core.operation import Operation
from trivet.core.shape import Struct

PURE = "model.py"
"""The file of a module that holds plain data and rules."""
IMPURE = ("sqlalchemy", "sqlite3", "asyncpg", "trivet.data", "trivet.transports", "trivet.server", "trivet.messaging")
IMPURE_NAMES = frozenset({"Table", "PUBLIC", "App", "Resource"})
"""Names of `trivet` that a model has no use for."""


class Package(Struct):
    """The Python package that a module is written in.

    Attributes:
        module: The module.
        name: Dotted name of the package.
        directory: Where its files are.
    """

    module: Any
    name: str
    directory: Path

    def files(self) -> Iterator[Path]:
        """Yield its source files."""
        yield from sorted(self.directory.rglob("*.py"))


class Import(Struct):
    """One imported name.

    Attributes:
        name: Dotted name of the module that is imported, or imported from.
        member: What is imported from it; ``None`` for the module itself.
        line: Where.
    """

    name: str
    member: str | None
    line: int


class JoinedCall(Struct):
    """A command of another module that joins the caller's transaction, so both need one database.

    Attributes:
        caller: The function that calls, as ``module.function``.
        command: The operation that is called.
        place: Where.
    """

    caller: str
    command: str
    place: str


def packages_of(modules: Iterable[Module]) -> list[Package]:
    """Return the packages of those modules that have one of their own."""
    found: list[Package] = []
    for module in modules:
        file = Path(module.place.file)
        source = next((m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(file)), None)
        name = source.__package__ if source is not None else None
        if name:
            found.append(Package(module=module, name=name, directory=file.parent))
    names = [package.name for package in found]
    return [package for package in found if names.count(package.name) == 1]


def check_imports(modules: Sequence[Module]) -> list[Fault]:
    """Return imports that a split of the app would trip over.

    A module imports only the packages of other modules, never a file inside them, and ``model.py`` imports neither
    data nor transport.
    """
    packages = packages_of(modules)
    faults: list[Fault] = []
    for package in packages:
        others = [other for other in packages if other.name != package.name]
        for file in package.files():
            for found in imports_of(file, _name_of(package, file)):
                faults += _boundary(package, others, file, found)
                if file.name == PURE:
                    faults += _purity(package, file, found)
    return faults


def _boundary(package: Package, others: Sequence[Package], file: Path, found: Import) -> Iterator[Fault]:
    for other in others:
        if package.name.startswith(f"{other.name}."):
            continue
        inner = found.name.startswith(f"{other.name}.")
        through = found.name == other.name and found.member is not None and _is_file(other, found.member)
        if inner or through:
            written = found.name if inner else f"{found.name}.{found.member}"
            yield Fault(
                rule="module-boundary",
                place=Place(file=str(file), line=found.line),
                problem=f"{package.module.name} imports {written}, which is inside {other.module.name}",
                mend=f"Import it from {other.name}, and add it to its __init__.py if it is meant for others.",
            )


def _is_file(package: Package, name: str) -> bool:
    return (package.directory / f"{name}.py").exists() or (package.directory / name / "__init__.py").exists()


def _purity(package: Package, file: Path, found: Import) -> Iterator[Fault]:
    own = {f"{package.name}.tables", f"{package.name}.operations", f"{package.name}.module"}
    impure = any(found.name == name or found.name.startswith(f"{name}.") for name in IMPURE)
    named = found.name == "trivet" and found.member in IMPURE_NAMES
    inner = found.name in own or (found.name == package.name and f"{package.name}.{found.member}" in own)
    if impure or named or inner:
        written = f"{found.name}.{found.member}" if found.member else found.name
        yield Fault(
            rule="pure-model",
            place=Place(file=str(file), line=found.line),
            problem=f"{package.module.name}: model.py imports {written}",
            mend="A model is plain data and rules: move what needs this to tables.py or operations.py.",
        )


def imports_of(file: Path, name: str) -> Iterator[Import]:
    """Yield what a file imports, relative imports made absolute.

    Args:
        file: The file.
        name: Dotted name of its package.
    """
    for node in ast.walk(ast.parse(file.read_bytes(), filename=str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name=alias.name, member=None, line=node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: len(name.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(name=origin, member=alias.name, line=node.lineno)


def _name_of(package: Package, file: Path) -> str:
    inner = file.parent.relative_to(package.directory).parts
    return ".".join((package.name, *inner))


def joined_calls(modules: Sequence[Module]) -> list[JoinedCall]:
    """Return every call of a command of another module; such pairs can not be placed in different processes."""
    files = {Path(place) for module in modules for place in _files_of(module)}
    files |= {file for package in packages_of(modules) for file in package.files()}
    owners = {Path(file): module for module in modules for file in _files_of(module)}
    found: list[JoinedCall] = []
    for file in sorted(files):
        namespace = next((vars(m) for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(file)), {})
        for function in _functions(file):
            for line, operation in _calls(function, namespace):
                owner = owners.get(file) or _owner(modules, file)
                if operation.kind is Kind.COMMAND and owner is not None and operation.module is not owner:
                    found.append(
                        JoinedCall(caller=f"{owner.name}.{function.name}", command=operation.id, place=f"{file}:{line}")
                    )
    return found


def _files_of(module: Module) -> set[str]:
    return (
        {operation.place.file for operation in module.operations}
        | {edge.place.file for edge in module.edges}
        | {subscription.place.file for subscription in module.subscriptions}
    )


def _owner(modules: Sequence[Module], file: Path) -> Module | None:
    return next((p.module for p in packages_of(modules) if file.is_relative_to(p.directory)), None)


def _functions(file: Path) -> Iterator[ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_bytes(), filename=str(file))):
        if isinstance(node, ast.AsyncFunctionDef):
            yield node


def _calls(function: ast.AsyncFunctionDef, namespace: Any) -> Iterator[tuple[int, Operation[..., Any]]]:
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "call"
            and node.args
        ):
            target = _resolve(node.args[0], namespace)
            if isinstance(target, Operation):
                yield node.lineno, target


def _resolve(node: ast.expr, namespace: Any) -> Any:
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_resolve(node.value, namespace), node.attr, None)
    return None
