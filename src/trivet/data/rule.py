"""A rule, taken apart by what is known about the caller before any row is.

``(p.owner == who.subject) | who.has("staff")`` is two rules: for staff everything, for others an equality that an
index serves. Each is compiled on its own, and a request picks one.
"""

from __future__ import annotations

from trivet.core.context import Read
from trivet.data.expression import TRUE, Node, caller_conditions, decided, predicate

MAX_CONDITIONS = 2
"""Conditions on the caller that are decided before the statement is picked; each doubles the statements."""


class Rule:
    """The forms that a rule takes.

    Attributes:
        node: The whole rule.
        forms: What is left of it for each combination of the caller's conditions; the last is for who acts as the
            module and is held by no rule.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        conditions = caller_conditions(node)[:MAX_CONDITIONS]
        self._known = tuple((1 << bit, predicate(condition)) for bit, condition in enumerate(conditions))
        self.forms: list[Node] = []
        for mask in range(1 << len(conditions)):
            known = {condition: bool(mask >> bit & 1) for bit, condition in enumerate(conditions)}
            self.forms.append(decided(node, known))
        self.forms.append(TRUE)

    def choose(self, ctx: Read) -> int:
        """Return the index of the form that holds for the caller."""
        if ctx._unrestricted:
            return -1
        form = 0
        for bit, known in self._known:
            if known(ctx.principal, None, ()):
                form |= bit
        return form
