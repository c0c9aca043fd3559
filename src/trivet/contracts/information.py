"""The top of an OpenAPI document: what the API is, who answers for it, where it is served, how all of it behaves."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_OID, uuid5

from trivet.contracts.model import Api
from trivet.core.page import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

CONVENTIONS = f"""\
## What holds for every operation

- **Errors** are problem documents (RFC 9457) of the type `application/problem+json`. `reason` is the stable name of
  the error, `type` leads to a page that explains it, and `errors` lists everything that is wrong with the input.
- **Input is strict, output is not**: an unknown member, an unknown query parameter and a value outside its bounds are
  refused. New members may appear in answers at any time, so ignore those you do not know.
- **Lists** come in pages of {DEFAULT_PAGE_SIZE}, or of `page_size`, at most {MAX_PAGE_SIZE}. Send `next_page_token`
  back as `page_token`, with the same other arguments, until there is none.
- **Instants** are RFC 3339 in UTC, amounts of money are decimal text, ids are opaque.
- **Time**: `Request-Timeout: 2.5` gives up after that many seconds, if the operation does not do so earlier.
- **Support**: every answer has a `Request-Id`, taken from the request if it brought one. Quote it when you ask.\
"""

ENVIRONMENTS = {"development": "Local development", "production": "Production"}


def information(api: Api, version: str) -> dict[str, Any]:
    """Return the info object.

    Args:
        api: The model of the app.
        version: Version of the whole.
    """
    about = api.about
    said = about.description.strip() or f"The API of {api.name}."
    contact = {"name": about.contact, "url": about.url, "email": about.email}
    info: dict[str, Any] = {
        "title": api.name,
        "description": f"{said}\n\n{CONVENTIONS}",
        "version": version,
        "x-api-id": str(uuid5(NAMESPACE_OID, f"trivet.{api.name}")),
        "x-audience": about.audience,
    }
    if any(contact.values()):
        info["contact"] = {name: value for name, value in contact.items() if value}
    if about.license:
        info["license"] = {"name": about.license, "identifier": about.license}
    return info


def servers(api: Api, url: str, environment: str) -> list[dict[str, Any]]:
    """Return where the API is served: one place, the one that the document came from."""
    described = ENVIRONMENTS.get(environment, environment)
    return [{"url": url, "description": described, "x-internal": not api.about.external}]


def tags(api: Api) -> list[dict[str, Any]]:
    """Return the modules, each with its version and who answers for it."""
    modules = sorted({*(op.module for op in api.operations), *api.modules}, key=lambda module: str(module.name))
    return [
        {
            "name": module.name,
            "description": f"Contract {module.version}" + (f", by {module.owner}." if module.owner else "."),
        }
        for module in modules
    ]


def security_scheme(credentials_optional: bool) -> dict[str, Any]:
    """Return how callers prove who they are.

    Args:
        credentials_optional: Whether callers without credentials are the developer, as under ``trivet dev``.
    """
    said = "Send `Authorization: Bearer` and a token (RFC 6750). Which scopes an operation needs is said there."
    if credentials_optional:
        said += " This is a development server: callers without a token act as the developer, with every scope."
    return {"type": "http", "scheme": "bearer", "description": said}
