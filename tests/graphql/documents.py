"""Random documents over the types of an app: fields, aliases, fragments, conditions, arguments, variables."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from trivet.contracts.graphql.types import (
    AbstractType,
    Argument,
    EnumType,
    Field,
    Graph,
    InputType,
    NamedType,
    ObjectType,
    Ref,
    UnionType,
)

VARIABLES = {"yes": True, "no": False}
HEAD = "($yes: Boolean!, $no: Boolean! = false, $size: Int = 4, $long: Long! = 5)"


class Documents:
    """Draws documents.

    Args:
        graph: The types.
        values: What arguments get, by name or as ``field.name``; others are left out, or drawn by their type.
        roots: The root fields that are asked for; all of them where nothing is said.
    """

    def __init__(self, graph: Graph, values: dict[str, st.SearchStrategy[str]], roots: set[str] | None = None) -> None:
        self.graph = graph
        self.values = values
        self.roots = roots

    def document(self, root: ObjectType) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
        """Return a strategy of documents and their variables."""

        @st.composite
        def drawn(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
            fragments: dict[str, str] = {}
            selection = self._set(draw, root, 3, fragments, root=True)
            kind = {"Query": "query", "Mutation": "mutation"}[root.name]
            variables = {"yes": draw(st.booleans())}
            if draw(st.booleans()):
                variables["no"] = draw(st.booleans())
            text = f"{kind} Q{HEAD} {selection}\n" + "\n".join(fragments.values())
            return text, variables

        return drawn()

    def changes(self, root: ObjectType) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
        """Return a strategy of documents with several root fields each, and their variables."""

        @st.composite
        def drawn(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
            fragments: dict[str, str] = {}
            fields = draw(st.lists(st.sampled_from(self._fields(root, 3, root=True)), min_size=2, max_size=5))
            asked = [self._field(draw, field, 3, fragments) for field in fields]
            text = f"mutation Q{HEAD} {{ {' '.join(asked)} }}\n" + "\n".join(fragments.values())
            return text, {"yes": draw(st.booleans()), "no": draw(st.booleans())}

        return drawn()

    def _set(self, draw: st.DrawFn, kind: NamedType, depth: int, fragments: dict[str, str], root: bool = False) -> str:
        if isinstance(kind, ObjectType) and depth > 0 and not root and draw(st.integers(0, 5)) == 0:
            return self._whole(kind, depth)
        parts = [self._selection(draw, kind, depth, fragments, root) for _ in range(draw(st.integers(1, 3)))]
        return "{ " + " ".join(parts) + " }"

    def _whole(self, kind: ObjectType, depth: int) -> str:
        """Return a selection of everything that needs no argument, in order."""
        parts = []
        for field in kind.fields.values():
            below = field.type.named
            if not composite(field.type):
                parts.append(field.name)
            elif depth > 1 and isinstance(below, ObjectType) and not field.arguments:
                parts.append(f"{field.name} {self._whole(below, depth - 1)}")
        return "{ " + " ".join(parts or ["__typename"]) + " }"

    def _selection(self, draw: st.DrawFn, kind: NamedType, depth: int, fragments: dict[str, str], root: bool) -> str:
        what = draw(st.integers(0, 9))
        if what == 0:
            return f"{draw(st.sampled_from(['', 'kind: ']))}__typename{self._condition(draw)}"
        if isinstance(kind, AbstractType) or what in (1, 2):
            inner = self._inside(draw, kind)
            body = (
                self._set(draw, inner, depth - 1 if inner is not kind else depth, fragments, root)
                if depth > 0
                else "{ __typename }"
            )
            if what == 1 and depth > 0:
                name = f"F{len(fragments)}"
                fragments[name] = ""  # the place is taken: fragments inside get other names
                fragments[name] = f"fragment {name} on {inner.name} {body}"
                return f"...{name}{self._condition(draw)}"
            on = f" on {inner.name}" if draw(st.booleans()) or inner is not kind else ""
            return f"...{on}{self._condition(draw)} {body}"
        assert isinstance(kind, ObjectType)
        field = draw(st.sampled_from(self._fields(kind, depth, root)))
        return self._field(draw, field, depth, fragments)

    def _inside(self, draw: st.DrawFn, kind: NamedType) -> NamedType:
        if isinstance(kind, AbstractType):
            return draw(st.sampled_from([*kind.members]))
        unions = [t for t in self.graph.types.values() if isinstance(t, UnionType) and kind in t.members]
        return draw(st.sampled_from([kind, *unions]))

    def _fields(self, kind: ObjectType, depth: int, root: bool) -> list[Field]:
        fields = list(kind.fields.values())
        if root and self.roots is not None:
            fields = [field for field in fields if field.name in self.roots]
        flat = [field for field in fields if not composite(field.type)]
        return fields if depth > 0 else flat or fields

    def _field(self, draw: st.DrawFn, field: Field, depth: int, fragments: dict[str, str]) -> str:
        arguments = [given for argument in field.arguments.values() if (given := self._argument(draw, field, argument))]
        shown = f"({', '.join(arguments)})" if arguments else ""
        alias = f"a{abs(hash((field.name, shown))) % 10**6}: " if shown or draw(st.integers(0, 3)) == 0 else ""
        if alias and field.arguments and not shown:
            alias = f"plain_{field.name}: "
        below = ""
        if composite(field.type):
            below = " " + (self._set(draw, field.type.named, depth - 1, fragments) if depth > 0 else "{ __typename }")
        return f"{alias}{field.name}{shown}{self._condition(draw)}{below}"

    def _argument(self, draw: st.DrawFn, field: Field, argument: Argument) -> str | None:
        strategy = self.values.get(f"{field.name}.{argument.name}", self.values.get(argument.name))
        if strategy is None and isinstance(argument.type.named, EnumType) and not argument.type.many:
            strategy = st.sampled_from(list(argument.type.named.values.values()))
        if strategy is None or (isinstance(argument.type.named, InputType) and argument.name not in self.values):
            return None
        if not argument.type.required and draw(st.booleans()):
            return None
        return f"{argument.name}: {draw(strategy)}"

    def _condition(self, draw: st.DrawFn) -> str:
        number = draw(st.integers(0, 11))
        return {
            0: " @include(if: $yes)",
            1: " @skip(if: $no)",
            2: " @include(if: true)",
            3: " @skip(if: $yes)",
        }.get(number, "")


def composite(ref: Ref) -> bool:
    """Whether a type has fields, so that something must be selected from it."""
    return isinstance(ref.named, ObjectType | AbstractType)
