"""Who is calling."""

from __future__ import annotations

from collections.abc import Mapping

from trivet.core.shape import Struct, field


class Principal(Struct):
    """The caller as far as policies and rules may know it.

    Attributes:
        subject: Stable identifier of the caller; empty for a caller without credentials.
        scopes: What the caller's credential allows (RFC 6749 section 3.3).
        roles: What the caller is, as the issuer says.
        tenant: The tenant that the credential belongs to.
        client_id: The client application behind the call, where the credential names one.
        attributes: Further claims that rules may read.
        superuser: Whether every scope and role is granted: the developer on loopback, and nobody else.
    """

    subject: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenant: str | None = None
    client_id: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    superuser: bool = False

    @property
    def anonymous(self) -> bool:
        """Whether the caller came without credentials."""
        return not self.subject

    def has(self, role: str) -> bool:
        """Whether the caller has the role."""
        return self.superuser or role in self.roles

    def may(self, scope: str) -> bool:
        """Whether the caller's credential carries the scope."""
        return self.superuser or scope in self.scopes


ANONYMOUS = Principal()
"""A caller without credentials."""

DEVELOPER = Principal(subject="developer", superuser=True)
"""Who callers without credentials are under ``trivet dev`` on loopback."""
