"""Payments as a module: its name, its version, who answers for it, whom it asks."""

from __future__ import annotations

from shop.customers import customers
from trivet import Module

payments = Module("payments", version="1.0.0", owner="payments team", uses=[customers])
