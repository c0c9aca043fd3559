"""Create products."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "products",
        sa.Column("id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("sku", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("description", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("brand", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("price_amount", sa.Numeric(precision=18, scale=4), autoincrement=False, nullable=False),
        sa.Column("price_currency", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("stock", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="catalog",
    )
    op.create_index(
        "ix_products_brand_create_time_id", "products", ["brand", "create_time", "id"], unique=False, schema="catalog"
    )
    op.create_index("ix_products_create_time_id", "products", ["create_time", "id"], unique=False, schema="catalog")
    op.create_index("uq_products_sku", "products", ["sku"], unique=True, schema="catalog")
