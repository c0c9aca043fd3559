"""Trivet: the orders and the products of the other cases in one application."""

from __future__ import annotations

from benchmarks.apps.trivet_orders import orders
from benchmarks.apps.trivet_products import catalog
from trivet import App

app = App("spine", modules=[orders, catalog])
