"""Shapes: what their constructor is, at the lowest price."""

from __future__ import annotations

import pytest

from trivet.core.shape import Struct, constructor


class Point(Struct):
    x: int
    y: int = 0


class Positive(Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("not positive")


def test_what_a_constructor_makes_is_what_the_shape_makes() -> None:
    make = constructor(Point)
    first, second = make(x=1, y=2), make(x=3, y=4)
    assert (first, second) == (Point(x=1, y=2), Point(x=3, y=4))
    assert type(first) is Point


def test_a_shape_that_checks_itself_does_so_there_as_well() -> None:
    make = constructor(Positive)
    assert make(number=1) == Positive(number=1)
    with pytest.raises(ValueError, match="not positive"):
        make(number=0)
