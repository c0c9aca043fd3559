"""Create payments_payments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "payments_payments",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reference", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("amount_amount", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("amount_currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("decline", sa.Text(), autoincrement=False, nullable=True),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index("ix_payments_payments_create_time_id", "payments_payments", ["create_time", "id"], unique=False)
    op.create_index(
        "ix_payments_payments_reference_create_time_id",
        "payments_payments",
        ["reference", "create_time", "id"],
        unique=False,
    )
    op.create_index(
        "ix_payments_payments_status_create_time_id", "payments_payments", ["status", "create_time", "id"], unique=False
    )
    op.create_index("uq_payments_payments_reference", "payments_payments", ["reference"], unique=True)
