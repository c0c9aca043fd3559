"""Create catalog_products."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "catalog_products",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("sku", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("description", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("brand", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("price_amount", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("price_currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("stock", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tags", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_catalog_products_brand_create_time_id", "catalog_products", ["brand", "create_time", "id"], unique=False
    )
    op.create_index("ix_catalog_products_create_time_id", "catalog_products", ["create_time", "id"], unique=False)
    op.create_index("uq_catalog_products_sku", "catalog_products", ["sku"], unique=True)
