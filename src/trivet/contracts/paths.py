"""Paths of operations: how they are written, and which of them a router can tell apart."""

from __future__ import annotations

import re
from typing import Literal

CustomMethods = Literal["colon", "slash"]

TEMPLATE = re.compile(
    r"(?:/(?:[A-Za-z0-9._~-]+|\{[a-z_][a-z0-9_]*\}))*/(?:[A-Za-z0-9._~-]+|\{[a-z_][a-z0-9_]*\})(?::[A-Za-z][A-Za-z0-9]*)?"
)


def written(path: str, custom_methods: CustomMethods) -> str:
    """Return the path with its custom method as the app writes them."""
    return path.replace(":", "/") if custom_methods == "slash" else path


def template_problem(path: str) -> str | None:
    """Say why a path can not be routed, ``None`` when it can."""
    if not TEMPLATE.fullmatch(path):
        return f"{path!r} is not a path template"
    if any(segment in (".", "..") for segment in path.split("/")):
        return f"{path!r} has a dot segment, which clients remove"
    names = re.findall(r"\{(\w+)\}", path)
    return f"{path!r} names a parameter twice" if len(set(names)) < len(names) else None


def path_shape(path: str) -> str:
    """Return the path with its parameters unnamed: what decides whether two paths match the same targets."""
    return re.sub(r"\{\w+\}", "{}", path)
