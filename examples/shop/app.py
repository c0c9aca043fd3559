"""The shop: an ASGI application. ``trivet dev --app-dir examples shop.app:app`` serves it."""

from __future__ import annotations

from shop.catalog import catalog
from shop.customers import customers
from shop.orders import orders
from shop.payments import payments
from shop.seed import seed
from trivet import App

app = App("shop", modules=[catalog, customers, orders, payments], seed=seed)
