"""What a client sends: GraphQL over HTTP, sections 4 to 6; the same object travels in every message of a WebSocket."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec

from trivet.core.call import Fields
from trivet.core.decode import Decoder
from trivet.core.error import InvalidArgument, Violation
from trivet.core.idempotency import key_of
from trivet.core.shape import Meta, Struct, field
from trivet.transports.graphql.refusals import CrossSiteRequest
from trivet.transports.rest.exchange import RestCall
from trivet.transports.rest.media import content_type

Name = Annotated[str, Meta(max_length=255)]


class Request(Struct, rename="camel"):
    """One operation that is asked for.

    Attributes:
        query: The document.
        document_id: The id of a document that the server knows, in its place.
        operation_name: Which operation of the document.
        variables: Its variables.
        extensions: What goes beyond the specification.
    """

    query: str | None = None
    document_id: Annotated[str, Meta(max_length=255)] | None = None
    operation_name: Name | None = None
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = field(default=None)


ONE = Decoder[Request](Request)
SEVERAL = Decoder[list[Request]](Annotated[list[Request], Meta(min_length=1)])


def of_body(content: bytes, batch: int) -> list[Request] | Request:
    """Return what a body asks for.

    Args:
        content: JSON.
        batch: How many operations one request may bring; 1 allows no list.

    Raises:
        InvalidArgument: It is no request.
    """
    if content.lstrip()[:1] != b"[":
        return checked(ONE.json(content))
    if batch < 2:
        raise InvalidArgument(detail="Send one operation: lists are not served here (graphql.batch is 1).")
    requests = SEVERAL.json(content)
    if len(requests) > batch:
        raise InvalidArgument(detail=f"Send at most {batch} operations at once.")
    return [checked(request) for request in requests]


def of_query(query: bytes) -> Request:
    """Return what the query of a URL asks for.

    Raises:
        InvalidArgument: It is no request.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except (ValueError, UnicodeError) as malformed:
        raise InvalidArgument(detail="The query of the URL can not be read.") from malformed
    said: dict[str, Any] = {}
    for name, value in pairs:
        if name in said:
            raise InvalidArgument(violations=(Violation(detail="is given twice", pointer=f"#/{name}"),))
        said[name] = value
    for name in ("variables", "extensions"):
        if name in said:
            try:
                said[name] = msgspec.json.decode(said[name].encode()) if said[name] else None
            except (msgspec.DecodeError, RecursionError) as malformed:
                raise InvalidArgument(violations=(Violation(detail="is not JSON", pointer=f"#/{name}"),)) from malformed
    if "operationName" in said and not said["operationName"]:
        del said["operationName"]
    return checked(ONE.convert(said))


def checked(request: Request) -> Request:
    """Return a request that names a document in one way or another.

    Raises:
        InvalidArgument: It names none.
    """
    persisted = request.extensions is not None and "persistedQuery" in request.extensions
    if not request.query and request.document_id is None and not persisted:
        raise InvalidArgument(violations=(Violation(detail="is required", pointer="#/query"),))
    return request


def idempotency_key(request: Request, fields: Fields) -> str | None:
    """Return the key of the request's changes: ``extensions.idempotencyKey``, or the header field of that name.

    Raises:
        InvalidArgument: It is no key, or the two differ.
    """
    said = (request.extensions or {}).get("idempotencyKey")
    if said is not None and not isinstance(said, str):
        raise InvalidArgument(violations=(Violation(detail="is not a string", pointer=KEY),))
    head = fields.get(b"idempotency-key")
    own = None if said is None else key_of(said.encode())
    key = own if head is None else key_of(head)
    if own is not None and own != key:
        raise InvalidArgument(violations=(Violation(detail="differs from the header field", pointer=KEY),))
    return key


KEY = "#/extensions/idempotencyKey"


def consistency_token(request: Request) -> bytes | None:
    """Return what stands in the place of the header field where operations have none of their own: on a WebSocket.

    Raises:
        InvalidArgument: It is no text.
    """
    said = (request.extensions or {}).get("consistencyToken")
    if said is not None and not isinstance(said, str):
        raise InvalidArgument(
            violations=(Violation(detail="is not a string", pointer="#/extensions/consistencyToken"),)
        )
    return None if said is None else said.encode()


def refuse_cross_site(call: RestCall) -> None:
    """Refuse what a page of another site could send without the browser asking first.

    A JSON content type, and a header field that no form can set, make a browser ask (a CORS preflight). Callers that
    are no browsers say neither where they come from nor that they crossed a site.

    Raises:
        CrossSiteRequest: It came from another site in a simple way.
    """
    fields = call.fields
    if b"graphql-require-preflight" in fields:
        return
    given = fields.get(b"content-type")
    if given is not None and content_type(given)[0] == "application/json":
        return
    site, origin = fields.get(b"sec-fetch-site"), fields.get(b"origin")
    crossed = site in (b"cross-site", b"same-site")
    if origin is not None and origin.partition(b"://")[2] != fields.get(b"host"):
        crossed = True
    if crossed:
        raise CrossSiteRequest(detail="Send Content-Type: application/json or GraphQL-Require-Preflight: 1.")
