"""Create orders_best_sellers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "orders_best_sellers",
        sa.Column("product_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("sold", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("orders", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("product_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_orders_best_sellers_sold_product_id", "orders_best_sellers", ["sold", "product_id"], unique=False
    )
