"""Calls the shop with what openapi-generator made for Python: python openapi_generator.py FOLDER URL."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, sys.argv[1])

from openapi_client import ApiClient, CatalogApi, Configuration, CustomersApi, NewLine, NewOrder, OrdersApi
from openapi_client.exceptions import BadRequestException, NotFoundException

NOBODY = "00000000-0000-0000-0000-000000000001"


def failed(call: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    """Return with what the call was refused."""
    try:
        call(*arguments)
    except (BadRequestException, NotFoundException) as refused:
        return refused.status, json.loads(refused.body)
    raise AssertionError("it was not refused")


with ApiClient(Configuration(host=sys.argv[2])) as client:
    catalog = CatalogApi(client)
    listed = catalog.catalog_list_products(page_size=2, text="walnut")
    first, second = listed.items
    got = catalog.catalog_get_product(first.id)
    batch = catalog.catalog_get_products([second.id, NOBODY, first.id])
    customer = CustomersApi(client).customers_list_customers(page_size=1).items[0]
    orders = OrdersApi(client)
    line = NewLine(product_id=first.id, quantity=1)
    order = orders.orders_create_order(NewOrder(customer_id=customer.id, lines=[line]))
    wrong = NewLine.model_construct(product_id=first.id, quantity=0)
    refused = failed(orders.orders_create_order, NewOrder.model_construct(customer_id=customer.id, lines=[wrong]))
    missing = failed(catalog.catalog_get_product, NOBODY)

print(
    json.dumps(
        {
            "listed": [str(item.id) for item in listed.items],
            "more": listed.next_page_token is not None,
            "got": got.name == first.name,
            "batch": [None if item is None else str(item.id) for item in batch.items],
            "ordered": [order.status, order.total.amount == first.price.amount, str(order.lines[0].product_id)],
            "refused": [refused[0], refused[1]["errors"][0]["pointer"]],
            "missing": [missing[0], missing[1]["reason"]],
        }
    )
)
