"""An app whose one shape has a field of every kind that the contract knows, and protobuf's own classes for it."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from random import Random
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from google.protobuf import descriptor_pool, message_factory
from hypothesis import strategies as st

from trivet import App, Meta, Module, Money, Read, Struct
from trivet.contracts.describe import describe
from trivet.contracts.proto.descriptor import descriptors
from trivet.contracts.proto.message import Message, Package
from trivet.contracts.proto.package import contract_of
from trivet.core.fault import NOWHERE
from trivet.testing import settings_for_tests

T = TypeVar("T")


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    DARK_BLUE = "dark-blue"


class Level(enum.IntEnum):
    """How high."""

    LOW = 0
    HIGH = 7


class Card(Struct, tag=True):
    """Paid by card."""

    last_digits: str


class Cash(Struct, tag="cash"):
    """Paid in coins.

    Attributes:
        coins: How many of each value.
    """

    coins: dict[int, int]


class Leaf(Struct):
    """Something with something of its kind inside."""

    name: str
    leaves: list[Leaf] = []
    next: Leaf | None = None


class Everything(Struct):
    """A field of every kind."""

    flag: bool
    number: int
    ratio: float
    text: str
    data: bytes
    exact: Decimal
    id: UUID
    day: datetime.date
    clock: datetime.time
    moment: Annotated[datetime.datetime, Meta(tz=True)]
    span: datetime.timedelta
    colour: Colour
    level: Level
    size: Literal["s", "m", "l"]
    price: Money
    payment: Card | Cash
    word: int | str
    tree: Leaf
    anything: Any
    texts: list[str]
    numbers: tuple[int, ...]
    ratios: list[float]
    flags: list[bool]
    colours: list[Colour]
    moments: list[datetime.datetime]
    maybe_texts: list[str | None]
    rows: list[list[int]]
    payments: list[Card | Cash]
    by_text: dict[str, Money]
    by_number: dict[int, Colour]
    by_id: dict[UUID, list[str]]
    maybe_number: int | None
    maybe_list: list[str] | None
    maybe_price: Money | None
    with_default: int = 3
    some: tuple[str, ...] = ("a", "b")
    last: Annotated[str, Meta(max_length=5)] = ""


module = Module("every")


@module.query(public=True)
async def echo(ctx: Read, value: Everything) -> Everything:
    """Return what came."""
    return value


app = App("test", modules=[module], settings=settings_for_tests())


@cache
def package() -> Package:
    """The contract of the app."""
    api, faults = describe("test", [module])
    contract, unfit = contract_of(api, NOWHERE)
    assert not faults + unfit
    return contract.packages[0]  # type: ignore[no-any-return]


def message(name: str) -> Message:
    """Return one of its messages."""
    return next(m for m in package().messages if m.name == name)


@cache
def classes() -> dict[str, Any]:
    """Protobuf's own classes for its messages."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors([package()]):
        pool.Add(file)
    return {
        m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(m.full_name)) for m in package().messages
    }


class Draw:
    """Draws values from one seed: an order of magnitude sooner than a strategy for each of forty fields."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def text(self) -> str:
        """A short text, also of characters that are rare."""
        return "".join(self._random.choices('aZ 0_\u00e9\u20ac\U0001f600\n\x00"\\', k=self._random.randrange(9)))

    def number(self) -> int:
        """An integer, often at an edge."""
        edges = (0, 1, -1, 127, 128, 16383, 16384, 2**31, 2**53 - 1, -(2**53) + 1)
        return self._random.choice((*edges, self._random.randrange(-(10**12), 10**12)))

    def ratio(self) -> float:
        """A number with a fraction."""
        return self._random.choice((0.0, -0.0, 1.5, float("inf"), float("-inf"), 5e-324, self._random.gauss(0, 1e6)))

    def moment(self) -> datetime.datetime:
        """An instant, from the first year to the last."""
        first, last = (
            datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
            datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC),
        )
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        micros = self._random.randrange(10**6)
        return self._random.choice((first, last, epoch, datetime.datetime(2026, 1, 1, 0, 0, 0, micros, datetime.UTC)))

    def span(self) -> datetime.timedelta:
        """A span of time, of either sign."""
        return datetime.timedelta(self._random.randrange(-999, 999), 0, self._random.randrange(-(10**6), 10**6))

    def money(self) -> Money:
        """An amount."""
        return Money(amount=Decimal(self._random.randrange(-(10**9), 10**9)).scaleb(-4), currency="EUR")

    def payment(self) -> Card | Cash:
        """One of a union."""
        if self._random.random() < 0.5:
            return Card(last_digits=self.text())
        return Cash(coins={self.number(): self.number() for _ in range(self._random.randrange(3))})

    def leaf(self, depth: int = 3) -> Leaf:
        """A shape with shapes of its own kind inside."""
        inner = self.some(lambda: self.leaf(depth - 1)) if depth else []
        return Leaf(name=self.text(), leaves=inner, next=self.maybe(lambda: self.leaf(depth - 1)) if depth else None)

    def anything(self, depth: int = 3) -> Any:
        """Any JSON."""
        kind = self._random.randrange(6 if depth else 4)
        if kind == 4:
            return self.some(lambda: self.anything(depth - 1))
        if kind == 5:
            return {self.text(): self.anything(depth - 1) for _ in range(self._random.randrange(3))}
        return (None, True, self._random.randrange(1000), self.text())[kind]

    def id(self) -> UUID:
        """A UUID."""
        return UUID(int=self._random.getrandbits(128))

    def some(self, draw: Callable[[], T]) -> list[T]:
        """A list, often empty."""
        return [draw() for _ in range(self._random.randrange(3))]

    def maybe(self, draw: Callable[[], T]) -> T | None:
        """A value or none."""
        return draw() if self._random.random() < 0.5 else None

    def one(self, *values: T) -> T:
        """One of several."""
        return self._random.choice(values)

    def everything(self) -> Everything:
        """A field of every kind."""
        colours, text, number = tuple(Colour), self.text, self.number
        return Everything(
            flag=self.one(True, False),
            number=number(),
            ratio=self.ratio(),
            text=text(),
            data=text().encode(),
            exact=self.money().amount,
            id=self.id(),
            day=self.moment().date(),
            clock=self.moment().time(),
            moment=self.moment(),
            span=self.span(),
            colour=self.one(*colours),
            level=self.one(*Level),
            size=self.one("s", "m", "l"),
            price=self.money(),
            payment=self.payment(),
            word=number() if self.one(True, False) else text(),
            tree=self.leaf(),
            anything=self.anything(),
            texts=self.some(text),
            numbers=tuple(self.some(number)),
            ratios=self.some(self.ratio),
            flags=self.some(lambda: self.one(True, False)),
            colours=self.some(lambda: self.one(*colours)),
            moments=self.some(self.moment),
            maybe_texts=self.some(lambda: self.maybe(text)),
            rows=self.some(lambda: self.some(number)),
            payments=self.some(self.payment),
            by_text={text(): self.money() for _ in range(2)},
            by_number={number(): self.one(*colours) for _ in range(2)},
            by_id={self.id(): self.some(text) for _ in range(2)},
            maybe_number=self.maybe(number),
            maybe_list=self.maybe(lambda: self.some(text)),
            maybe_price=self.maybe(self.money),
            with_default=number(),
            some=tuple(self.some(text)),
            last=text()[:5],
        )


everything = st.integers(0, 2**32).map(lambda seed: Draw(seed).everything())
