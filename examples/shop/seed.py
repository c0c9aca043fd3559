"""What a new shop starts with: 2,000 products, 500 customers, 3,000 orders and their payments, always the same.

The rows come from pure functions of a seeded generator, so that every fresh database holds the same ids and prices.
Amounts are decided by the rules of the modules themselves: an order above its customer's limit was declined here too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from shop import words
from shop.catalog import NewProduct, Product, ProductId, catalog
from shop.catalog.tables import products as product_table
from shop.customers import Address, Customer, CustomerId, customers
from shop.customers.tables import customers as customer_table
from shop.orders import NewLine, Order, OrderId, OrderStatus, orders
from shop.orders.model import priced, total_of
from shop.orders.tables import orders as order_table
from shop.payments import Decline, Payment, PaymentId, PaymentStatus, payments
from shop.payments.model import decision
from shop.payments.tables import payments as payment_table
from trivet import Money
from trivet.app import Seeding
from trivet.core.clock import uuid7

PRODUCTS, CUSTOMERS, ORDERS = 2_000, 500, 3_000
SEED = 20260101
OPENING = datetime(2026, 1, 2, 8, tzinfo=UTC)
LAST_ORDER = datetime(2026, 10, 31, 20, tzinfo=UTC)
STILL_IN_THE_HOUSE = timedelta(days=3)
LIMITS = (Decimal("500.00"), Decimal("1000.00"), Decimal("2500.00"), Decimal("5000.00"))


async def seed(seeding: Seeding) -> None:
    """Fill an empty shop, one transaction a module."""
    chance = random.Random(SEED)
    goods = list(new_products(chance))
    buyers = list(new_customers(chance))
    placed = list(new_orders(chance, goods, buyers))
    async with seeding.write(catalog) as ctx:
        await product_table.insert_many(ctx, goods)
    async with seeding.write(customers) as ctx:
        await customer_table.insert_many(ctx, buyers)
    async with seeding.write(orders) as ctx:
        await order_table.insert_many(ctx, placed)
    async with seeding.write(payments) as ctx:
        await payment_table.insert_many(ctx, list(new_payments(chance, placed, {b.id: b for b in buyers})))


def new_products(chance: random.Random) -> Iterator[Product]:
    """Yield the products, oldest first."""
    for number, when in enumerate(instants(chance, PRODUCTS, OPENING - timedelta(days=365), OPENING), start=1):
        kind = chance.choice(words.GOODS)
        material = chance.choice(kind.materials)
        line = chance.choice(words.LINES)
        said = NewProduct(
            sku=f"{kind.code}-{material[:3].upper()}-{number:04}",
            name=f"{line} {material} {kind.name}",
            description=f"{kind.name.capitalize()} of {material}, from the {line} line. {kind.phrase}",
            brand=chance.choice(words.BRANDS),
            price=Money(amount=price(chance, kind.low, kind.high), currency="EUR"),
            stock=chance.choice((0, *range(3, 60), 120, 250)),
            tags=(kind.room, material),
        )
        yield Product(
            id=ProductId(identifier(chance, when)),
            sku=said.sku,
            name=said.name,
            description=said.description,
            brand=said.brand,
            price=said.price,
            stock=said.stock,
            tags=said.tags,
            version=1,
            create_time=when,
            update_time=when,
        )


def new_customers(chance: random.Random) -> Iterator[Customer]:
    """Yield the customers, each with an address and a limit."""
    for number, when in enumerate(instants(chance, CUSTOMERS, OPENING - timedelta(days=300), OPENING), start=1):
        given, family = chance.choice(words.GIVEN_NAMES), chance.choice(words.FAMILY_NAMES)
        place = chance.choice(words.PLACES)
        postal_code = f"{chance.randrange(10 ** (place.digits - 1), 10**place.digits)}"
        yield Customer(
            id=CustomerId(identifier(chance, when)),
            owner=f"customer-{number:03}",
            name=f"{given} {family}",
            email=f"{given}.{family}.{number}@example.com".lower(),
            address=Address(
                street=f"{chance.choice(place.streets)} {chance.randint(1, 140)}",
                postal_code=postal_code,
                city=place.city,
                country=place.country,
            ),
            spending_limit=Money(amount=chance.choice(LIMITS), currency="EUR"),
            version=1,
            create_time=when,
            update_time=when,
        )


def new_orders(chance: random.Random, goods: Sequence[Product], buyers: Sequence[Customer]) -> Iterator[Order]:
    """Yield the orders, oldest first; all are settled, so that nothing waits for an event that was never stored."""
    by_id = {product.id: product for product in goods}
    for when in instants(chance, ORDERS, OPENING, LAST_ORDER):
        customer = chance.choice(buyers)
        wanted = [
            NewLine(product_id=product.id, quantity=chance.choice((1, 1, 1, 2, 4)))
            for product in chance.sample(goods, chance.choice((1, 1, 2, 2, 3, 5)))
        ]
        lines = priced(wanted, by_id)
        total = total_of(lines)
        status, reason = settled(chance, when, decision(total, customer.spending_limit))
        yield Order(
            id=OrderId(identifier(chance, when)),
            customer_id=customer.id,
            owner=customer.owner,
            status=status,
            reason=reason,
            lines=lines,
            total=total,
            version=3 if status is OrderStatus.SHIPPED else 2,
            create_time=when,
            update_time=when + timedelta(seconds=chance.randint(1, 9)),
        )


def settled(chance: random.Random, when: datetime, decline: Decline | None) -> tuple[OrderStatus, str]:
    """Return what became of an order placed then."""
    if decline is not None:
        return OrderStatus.CANCELLED, f"payment declined: {decline.value}"
    if chance.random() < 0.03:
        return OrderStatus.CANCELLED, chance.choice(words.REASONS)
    return (OrderStatus.CONFIRMED if LAST_ORDER - when < STILL_IN_THE_HOUSE else OrderStatus.SHIPPED), ""


def new_payments(
    chance: random.Random, placed: Sequence[Order], buyers: Mapping[CustomerId, Customer]
) -> Iterator[Payment]:
    """Yield the payment of each order: captured, declined, or given back."""
    for order in placed:
        decline = decision(order.total, buyers[order.customer_id].spending_limit)
        refunded = order.status is OrderStatus.CANCELLED
        captured = PaymentStatus.REFUNDED if refunded else PaymentStatus.CAPTURED
        yield Payment(
            id=PaymentId(identifier(chance, order.update_time)),
            reference=order.id,
            customer_id=order.customer_id,
            amount=order.total,
            status=captured if decline is None else PaymentStatus.DECLINED,
            decline=decline,
            version=2 if decline is None and refunded else 1,
            create_time=order.update_time,
            update_time=order.update_time,
        )


def instants(chance: random.Random, count: int, first: datetime, last: datetime) -> list[datetime]:
    """Return so many instants between two others, in order."""
    seconds = int((last - first).total_seconds())
    return [first + timedelta(seconds=after) for after in sorted(chance.sample(range(seconds), count))]


def identifier(chance: random.Random, when: datetime) -> UUID:
    """Return the UUIDv7 of that instant."""
    return uuid7(int(when.timestamp()) * 1_000_000_000, 0, chance.getrandbits(53))


def price(chance: random.Random, low: int, high: int) -> Decimal:
    """Return a price as shops write them: more often low than high, and just below a round one."""
    whole = int(low + (high - low) * chance.random() ** 2)
    return Decimal(f"{whole}.{chance.choice(('00', '50', '90', '95'))}")
