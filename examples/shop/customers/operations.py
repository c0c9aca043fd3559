"""What can be done with customers."""

from __future__ import annotations

from typing import Annotated

from msgspec.structs import replace

from shop.customers.model import (
    DEFAULT_LIMIT,
    Country,
    Customer,
    CustomerId,
    EmailTaken,
    NewCustomer,
)
from shop.customers.module import customers as module
from shop.customers.tables import by_country, customers
from shop.price import Price, check_price
from trivet import Example, Meta, Money, Page, PageRequest, Patch, Read, Write

CustomerIds = Annotated[list[CustomerId], Meta(max_length=100)]


@module.query(scope="customers.read")
async def get_customer(ctx: Read, id: CustomerId) -> Customer:
    """Return one customer: oneself, or anybody for staff."""
    return await customers.get(ctx, id)


@module.query(internal=True)
async def get_customers(ctx: Read, ids: CustomerIds) -> list[Customer | None]:
    """Return several customers, in the order of their ids; null where there is none or the caller may not see it."""
    return await customers.get_many(ctx, ids)


@module.query(scope="customers.read")
async def list_customers(ctx: Read, page: PageRequest, country: Country | None = None) -> Page[Customer]:
    """List the customers that the caller may see, by name."""
    return await customers.page(ctx, by_country, page, country=country)


@module.command(
    scope="customers.write",
    raises=[EmailTaken],
    examples=[
        Example(
            arguments={
                "customer": {
                    "name": "Ada Lovelace",
                    "email": "ada@example.com",
                    "address": {
                        "street": "12 St James's Square",
                        "postal_code": "SW1Y 4JH",
                        "city": "London",
                        "country": "GB",
                    },
                }
            }
        )
    ],
)
async def create_customer(ctx: Write, customer: NewCustomer) -> Customer:
    """Add a customer; without an owner it belongs to the caller."""
    created = Customer(
        id=CustomerId(ctx.new_id()),
        owner=customer.owner or ctx.principal.subject,
        name=customer.name,
        email=customer.email,
        address=customer.address,
        spending_limit=DEFAULT_LIMIT,
        version=1,
        create_time=ctx.now,
        update_time=ctx.now,
    )
    await customers.insert(ctx, created)
    return created


@module.command(scope="customers.write", raises=[EmailTaken])
async def update_customer(ctx: Write, id: CustomerId, changes: Patch[NewCustomer]) -> Customer:
    """Change some fields of a customer."""
    customer = await customers.lock(ctx, id)
    return await customers.update(ctx, changes.apply(customer, update_time=ctx.now))


@module.command(scope="customers.limits.write")
async def limit_customer(ctx: Write, id: CustomerId, limit: Price) -> Customer:
    """Set the most that one order of a customer may cost."""
    check_price(limit, "#/limit")
    customer = await customers.lock(ctx, id)
    return await customers.update(ctx, replace(customer, spending_limit=limit, update_time=ctx.now))


@module.query(internal=True, acts_as="module")
async def get_spending_limit(ctx: Read, id: CustomerId) -> Money:
    """Return the most that one order of a customer may cost."""
    return (await customers.get(ctx, id)).spending_limit
