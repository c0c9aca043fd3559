"""Keep what was wrong with jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards."""
    op.add_column("trivet_job", sa.Column("errors", sa.LargeBinary(), nullable=True), schema="trivet")
