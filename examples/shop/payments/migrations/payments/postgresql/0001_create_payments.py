"""Create payments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "payments",
        sa.Column("id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("reference", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("amount_amount", sa.Numeric(precision=18, scale=4), autoincrement=False, nullable=False),
        sa.Column("amount_currency", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("decline", sa.Text(collation="C"), autoincrement=False, nullable=True),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="payments",
    )
    op.create_index("ix_payments_create_time_id", "payments", ["create_time", "id"], unique=False, schema="payments")
    op.create_index(
        "ix_payments_reference_create_time_id",
        "payments",
        ["reference", "create_time", "id"],
        unique=False,
        schema="payments",
    )
    op.create_index(
        "ix_payments_status_create_time_id",
        "payments",
        ["status", "create_time", "id"],
        unique=False,
        schema="payments",
    )
    op.create_index("uq_payments_reference", "payments", ["reference"], unique=True, schema="payments")
