"""Keep messages by the day."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

GRANTS = """
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT a.privilege_type AS what, a.is_grantable AS further,
               CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS whom
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = 'trivet.trivet_outbox_0'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format(
            'GRANT %s ON trivet.trivet_outbox TO %s%s',
            given.what, given.whom, CASE WHEN given.further THEN ' WITH GRANT OPTION' ELSE '' END
        );
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Change the tables; the release that runs now must go on working meanwhile and afterwards.

    The table that is there becomes the first partition. It is looked through before that, while everybody uses it; what
    follows is over in a moment.
    """
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE trivet.trivet_outbox DROP CONSTRAINT IF EXISTS trivet_outbox_first")
        op.execute(
            "ALTER TABLE trivet.trivet_outbox "
            "ADD CONSTRAINT trivet_outbox_first CHECK (position < 100000000000) NOT VALID"
        )
        op.execute("ALTER TABLE trivet.trivet_outbox VALIDATE CONSTRAINT trivet_outbox_first")
    op.execute("ALTER TABLE trivet.trivet_outbox RENAME TO trivet_outbox_0")
    op.execute("ALTER INDEX trivet.trivet_outbox_pkey RENAME TO trivet_outbox_0_pkey")
    op.execute(
        "CREATE TABLE trivet.trivet_outbox (LIKE trivet.trivet_outbox_0 INCLUDING DEFAULTS, PRIMARY KEY (position)) "
        "PARTITION BY RANGE (position)"
    )
    op.execute(
        "ALTER TABLE trivet.trivet_outbox "
        "ATTACH PARTITION trivet.trivet_outbox_0 FOR VALUES FROM (MINVALUE) TO (100000000000)"
    )
    op.execute("ALTER SEQUENCE trivet.trivet_outbox_position_seq OWNED BY trivet.trivet_outbox.position")
    op.execute("ALTER TABLE trivet.trivet_outbox_0 DROP CONSTRAINT trivet_outbox_first")
    op.execute(GRANTS)
