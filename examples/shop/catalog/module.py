"""The catalog as a module: its name, its version, who answers for it."""

from __future__ import annotations

from trivet import Module

catalog = Module("catalog", version="1.0.0", owner="catalog team")
