"""The customers as a module: its name, its version, who answers for it."""

from __future__ import annotations

from trivet import Module

customers = Module("customers", version="1.0.0", owner="customer team")
