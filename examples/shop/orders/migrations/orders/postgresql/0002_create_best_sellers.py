"""Create best_sellers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "best_sellers",
        sa.Column("product_id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("sold", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("orders", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("product_id"),
        schema="orders",
    )
    op.create_index(
        "ix_best_sellers_sold_product_id", "best_sellers", ["sold", "product_id"], unique=False, schema="orders"
    )
