"""Reading the tree of settings: its leaves, their types in words, their descriptions."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from trivet.core.shape import Struct
from trivet.settings.secret import Secret, Url
from trivet.settings.tree import Settings

WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Secret: "secret", Url: "address"}
ATTRIBUTE = re.compile(r"(?P<name>\w+): (?P<text>.*)")


class Leaf(Struct):
    """One setting.

    Attributes:
        path: Where it is, such as ``server.port``.
        type: What it holds, with its bounds.
        optional: Whether it may be switched off.
        default: Its value when nobody says anything; ``None`` for a secret that is random.
        description: What it is for.
    """

    path: str
    type: Any
    optional: bool
    default: Any
    description: str

    @property
    def plain(self) -> Any:
        """The type without bounds and without ``None``."""
        return _plain(self.type)

    @property
    def secret(self) -> bool:
        """Whether the value is wrapped, because it or a part of it must not be shown."""
        return self.plain in (Secret, Url) or self.several

    @property
    def several(self) -> bool:
        """Whether it is a list of such values."""
        return get_origin(self.plain) is tuple and get_args(self.plain)[0] in (Secret, Url)

    @property
    def expects(self) -> str:
        """The type in words."""
        return describe(self.type)


@cache
def leaves() -> dict[str, Leaf]:
    """Return every setting by its path, in the order in which they are written."""
    return {leaf.path: leaf for leaf in _walk(Settings, "")}


def groups() -> frozenset[str]:
    """Return the names of the groups."""
    return frozenset(path.rpartition(".")[0] for path in leaves() if "." in path)


def _walk(shape: type[Struct], prefix: str) -> Iterator[Leaf]:
    descriptions = attributes_of(shape)
    hints = get_type_hints(shape, include_extras=True)
    for field in msgspec.structs.fields(shape):
        hint, path = hints[field.name], prefix + field.name
        if inspect.isclass(hint) and issubclass(hint, Struct):
            yield from _walk(hint, f"{path}.")
        else:
            yield Leaf(
                path=path,
                type=hint,
                optional=NoneType in get_args(hint),
                default=None if field.default is msgspec.NODEFAULT else field.default,
                description=descriptions.get(field.name, ""),
            )


def attributes_of(shape: type[Any]) -> dict[str, str]:
    """Return the descriptions in the ``Attributes`` section of a docstring; none under ``-OO``."""
    _, _, section = inspect.cleandoc(shape.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(section).splitlines():
        match = ATTRIBUTE.match(line)
        if match:
            name = match["name"]
            found[name] = match["text"]
        elif line.startswith(" ") and name:
            found[name] += " " + line.strip()
        else:
            name = ""
    return found


def describe(hint: Any) -> str:
    """Return a type in the words of an error message: ``whole number, 0 to 65535, or off``."""
    if get_origin(hint) in (Union, UnionType):
        members = [describe(member) for member in get_args(hint) if member is not NoneType]
        return " or ".join(members) + (", or off" if NoneType in get_args(hint) and members != [WORDS[bool]] else "")
    if get_origin(hint) is Literal:
        return " or ".join(str(value) for value in get_args(hint))
    if get_origin(hint) is Annotated:
        bounds = [_bounds(extra) for extra in get_args(hint)[1:] if isinstance(extra, msgspec.Meta)]
        return ", ".join([describe(get_args(hint)[0]), *filter(None, bounds)])
    if get_origin(hint) is tuple:
        return f"list of: {describe(get_args(hint)[0])}"
    return WORDS[hint]


def _bounds(meta: msgspec.Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f"{meta.ge} to {meta.le}"
    if meta.gt is not None and meta.le is not None:
        return f"more than {meta.gt}, up to {meta.le}"
    if meta.examples:
        return f"such as {meta.examples[0]}"
    return ""


def _plain(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return _plain(next(member for member in get_args(hint) if member is not NoneType))
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    return hint
