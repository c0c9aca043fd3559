"""Who the callers of the shop are."""

from __future__ import annotations

STAFF = "staff"
"""The role of the people who run the shop: they see and change every row, not only their own."""
