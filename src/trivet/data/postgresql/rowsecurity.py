"""Row-level security: the second wall between tenants, which the server holds whatever a statement says.

Each table that is kept per tenant has one policy: a row is there for those who work for its tenant, or for all of them.
Whom a transaction works for, the server is told by two settings that end with it, so that nothing of a caller stays
on a connection that others get next, of ours or of a PgBouncer. Where it was told nothing, there is no row.

Two things have to be known about such settings. One that was set in a transaction is an empty text after it, not
missing; so an empty text is nobody. And a role or a database may have a default for them, so both are always set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trivet.core.shape import Struct
from trivet.data.database import ALL_TENANTS, Tenancy
from trivet.data.statement import TENANT, compiler

if TYPE_CHECKING:
    import sqlalchemy as sa

POLICY = "trivet_tenant"

GUARDS = """
SELECT n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity, row_security_active(c.oid), p.polname,
    p.polpermissive, p.polcmd = '*' AND p.polroles = '{0}',
    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND (c.relrowsecurity OR c.relforcerowsecurity OR p.oid IS NOT NULL)
"""

ROLE = """
SELECT rolname, rolsuper, rolbypassrls,
    coalesce(current_setting('trivet.tenant', true), '') <> ''
    OR coalesce(current_setting('trivet.all_tenants', true), '') <> ''
FROM pg_catalog.pg_roles WHERE rolname = current_user
"""


class Policy(Struct):
    """A policy as the server has it.

    Attributes:
        name: Of the policy.
        permissive: Whether it lets rows through, beside those that others let through.
        general: Whether it is for all commands and all roles.
        using: Which rows there are.
        check: Which rows may come.
    """

    name: str
    permissive: bool
    general: bool
    using: str | None
    check: str | None


class Guard(Struct):
    """What guards the rows of a table.

    Attributes:
        enabled: Whether policies hold for other roles than its owner.
        forced: Whether they hold for its owner, too.
        active: Whether they hold for whoever asks.
        policies: Those that there are.
    """

    enabled: bool = False
    forced: bool = False
    active: bool = False
    policies: tuple[Policy, ...] = ()


UNGUARDED = Guard()

Guards = dict[tuple[str, str], Guard]
"""By schema and table, of the tables that have any."""


def guards_of(rows: Iterable[Sequence[Any]]) -> Guards:
    """Return what `GUARDS` found."""
    found: Guards = {}
    for schema, table, enabled, forced, active, name, permissive, general, using, check in rows:
        policies = found.get((schema, table), UNGUARDED).policies
        if name is not None:
            policies += (Policy(name=name, permissive=permissive, general=general, using=using, check=check),)
        found[schema, table] = Guard(enabled=enabled, forced=forced, active=active, policies=policies)
    return found


# -- what a transaction tells the server


def told(tenant: Tenancy) -> str:
    """Return the statement that tells the server whom the transaction works for from now on."""
    one, everyone = ("", "on") if tenant is ALL_TENANTS else (tenant or "", "")
    return (
        f"SELECT set_config('trivet.tenant', {_literal(one)}, true), "
        f"set_config('trivet.all_tenants', '{everyone}', true)"
    )


def _literal(text: str) -> str:
    """Return a text as SQL has it; so written, a backslash is one whatever ``standard_conforming_strings`` says."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


# -- what a table has


def condition(column: str) -> str:
    """Return which rows are there: those of the tenant that the transaction works for.

    The server's planner multiplies what conditions leave. Statements have the tenant in theirs, so an equality here as
    well would count it twice, and lists of a large tenant would be sorted instead of read in order. Of a CASE the
    planner knows nothing, and takes it that half of the rows are left.
    """
    return (
        "CASE WHEN current_setting('trivet.all_tenants', true) = 'on' THEN true "
        f"ELSE {column} = NULLIF(current_setting('trivet.tenant', true), '') END"
    )


def changes(table: sa.Table, guard: Guard, *, wanted: bool) -> list[str]:
    """Return the statements after which a table is guarded, or is not any more; none where nothing is to do.

    Args:
        table: Of the app.
        guard: As it is now.
        wanted: Whether its rows are to be guarded, where they are kept per tenant.
    """
    quote = compiler("postgresql").identifier_preparer
    name = quote.format_table(table)
    own = next((each for each in guard.policies if each.name == POLICY), None)
    drop = [] if own is None else [f"DROP POLICY {POLICY} ON {name}"]
    if not wanted or TENANT not in table.info:
        off = [f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY"] if own else []
        return [*off, *drop]
    found: list[str] = []
    if own is None or not _fits(own, table):
        rule = condition(quote.format_column(table.c[table.info[TENANT]]))
        found += [*drop, f"CREATE POLICY {POLICY} ON {name} USING ({rule}) WITH CHECK ({rule})"]
    if not (guard.enabled and guard.forced):
        found.append(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    return found


def flaw(table: sa.Table, guard: Guard, *, wanted: bool) -> str | None:
    """Return in words what the guard of a table is not that it should be, ``None`` where nothing is wrong."""
    own = next((each for each in guard.policies if each.name == POLICY), None)
    if not wanted or TENANT not in table.info:
        return None if own is None else f"has the policy {POLICY}, and database.row_security is off"
    if own is None:
        return f"lacks the policy {POLICY}, which keeps tenants apart"
    if not _fits(own, table):
        return f"has a policy {POLICY} that says something else: USING ({own.using}) WITH CHECK ({own.check})"
    if not guard.enabled:
        return "does not have row-level security enabled, so that nobody looks at its policy"
    if not guard.forced:
        return "does not force row-level security, so that it does not hold for the table's owner"
    further = [each.name for each in guard.policies if each.permissive and each is not own]
    if further:
        return f"has a further permissive policy, {further[0]}, which lets other rows through: make it AS RESTRICTIVE"
    return None


def _fits(policy: Policy, table: sa.Table) -> bool:
    rule = _bare(condition(table.info[TENANT]))
    return (
        policy.permissive and policy.general and _bare(policy.using or "") == rule and _bare(policy.check or "") == rule
    )


def _bare(expression: str) -> str:
    """Return an expression without what the server writes into it: casts of text, brackets, quotes and spaces."""
    return re.sub(r'::text|[\s()"]', "", expression)


# -- whom it holds


def unheld(role: Sequence[Any]) -> str | None:
    """Return why row-level security does not hold a role, of which `ROLE` found this, and what to do.

    Returns:
        ``None`` where it does.
    """
    name, superuser, bypasses, preset = role
    if superuser or bypasses:
        what = "is a superuser" if superuser else "has BYPASSRLS"
        return (
            f"{name} {what}, whom row-level security does not hold (database.row_security is on): connect as a role "
            "without SUPERUSER and BYPASSRLS, best one that does not own the tables either"
        )
    if preset:
        return (
            "trivet.tenant or trivet.all_tenants has a default, so that statements that name no tenant see rows: "
            f"take it away with ALTER ROLE {name} RESET ..., or ALTER DATABASE (\\drds of psql lists them)"
        )
    return None
