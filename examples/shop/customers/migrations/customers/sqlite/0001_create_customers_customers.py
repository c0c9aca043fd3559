"""Create customers_customers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "customers_customers",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("email", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("address_street", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("address_postal_code", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("address_city", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("address_country", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("spending_limit_amount", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spending_limit_currency", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_customers_customers_address_country_name_id",
        "customers_customers",
        ["address_country", "name", "id"],
        unique=False,
    )
    op.create_index("ix_customers_customers_name_id", "customers_customers", ["name", "id"], unique=False)
    op.create_index(
        "ix_customers_customers_owner_name_id", "customers_customers", ["owner", "name", "id"], unique=False
    )
    op.create_index("uq_customers_customers_email", "customers_customers", ["email"], unique=True)
