"""Calls the shop with what openapi-python-client made: python openapi_python_client.py FOLDER URL."""

from __future__ import annotations

import json
import sys

sys.path.insert(0, sys.argv[1])

from shop_client import Client
from shop_client.api.catalog import catalog_get_product, catalog_get_products, catalog_list_products
from shop_client.api.customers import customers_list_customers
from shop_client.api.orders import orders_create_order
from shop_client.models import NewLine, NewOrder

NOBODY = "00000000-0000-0000-0000-000000000001"

with Client(base_url=sys.argv[2], raise_on_unexpected_status=False) as client:
    listed = catalog_list_products.sync(client=client, page_size=2, text="walnut")
    first, second = listed.items
    got = catalog_get_product.sync(client=client, id=first.id)
    batch = catalog_get_products.sync(client=client, ids=[second.id, NOBODY, first.id])
    customer = customers_list_customers.sync(client=client, page_size=1).items[0]
    line = NewLine(product_id=first.id, quantity=1)
    order = orders_create_order.sync(client=client, body=NewOrder(customer_id=customer.id, lines=[line]))
    wrong = NewLine(product_id=first.id, quantity=0)
    refused = orders_create_order.sync_detailed(client=client, body=NewOrder(customer_id=customer.id, lines=[wrong]))
    missing = catalog_get_product.sync_detailed(client=client, id=NOBODY)

print(
    json.dumps(
        {
            "listed": [str(item.id) for item in listed.items],
            "more": listed.next_page_token is not None,
            "got": got.name == first.name,
            "batch": [None if item is None else str(item.id) for item in batch.items],
            "ordered": [order.status.value, order.total.amount == first.price.amount, str(order.lines[0].product_id)],
            "refused": [int(refused.status_code), json.loads(refused.content)["errors"][0]["pointer"]],
            "missing": [int(missing.status_code), json.loads(missing.content)["reason"]],
        }
    )
)
