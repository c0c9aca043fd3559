"""The shop's rules are pure functions, and hold for whatever they are given."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.catalog import OutOfStock, Product, ProductId, ProductUnknown, StockLine
from shop.catalog.model import released, reserved
from shop.customers import CustomerId
from shop.orders import NewLine, Order, OrderId, OrderStatus, StatusChangeRefused
from shop.orders.model import TRANSITIONS, CurrenciesDiffer, OrderLine, check_days, moved, priced, total_of
from shop.payments import Decline
from shop.payments.model import decision
from shop.price import check_price
from shop.seed import SEED, new_customers, new_orders, new_products
from trivet import InvalidArgument, Money

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def euros(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")


def product(number: int, *, stock: int = 10, price: str = "9.90") -> Product:
    return Product(
        id=ProductId(UUID(int=number)),
        sku=f"SKU-{number}",
        name="Chair",
        description="",
        brand="Nordwald",
        price=euros(price),
        stock=stock,
        tags=(),
        version=1,
        create_time=NOW,
        update_time=NOW,
    )


def order(status: OrderStatus = OrderStatus.PENDING, *, total: str = "10", when: datetime = NOW) -> Order:
    return Order(
        id=OrderId(UUID(int=1)),
        customer_id=CustomerId(UUID(int=2)),
        owner="ada",
        status=status,
        reason="",
        lines=(),
        total=euros(total),
        version=1,
        create_time=when,
        update_time=when,
    )


STOCKS = st.dictionaries(st.integers(1, 9), st.integers(0, 20), min_size=1)


@given(stocks=STOCKS, wanted=st.dictionaries(st.integers(1, 9), st.integers(1, 20), min_size=1))
def test_stock_is_taken_for_all_lines_or_for_none(stocks: dict[int, int], wanted: dict[int, int]) -> None:
    products = {p.id: p for p in (product(n, stock=left) for n, left in stocks.items())}
    lines = [StockLine(product_id=ProductId(UUID(int=n)), quantity=q) for n, q in wanted.items()]
    enough = all(stocks.get(n, -1) >= q for n, q in wanted.items())
    if not enough:
        with pytest.raises((OutOfStock, ProductUnknown)):
            reserved(products, lines, NOW)
        return
    after = {p.id: p.stock for p in reserved(products, lines, NOW)}
    assert after == {ProductId(UUID(int=n)): stocks[n] - q for n, q in wanted.items()}


@given(stocks=STOCKS, chance=st.randoms(use_true_random=False))
def test_what_is_released_is_what_was_reserved(stocks: dict[int, int], chance: random.Random) -> None:
    products = {p.id: p for p in (product(n, stock=left) for n, left in stocks.items())}
    lines = [StockLine(product_id=p.id, quantity=chance.randint(1, p.stock)) for p in products.values() if p.stock > 0]
    taken = products | {p.id: p for p in reserved(products, lines, NOW)}
    back = taken | {p.id: p for p in released(taken, lines, NOW)}
    assert {p.id: p.stock for p in back.values()} == {p.id: p.stock for p in products.values()}


def test_releasing_passes_over_what_is_no_longer_sold() -> None:
    assert released({}, [StockLine(product_id=ProductId(UUID(int=1)), quantity=1)], NOW) == []


def test_a_price_below_zero_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_price(euros("-0.01"), "#/price")
    assert [violation.pointer for violation in refused.value.violations] == ["#/price/amount"]


def test_lines_of_the_same_product_are_added_up() -> None:
    oak = product(1, price="9.90")
    lines = priced([NewLine(product_id=oak.id, quantity=1), NewLine(product_id=oak.id, quantity=2)], {oak.id: oak})
    assert lines == (OrderLine(product_id=oak.id, quantity=3, price=euros("9.90"), total=euros("29.70")),)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 1000), st.integers(0, 10**6)), min_size=1, max_size=50))
def test_an_order_costs_exactly_the_sum_of_its_lines(wanted: list[tuple[int, int, int]]) -> None:
    cents = {number: price for number, _, price in wanted}
    products = {p.id: p for p in (product(n, price=f"{c / 100:.2f}") for n, c in cents.items())}
    lines = priced([NewLine(product_id=ProductId(UUID(int=n)), quantity=q) for n, q, _ in wanted], products)
    assert total_of(lines).amount * 100 == sum(q * cents[n] for n, q, _ in wanted)


def test_one_order_is_in_one_currency() -> None:
    francs = Money(amount=Decimal(5), currency="CHF")
    lines = [
        OrderLine(product_id=ProductId(UUID(int=n)), quantity=1, price=price, total=price)
        for n, price in enumerate((euros("5"), francs))
    ]
    with pytest.raises(CurrenciesDiffer) as refused:
        total_of(lines)
    assert refused.value.currencies == ("CHF", "EUR")


@pytest.mark.parametrize("before", OrderStatus)
@pytest.mark.parametrize("after", OrderStatus)
def test_a_status_follows_another_only_as_the_table_says(before: OrderStatus, after: OrderStatus) -> None:
    if after in TRANSITIONS[before]:
        assert moved(order(before), after, NOW, "why").status is after
    else:
        with pytest.raises(StatusChangeRefused):
            moved(order(before), after, NOW)


def test_every_status_can_be_reached_and_every_order_ends() -> None:
    reached, frontier = {OrderStatus.PENDING}, [OrderStatus.PENDING]
    while frontier:
        for status in TRANSITIONS[frontier.pop()] - reached:
            reached.add(status)
            frontier.append(status)
    assert reached == set(OrderStatus)
    assert {status for status in OrderStatus if not TRANSITIONS[status]} == {OrderStatus.SHIPPED, OrderStatus.CANCELLED}


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        pytest.param(euros("100.00"), None, id="at the limit"),
        pytest.param(euros("100.01"), Decline.OVER_LIMIT, id="over the limit"),
        pytest.param(Money(amount=Decimal(1), currency="CHF"), Decline.OTHER_CURRENCY, id="another currency"),
    ],
)
def test_a_charge_is_declined_by_rule(amount: Money, expected: Decline | None) -> None:
    assert decision(amount, euros("100.00")) is expected


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(date(2026, 1, 2), date(2026, 1, 1), id="reversed"),
        pytest.param(date(2026, 1, 1), date(2027, 1, 2), id="longer than a year"),
    ],
)
def test_an_export_covers_one_to_366_days(first: date, last: date) -> None:
    check_days(date(2026, 1, 1), date(2027, 1, 1))
    with pytest.raises(InvalidArgument):
        check_days(first, last)


def test_the_seed_is_always_the_same() -> None:
    def grown() -> tuple[list[Product], list[Order]]:
        chance = random.Random(SEED)
        goods, buyers = list(new_products(chance)), list(new_customers(chance))
        return goods, list(new_orders(chance, goods, buyers))

    goods, placed = grown()
    assert (goods, placed) == grown()
    assert (len(goods), len({p.sku for p in goods}), len(placed)) == (2_000, 2_000, 3_000)
    assert all(placed[i].create_time <= placed[i + 1].create_time for i in range(len(placed) - 1))
    assert {o.status for o in placed} == {OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.CANCELLED}
