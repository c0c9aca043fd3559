"""From the path of a request to what is served there, by a trie of segments: the cost depends on the path alone.

The rules, each decided once:

- The raw path is split first and decoded after, so ``%2F`` stays inside its segment and two spellings of one segment
  (``%70roducts``) are the same.
- A literal goes before a parameter; where the literal leads nowhere, the parameter is tried.
- A raw ``:`` in the last segment separates the custom verb (the last one, where there are several); ``%3A`` is part
  of the value.
- Nothing is normalised away: a trailing slash, an empty segment and a dot segment lead nowhere (404). A resource has
  one URL, and a parameter is never empty, ``.`` or ``..``, however it is spelled.
- What is not percent-encoded UTF-8 is refused as malformed (400), whether or not a route would match.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from trivet.contracts.problem import MalformedPath

T = TypeVar("T")

NOT_AN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
DOTS = (".", "..")


class Routes(Generic[T]):
    """What is served under one path, by method.

    Attributes:
        path: The template.
        by_method: What was added.
        allow: The value of ``Allow``, with ``HEAD`` where there is ``GET``, and ``OPTIONS``.
    """

    __slots__ = ("allow", "by_method", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.by_method: dict[str, T] = {}
        self.allow: tuple[str, ...] = ("OPTIONS",)

    def add(self, method: str, target: T) -> None:
        """Serve the target; a ``GET`` answers ``HEAD`` too.

        Raises:
            ValueError: The method is taken.
        """
        if method in self.by_method:
            raise ValueError(f"{method} {self.path} is served twice: by {self.by_method[method]} and by {target}")
        self.by_method[method] = target
        if method == "GET":
            self.by_method.setdefault("HEAD", target)
        self.allow = (*sorted(self.by_method), "OPTIONS")


class _Node(Generic[T]):
    """One position in a path: what may follow, and what is served here by custom verb (empty for none)."""

    __slots__ = ("literals", "parameter", "verbs")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.verbs: dict[str, Routes[T]] = {}


class Router(Generic[T]):
    """Finds the routes of a path; filled at start, then only read."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._fixed: dict[str, tuple[Routes[T], list[str]]] = {}

    def add(self, method: str, path: str, target: T) -> None:
        """Serve the target under a template such as ``/v1/orders/{id}:cancel``.

        Raises:
            ValueError: Another target is served under the same method and shape of path.
        """
        *segments, last = path.split("/")[1:]
        last, _, verb = last.partition(":")
        node = self._root
        for segment in (*segments, last):
            if segment.startswith("{"):
                node.parameter = node = node.parameter or _Node()
            else:
                node = node.literals.setdefault(segment, _Node())
        routes = node.verbs.setdefault(verb, Routes(path))
        routes.add(method, target)
        if "{" not in path:  # all literal, so nothing goes before it: found at once where it is spelled like this
            self._fixed[path] = (routes, [])

    def match(self, raw_path: str) -> tuple[Routes[T], list[str]] | None:
        """Return what is served under the path of a request target, and the values of its parameters in order.

        Args:
            raw_path: As it was sent, percent-encoded, without the query.

        Raises:
            MalformedPath: It is not percent-encoded UTF-8.
        """
        fixed = self._fixed.get(raw_path)
        if fixed is not None:
            return fixed
        if "%" in raw_path or not raw_path.isascii():
            segments, verb = _decoded(raw_path)
        else:
            segments = raw_path.split("/")
            verb = ""
            if ":" in segments[-1]:
                segments[-1], _, verb = segments[-1].rpartition(":")
                if not verb:
                    return None
        if segments[0] or len(segments) == 1:
            return None
        return _find(self._root, segments, 1, verb, [])


def _decoded(raw_path: str) -> tuple[list[str], str]:
    if not raw_path.isascii() or NOT_AN_ESCAPE.search(raw_path):
        raise MalformedPath
    *segments, last = raw_path.split("/")
    last, colon, verb = last.rpartition(":") if ":" in last else (last, "", "")
    try:
        decoded = [unquote_to_bytes(part).decode() for part in (*segments, last, verb)]
    except UnicodeDecodeError as malformed:
        raise MalformedPath from malformed
    # A colon with nothing after it names no verb; what no template has keeps it from being taken for none.
    return decoded[:-1], decoded[-1] or colon


def _find(
    node: _Node[T], segments: list[str], index: int, verb: str, values: list[str]
) -> tuple[Routes[T], list[str]] | None:
    if index == len(segments):
        routes = node.verbs.get(verb)
        return None if routes is None else (routes, values)
    segment = segments[index]
    literal = node.literals.get(segment)
    if literal is not None:
        found = _find(literal, segments, index + 1, verb, values)
        if found is not None:
            return found
    if node.parameter is not None and segment and segment not in DOTS:
        return _find(node.parameter, segments, index + 1, verb, [*values, segment])
    return None
