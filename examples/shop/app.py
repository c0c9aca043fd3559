"""The shop: an ASGI application. ``trivet dev --app-dir examples shop.app:app`` serves it."""

from __future__ import annotations

from shop.catalog import catalog
from shop.customers import customers
from shop.orders import orders
from shop.payments import payments
from shop.seed import seed
from trivet import About, App

about = About(
    description="A shop for furniture: a catalog, customers, orders, and the payments for them.",
    contact="The shop team",
    url="https://shop.example/help",
    email="api@shop.example",
    license="Apache-2.0",
    audience="external-public",
)

app = App("shop", modules=[catalog, customers, orders, payments], seed=seed, about=about)
