"""Create orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("lines", postgresql.JSONB(astext_type=sa.Text()), autoincrement=False, nullable=False),
        sa.Column("total_amount", sa.Numeric(precision=18, scale=4), autoincrement=False, nullable=False),
        sa.Column("total_currency", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="orders",
    )
    op.create_index("ix_orders_create_time_id", "orders", ["create_time", "id"], unique=False, schema="orders")
    op.create_index(
        "ix_orders_customer_id_create_time_id",
        "orders",
        ["customer_id", "create_time", "id"],
        unique=False,
        schema="orders",
    )
    op.create_index(
        "ix_orders_owner_create_time_id", "orders", ["owner", "create_time", "id"], unique=False, schema="orders"
    )
    op.create_index(
        "ix_orders_status_create_time_id", "orders", ["status", "create_time", "id"], unique=False, schema="orders"
    )
