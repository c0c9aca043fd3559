"""What crosses from one module to another is not shared."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from trivet import Money, Struct
from trivet.core.copying import copier_for


class Tagged(Struct):
    id: UUID
    tags: list[str] = []


class Box(Struct):
    inside: Tagged
    others: tuple[Tagged, ...] = ()
    by_name: dict[str, Tagged] = {}
    maybe: Tagged | None = None


class Node(Struct):
    children: list[Node] = []


ONE = UUID(int=1)


@pytest.mark.parametrize("type", [int, str, UUID, Money, tuple[Money, ...], frozenset[int], Money | None, bytes])
def test_what_can_not_change_is_not_copied(type: Any) -> None:
    assert copier_for(type) is None


def test_every_container_on_the_way_to_a_change_is_copied() -> None:
    tagged = Tagged(id=ONE, tags=["a"])
    box = Box(inside=tagged, others=(tagged,), by_name={"x": tagged}, maybe=tagged)
    copier = copier_for(Box)
    assert copier is not None
    copied: Box = copier(box)
    assert copied == box
    for each in (copied.inside, copied.others[0], copied.by_name["x"], copied.maybe):
        assert each is not None
        each.tags.append("b")
    copied.by_name.clear()
    assert tagged.tags == ["a"]
    assert box.by_name == {"x": tagged}


def test_nothing_is_copied_as_nothing() -> None:
    copier = copier_for(Tagged | None)
    assert copier is not None
    assert copier(None) is None


def test_a_shape_inside_of_itself_is_copied_whole() -> None:
    tree = Node(children=[Node(children=[Node()])])
    copier = copier_for(Node)
    assert copier is not None
    copied = copier(tree)
    copied.children[0].children.clear()
    assert len(tree.children[0].children) == 1


def test_lists_of_scalars_are_new_lists() -> None:
    copier = copier_for(list[UUID])
    assert copier is not None
    given = [ONE]
    assert copier(given) == given
    assert copier(given) is not given
