"""What an app says about itself to those who use its API: what it is for, who answers, who may know of it."""

from __future__ import annotations

from typing import Literal

from trivet.core.shape import Struct

Audience = Literal[
    "component-internal",
    "business-unit-internal",
    "company-internal",
    "external-partner",
    "external-public",
]
"""Who an API is made for (Zalando RESTful API guidelines, rule 219)."""


class About(Struct):
    """Stands at the top of the contract and of the pages: ``App(..., about=About(...))``.

    Attributes:
        description: What the API is for, in a sentence or several; Markdown.
        contact: Who answers questions about it.
        url: Where they are found.
        email: How they are reached.
        license: Under which terms the API may be used, as an SPDX identifier such as ``Apache-2.0``.
        audience: Who the API is made for.
    """

    description: str = ""
    contact: str = ""
    url: str = ""
    email: str = ""
    license: str = ""
    audience: Audience = "company-internal"

    @property
    def external(self) -> bool:
        """Whether it is made for people outside the company."""
        return self.audience.startswith("external")
