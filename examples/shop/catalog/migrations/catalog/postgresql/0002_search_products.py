"""Search products."""

from __future__ import annotations

from alembic import op

from trivet.migrations.search import CreateSearch

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    with op.get_context().autocommit_block():
        op.invoke(
            CreateSearch(
                "products",
                key=["id"],
                fields=[["name"], ["brand", "sku"], ["description"]],
                language="english",
                schema="catalog",
                aside=True,
            )
        )
