"""Keep when views were made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "trivet_view",
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("refresh_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("view"),
    )
