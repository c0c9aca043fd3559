"""Keep where shards are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.create_table(
        "trivet_closing",
        sa.Column("logical", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("logical"),
    )
    op.create_table(
        "trivet_held",
        sa.Column("logical", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("here", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("logical"),
    )
    op.create_table(
        "trivet_inbox",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("trivet_inbox_create_time", "trivet_inbox", ["create_time"], unique=False)
    op.create_table(
        "trivet_shard",
        sa.Column("logical", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("logical"),
    )
    op.add_column("trivet_key", sa.Column("shard", sa.SmallInteger(), nullable=True))
