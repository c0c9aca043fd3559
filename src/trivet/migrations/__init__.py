"""Migrations: how the tables of an app become what its shapes say, in production, without downtime.

Each module has its own revisions, beside its own file, for each engine, and its own record of what was applied, in its
own schema. Alembic keeps and applies them; what is here decides where they are, writes them, and says which of them a
running release would not survive.
"""
