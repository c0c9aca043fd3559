"""Create orders_orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "orders_orders",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("lines", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("total_amount", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("total_currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_orders_orders_create_time_id", "orders_orders", ["create_time", "id"], unique=False)
    op.create_index(
        "ix_orders_orders_customer_id_create_time_id",
        "orders_orders",
        ["customer_id", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "ix_orders_orders_owner_create_time_id", "orders_orders", ["owner", "create_time", "id"], unique=False
    )
    op.create_index(
        "ix_orders_orders_status_create_time_id", "orders_orders", ["status", "create_time", "id"], unique=False
    )
