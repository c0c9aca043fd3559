"""Who may see and change what: decided by scopes and by the rows themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from shop.app import app
from shop.catalog import NewProduct, create_product
from shop.customers import Address, Customer, NewCustomer, create_customer, list_customers
from shop.orders import NewLine, NewOrder, Order, create_order, get_order, list_orders, watch_orders
from shop.payments import list_payments
from trivet import Money, NotFound, Page, PageRequest, PermissionDenied, Principal
from trivet.testing import Client, principal

SCOPES = "customers.read customers.write orders.read orders.write payments.read"
ADA = principal("ada", scopes=SCOPES)
EMIL = principal("emil", scopes=SCOPES)
CLERK = principal("clerk", scopes=f"{SCOPES} catalog.products.write customers.limits.write orders.ship", roles="staff")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Nobody, talking to an empty shop."""
    async with Client(app) as client:
        yield client


async def test_everybody_reads_the_catalog_and_only_staff_write_it(client: Client) -> None:
    said = {"sku": "CHR-1", "name": "Chair", "brand": "Rask", "price": {"amount": "5.00", "currency": "EUR"}}
    assert (await client.get("/v1/products")).json() == {"items": []}
    assert (await client.post("/v1/products", json=said)).status == 401
    assert (await client.post("/v1/products", json=said, as_=ADA)).json()["reason"] == "SCOPE_REQUIRED"
    careless = principal("eve", scopes="catalog.products.write")
    assert (await client.post("/v1/products", json=said, as_=careless)).json()["reason"] == "PERMISSION_DENIED"
    assert (await client.post("/v1/products", json=said, as_=CLERK)).status == 201


async def test_without_credentials_the_answer_is_401_whatever_the_body_says(client: Client) -> None:
    answer = await client.post("/v1/orders", content=b"{ nonsense", headers={"Content-Type": "application/json"})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_customers_see_themselves_and_staff_see_all(client: Client) -> None:
    ada, emil = await customer(client, ADA), await customer(client, EMIL)
    assert (await client.get(f"/v1/customers/{ada.id}", as_=ADA)).status == 200
    assert (await client.get(f"/v1/customers/{ada.id}", as_=EMIL)).status == 404
    assert [c.id for c in await listed(client, EMIL)] == [emil.id]
    assert {c.id for c in await listed(client, CLERK)} == {ada.id, emil.id}


async def test_a_customer_can_not_be_added_for_or_given_to_somebody_else(client: Client) -> None:
    ada = await customer(client, ADA)
    theirs = new_customer("other@example.org", owner="emil")
    with pytest.raises(PermissionDenied):
        await client.as_(ADA).call(create_customer, theirs)
    given = await client.patch(f"/v1/customers/{ada.id}", json={"owner": "emil"}, headers=MERGE, as_=ADA)
    assert given.status == 403
    assert (await client.get(f"/v1/customers/{ada.id}", as_=ADA)).json()["owner"] == "ada"


async def test_customers_do_not_set_their_own_limit(client: Client) -> None:
    ada = await customer(client, ADA)
    limit = {"limit": {"amount": "1000000", "currency": "EUR"}}
    assert (await client.post(f"/v1/customers/{ada.id}:limit", json=limit, as_=ADA)).status == 403
    raised = await client.patch(f"/v1/customers/{ada.id}", json={"spending_limit": limit}, headers=MERGE, as_=ADA)
    assert raised.status == 400


async def test_orders_are_seen_by_their_customer_and_by_staff(client: Client) -> None:
    order = await ordered(client, ADA)
    await ordered(client, EMIL)
    assert (await client.as_(ADA).call(get_order, order.id)).id == order.id
    with pytest.raises(NotFound):
        await client.as_(EMIL).call(get_order, order.id)
    mine: Page[Order] = await client.as_(ADA).call(list_orders, PageRequest())
    assert [o.id for o in mine.items] == [order.id]
    all_orders = await client.as_(CLERK).call(list_orders, PageRequest())
    assert len(all_orders.items) == 2


async def test_nobody_orders_or_cancels_for_somebody_else(client: Client) -> None:
    order = await ordered(client, ADA)
    emil = await customer(client, EMIL)
    line = NewLine(product_id=order.lines[0].product_id, quantity=1)
    with pytest.raises(NotFound):
        await client.as_(ADA).call(create_order, NewOrder(customer_id=emil.id, lines=(line,)))
    refused = await client.post(f"/v1/orders/{order.id}:cancel", json={"reason": "mine now"}, as_=EMIL)
    assert refused.status == 404


async def test_payments_are_for_staff(client: Client) -> None:
    await ordered(client, ADA)
    await client.settle()
    assert (await client.as_(ADA).call(list_payments, PageRequest())).items == []
    assert len((await client.as_(CLERK).call(list_payments, PageRequest())).items) == 1


async def test_who_watches_sees_only_own_orders(client: Client) -> None:
    changes = await client.as_(ADA).call(watch_orders)
    first = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.1)  # until it listens
    await ordered(client, EMIL)
    order = await ordered(client, ADA)
    async with asyncio.timeout(10):
        assert (await first).order_id == order.id
    await changes.aclose()  # type: ignore[attr-defined]  # an asynchronous generator


async def test_relations_do_not_lead_around_the_rules(client: Client) -> None:
    order = await ordered(client, ADA)
    reader = principal("ada", scopes="orders.read")
    assert (await client.get(f"/v1/orders/{order.id}?expand=customer", as_=reader)).json()["reason"] == "SCOPE_REQUIRED"
    shown = await client.get(f"/v1/orders/{order.id}?expand=customer", as_=ADA)
    assert shown.json()["customer"]["owner"] == "ada"


async def test_what_is_internal_has_no_address(client: Client) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if "reserve" in path or "charge" in path or "refund" in path]


# -- what the tests begin with

MERGE = {"Content-Type": "application/merge-patch+json"}


def new_customer(email: str, owner: str = "") -> NewCustomer:
    address = Address(street="Torstraße 1", postal_code="10119", city="Berlin", country="DE")
    return NewCustomer(name="Somebody", email=email, address=address, owner=owner)


async def customer(client: Client, who: Principal) -> Customer:
    """Return the customer that is the caller, added when it is not there yet."""
    found = await listed(client, who)
    if found:
        return found[0]
    return await client.as_(who).call(create_customer, new_customer(f"{who.subject}@example.org"))


async def listed(client: Client, who: Principal) -> list[Customer]:
    page: Page[Customer] = await client.as_(who).call(list_customers, PageRequest())
    return page.items


async def ordered(client: Client, who: Principal) -> Order:
    """Return an order of the caller for something new."""
    buyer = await customer(client, who)
    product = await client.as_(CLERK).call(create_product, new_product(f"CHR-{who.subject.upper()}"))
    line = NewLine(product_id=product.id, quantity=1)
    return await client.as_(who).call(create_order, NewOrder(customer_id=buyer.id, lines=(line,)))


def new_product(sku: str) -> NewProduct:
    return NewProduct(sku=sku, name="Chair", brand="Rask", price=Money(amount=Decimal(5), currency="EUR"), stock=10)
