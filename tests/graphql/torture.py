"""An application whose shapes have everything that GraphQL can stumble over, and whose data is partly wrong."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NewType
from uuid import UUID

from trivet import (
    FailedPrecondition,
    Meta,
    Module,
    NotFound,
    Page,
    PageRequest,
    PermissionDenied,
    Read,
    Struct,
    Write,
    field,
)

LeafId = NewType("LeafId", UUID)
Small = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class Colour(enum.Enum):
    """A colour."""

    RED = "r"
    darkBlue = "db"


class Cracked(FailedPrecondition):
    """It is cracked."""

    where: str


class Flat(Struct):
    """Every scalar, present and absent."""

    id: LeafId
    small: Small
    big: int
    ratio: float
    text: str
    yes: bool
    amount: Decimal
    at: datetime
    day: date
    lasts: timedelta
    data: bytes
    colour: Colour
    maybe_small: Small | None = None
    maybe_text: str | None = None
    maybe_colour: Colour | None = None
    anything: Any = None
    mapping: Mapping[str, int] | None = None


class Square(Struct, tag="square"):
    """Four sides."""

    side: Small
    colour: Colour


class Circle(Struct, tag="circle"):
    """One side."""

    radius: float
    colour: Colour


class Dot(Struct, tag="dot"):
    """No side."""


Figure = Square | Circle | Dot


class Mark(Struct):
    """What is mostly selected whole."""

    letter: str
    count: Small | None = None


class Label(Struct):
    """What has nothing but leaves, and an object of that kind."""

    text: str
    size: Small
    mark: Mark | None
    long_name: str | None = field(default=None, name="longName")


class Printed(Label):
    """A label with something that the schema does not show."""

    secret: str = "secret"


class Tree(Struct):
    """Nested, in lists of lists, with figures."""

    name: str
    size: Small
    flat: Flat | None = None
    figure: Figure | None = None
    figures: tuple[Figure, ...] = ()
    grid: tuple[tuple[Small, ...], ...] = ()
    loose: tuple[tuple[Small | None, ...] | None, ...] | None = None
    flats: tuple[Flat | None, ...] = ()
    children: tuple[Tree, ...] = ()
    colours: tuple[Colour, ...] = ()
    label: Label | None = None
    labels: tuple[Label, ...] = ()


def flat(n: int, **changes: Any) -> Flat:
    values: dict[str, Any] = {
        "id": LeafId(UUID(int=n)),
        "small": n,
        "big": 2**40 + n,
        "ratio": n / 4,
        "text": f"flat {n}",
        "yes": n % 2 == 0,
        "amount": Decimal(n) / 4,
        "at": datetime(2026, 1, 31, 12, n % 60, tzinfo=UTC),
        "day": date(2026, 1, 1 + n % 28),
        "lasts": timedelta(minutes=n),
        "data": bytes([n % 256]),
        "colour": list(Colour)[n % 2],
        "maybe_small": n if n % 3 else None,
        "maybe_text": None if n % 3 else "here",
        "maybe_colour": Colour.RED if n % 2 else None,
        "anything": {"n": [n, None]},
        "mapping": {"a": n},
    }
    return Flat(**{**values, **changes})


WRONG: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"small": 2**31},
    {"ratio": float("nan")},
    {"text": None},
    {"colour": "nothing"},
    {"maybe_small": -(2**40)},
    {},
)


def figure(n: int) -> Figure:
    return (Square(side=n, colour=Colour.RED), Circle(radius=n / 2, colour=Colour.darkBlue), Dot())[n % 3]


def label(n: int, wrong: bool = True) -> Label:
    """Return a label; some are of a class that has more, some have nothing where something must be."""
    cls = Printed if n % 3 == 1 else Label
    letter: Any = None if wrong and n % 5 == 4 else "m"
    mark = Mark(letter=letter, count=2**31 if wrong and n % 7 == 6 else n) if n % 4 else None
    return cls(text=f"label {n}", size=n, mark=mark, long_name=None if n % 2 else f"long {n}")


def tree(n: int, depth: int = 2, wrong: bool = True) -> Tree:
    changes = WRONG[n % len(WRONG)] if wrong else {}
    return Tree(
        name=f"tree {n}",
        size=2**35 if wrong and n % 7 == 3 else n,
        flat=flat(n, **changes) if n % 5 else None,
        figure=figure(n) if n % 4 else None,
        figures=(*(figure(n + i) for i in range(n % 4)), *((None,) if wrong and n % 6 == 5 else ())),
        grid=tuple(tuple(range(i)) for i in range(n % 3)) + (((2**33,),) if wrong and n % 9 == 4 else ()),
        loose=None if n % 4 == 0 else ((1, None, 2**33 if wrong and n % 5 == 1 else 3), None, ()),
        flats=(flat(n), None, flat(n + 1, **changes)),
        children=tuple(tree(3 * n + i + 1, depth - 1, wrong) for i in range(n % 3)) if depth else (),
        colours=tuple(Colour)[: n % 3],
        label=label(n, wrong) if n % 6 else None,
        labels=tuple(label(n + i, wrong) for i in range(n % 4)),
    )


torture = Module("torture")


class Calls:
    """How often each edge was resolved, and for how many parents."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []


CALLS = Calls()


@torture.query(public=True)
async def get_tree(ctx: Read, size: int, wrong: bool = True) -> Tree:
    """Return a tree."""
    if size == 13:
        raise Cracked(where="root")
    return tree(size, wrong=wrong)


@torture.query(public=True, weight=3000)
async def fell_forest(ctx: Read, size: Small) -> bool:
    """Look at very many trees."""
    return size > 0


@torture.command(public=True, weight=4000)
async def burn_forest(ctx: Write, size: Small) -> None:
    """Change very many trees."""


@torture.edge(Tree, "rings", public=True, weight=200)
async def tree_rings(ctx: Read, parents: Sequence[Tree]) -> Sequence[Mark | None]:
    """Count what takes long to count."""
    return [Mark(letter="r", count=parent.size) if parent.size % 2 else None for parent in parents]


@torture.query(public=True)
async def find_tree(ctx: Read, size: int) -> Tree | None:
    """Return a tree or nothing."""
    if size < 0:
        raise RuntimeError("a bug")
    return tree(size) if size % 2 else None


@torture.query(public=True)
async def all_trees(ctx: Read, sizes: Annotated[list[int], Meta(max_length=5)]) -> list[Tree | None]:
    """Return several trees."""
    return [tree(size, 1) if size % 4 != 2 else None for size in sizes]


@torture.query(public=True)
async def list_flats(ctx: Read, page: PageRequest, colour: Colour | None = None) -> Page[Flat]:
    """Return a page."""
    start = int(page.page_token) if page.page_token is not None and page.page_token.isdigit() else 0
    items = [flat(n) for n in range(start, start + min(page.limit, 4)) if n < 9]
    more = str(start + len(items)) if start + len(items) < 9 else None
    return Page(items=[item for item in items if colour in (None, item.colour)], next_page_token=more)


@torture.query(public=True)
async def draw_figures(ctx: Read, count: int = 4) -> list[Figure]:
    """Return figures."""
    return [figure(n) for n in range(count % 8)]


@torture.query(public=True)
async def count_trees(ctx: Read, like: Figure | None = None, colours: tuple[Colour, ...] = ()) -> int:
    """Return a number."""
    return len(colours) if like is None else 100


@torture.command(public=True)
async def plant_tree(ctx: Write, size: int) -> Tree:
    """Plant one."""
    if size == 13:
        raise Cracked(where="ground")
    return tree(size)


@torture.command(public=True)
async def fell_tree(ctx: Write, size: int) -> None:
    """Fell one."""
    if size == 13:
        raise Cracked(where="ground")


@torture.edge(Tree, "twin", public=True)
async def tree_twin(ctx: Read, parents: Sequence[Tree]) -> Sequence[Tree | None]:
    """Another one, or a reason why there is none."""
    CALLS.made.append(("twin", len(parents)))
    return [_twin(parent) for parent in parents]


def _twin(parent: Tree) -> Any:
    match parent.size % 6:
        case 0:
            return None
        case 1:
            return Cracked(where=parent.name)
        case 2:
            return NotFound()
        case 3:
            return PermissionDenied()
        case _:
            return tree(parent.size % 50 + 1, 1)


@torture.edge(Tree, "friends", public=True)
async def tree_friends(ctx: Read, parents: Sequence[Tree], page: PageRequest, shift: int = 0) -> Sequence[Page[Tree]]:
    """Some others, in pages."""
    CALLS.made.append(("friends", len(parents)))
    return [Page(items=[tree(p.size % 20 + i + shift, 0) for i in range(min(page.limit, 2))]) for p in parents]


@torture.edge(Flat, "shapes", public=True)
async def flat_shapes(
    ctx: Read, parents: Sequence[Flat], count: Annotated[int, Meta(le=3)] = 2
) -> Sequence[list[Figure]]:
    """Figures, where there are any."""
    CALLS.made.append(("shapes", len(parents)))
    return [[figure(p.small % 50 + i) for i in range(max(count, 0))] for p in parents]


@torture.edge(Square, "owner", public=True)
async def square_owner(ctx: Read, parents: Sequence[Square]) -> Sequence[Flat]:
    """Whose it is; it fails for all together now and then."""
    CALLS.made.append(("owner", len(parents)))
    if any(parent.side == 9 for parent in parents):
        raise Cracked(where="owner")
    return [flat(parent.side) for parent in parents]


@torture.edge(Tree, "odd", public=True)
async def tree_odd(ctx: Read, parents: Sequence[Tree]) -> Sequence[Flat]:
    """Wrong values from an edge."""
    return [flat(p.size % 50, **WRONG[p.size % len(WRONG)]) if p.size % 4 else None for p in parents]  # type: ignore[misc]  # wrong on purpose
