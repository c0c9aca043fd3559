"""Rows as files: what spreadsheets and programs read is what was written, and nothing in it is a formula."""

from __future__ import annotations

import csv
import enum
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.blobs.rows import FORMULA, Csv, ndjson
from trivet.core.shape import Struct
from trivet.core.value import Money


class Colour(enum.Enum):
    RED = "red"


class Line(Struct):
    name: str
    price: Money
    colour: Colour | None = None
    tags: tuple[str, ...] = ()
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    paid: bool = True
    left: int = 0


LINE = Line(name='a "b", c\nd', price=Money(amount=Decimal("-1.50"), currency="EUR"), tags=("x", "y"), left=-3)


def test_a_csv_has_a_column_for_each_field_and_keeps_every_value() -> None:
    write = Csv(Line)
    text = (write([LINE]) + write([LINE])).decode()
    header, first, second = csv.reader(io.StringIO(text, newline=""))
    assert header == ["name", "price.amount", "price.currency", "colour", "tags", "at", "paid", "left"]
    assert first == second == [LINE.name, "-1.50", "EUR", "", '["x","y"]', "2026-01-01T00:00:00Z", "true", "-3"]
    assert text.count("\r\n") == 3


def test_what_is_no_text_is_no_formula_either_and_a_number_stays_one() -> None:
    class Odd(Struct):
        digest: bytes
        late: timedelta
        owed: Decimal

    _, line = csv.reader(io.StringIO(Csv(Odd)([Odd(digest=b"\xfb", late=timedelta(-1), owed=Decimal(-2))]).decode()))
    assert line == ["'+w==", "'-P1D", "-2"]


def test_ndjson_has_one_line_for_each_row() -> None:
    one, two, end = ndjson([LINE, LINE]).split(b"\n")
    assert one == two
    assert end == b""
    assert json.loads(one)["price"] == {"amount": "-1.50", "currency": "EUR"}


@given(st.text().filter(lambda text: "\0" not in text))
def test_no_text_is_a_formula_and_every_text_can_be_told_again(name: str) -> None:
    written = Csv(Line)([Line(name=name, price=LINE.price)]).decode("utf-8", "surrogatepass")
    cell = list(csv.reader(io.StringIO(written, newline="")))[1][0]
    assert not cell.startswith(FORMULA)
    assert cell == (f"'{name}" if name.startswith(FORMULA) else name)


def test_a_row_of_another_shape_is_refused() -> None:
    write = Csv(Line)
    write([LINE])
    with pytest.raises(TypeError, match="rows are of one shape"):
        write([LINE.price])


def test_a_csv_without_rows_has_its_header() -> None:
    write = Csv(Line)
    assert write([]).decode() == "name,price.amount,price.currency,colour,tags,at,paid,left\r\n"
    assert write([]) == b""
