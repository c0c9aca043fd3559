"""Create customers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("email", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("address_street", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("address_postal_code", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("address_city", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("address_country", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("spending_limit_amount", sa.Numeric(precision=18, scale=4), autoincrement=False, nullable=False),
        sa.Column("spending_limit_currency", sa.Text(collation="C"), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="customers",
    )
    op.create_index(
        "ix_customers_address_country_name_id",
        "customers",
        ["address_country", "name", "id"],
        unique=False,
        schema="customers",
    )
    op.create_index("ix_customers_name_id", "customers", ["name", "id"], unique=False, schema="customers")
    op.create_index(
        "ix_customers_owner_name_id", "customers", ["owner", "name", "id"], unique=False, schema="customers"
    )
    op.create_index("uq_customers_email", "customers", ["email"], unique=True, schema="customers")
