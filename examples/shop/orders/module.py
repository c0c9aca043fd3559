"""Orders as a module: its name, its version, who answers for it, whom it asks."""

from __future__ import annotations

from shop.catalog import catalog
from shop.customers import customers
from shop.payments import payments
from trivet import Module

orders = Module("orders", version="1.0.0", owner="orders team", uses=[catalog, customers, payments])
