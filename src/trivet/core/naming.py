"""Names to protocols: from what an operation is called and returns to its REST, GraphQL and RPC faces.

The table (Google AIP-130 to 136)::

    get_product(id)          GET    /v1/products/{id}             product(id)      GetProduct
    get_products(ids)        GET    /v1/products:batchGet         productsByIds    BatchGetProducts
    list_products(page)      GET    /v1/products                  products         ListProducts
    create_product(product)  POST   /v1/products                  createProduct    CreateProduct
    update_product(id, …)    PATCH  /v1/products/{id}             updateProduct    UpdateProduct
    delete_product(id)       DELETE /v1/products/{id}             deleteProduct    DeleteProduct
    cancel_order(id, …)      POST   /v1/orders/{id}:cancel        cancelOrder      CancelOrder
    watch_orders(…)          GET    /v1/orders:watch              watchOrders      WatchOrders
    import_products(items)   POST   /v1/products:import                            ImportProducts
    export_orders(…)         POST   /v1/orders:export             exportOrders     ExportOrders

The noun is the longest known noun that ends the name; the rest is the verb. Everything here is a pure function of
names: what the nouns are is read from the result types by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trivet.core.declaration import Http, Kind
from trivet.core.shape import Struct

STANDARD = {"get": "GET", "list": "GET", "create": "POST", "update": "PATCH", "delete": "DELETE"}


class Noun(Struct):
    """An entity as names know it.

    Attributes:
        singular: ``order_line``.
        plural: ``order_lines``; ``None`` where nothing says it.
    """

    singular: str
    plural: str | None = None


class Face(Struct):
    """How one operation looks on every protocol.

    Attributes:
        noun: The entity it is about; ``None`` where the name ends in none.
        verb: What it does, in snake case.
        method: HTTP method.
        path: Path below the version, with parameters in braces.
        status: HTTP status of a success.
        graphql: Name of the root field.
        rpc: Name of the method in the module's service.
        body: ``None`` for no body, ``"*"`` for an object of all remaining parameters, else the one parameter that is
            the body.
        path_parameters: Parameters taken from the path.
        query_parameters: Parameters taken from the query.
        item: Whether the path addresses one item.
        standard: The standard method it is (``get``, ``batch_get``, ``list``, ``create``, ``update``, ``delete``), or
            ``custom``.
    """

    noun: str | None
    verb: str
    method: str
    path: str
    status: int
    graphql: str
    rpc: str
    body: str | None
    path_parameters: tuple[str, ...]
    query_parameters: tuple[str, ...]
    item: bool
    standard: str


class Subject(Struct):
    """What naming needs to know of an operation.

    Attributes:
        name: The function's name.
        kind: Query, command, stream, intake or job.
        parameters: Names in order, without the one over which items come in.
        items: The name of that one.
        required: Names without a default.
        in_url: Names whose type fits a URL: scalars, lists of scalars, a page request.
        shapes: Names whose type is a shape or a patch of one.
        returns: The noun that the result type stands for, in snake case.
        returns_many: Whether the result is a page or a list of it.
        returns_nothing: Whether the result is ``None``.
        http: Overrides.
        graphql: Override of the GraphQL name.
        rpc: Override of the RPC name.
        plural: Override of the collection's name.
    """

    name: str
    kind: Kind
    parameters: tuple[str, ...] = ()
    items: str | None = None
    required: frozenset[str] = frozenset()
    in_url: frozenset[str] = frozenset()
    shapes: frozenset[str] = frozenset()
    returns: str | None = None
    returns_many: bool = False
    returns_nothing: bool = False
    http: Http = Http()
    graphql: str | None = None
    rpc: str | None = None
    plural: str | None = None


class NamingError(ValueError):
    """A name can not be mapped; the message says why, `mend` what to do."""

    def __init__(self, problem: str, mend: str) -> None:
        self.mend = mend
        super().__init__(problem)


def snake(name: str) -> str:
    """Return ``OrderLine`` as ``order_line``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def pascal(name: str) -> str:
    """Return ``order_line`` as ``OrderLine``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def camel(name: str) -> str:
    """Return ``order_line`` as ``orderLine``."""
    words = pascal(name)
    return words[:1].lower() + words[1:]


def kebab(name: str) -> str:
    """Return ``order_line`` as ``order-line``."""
    return name.replace("_", "-")


def nouns_of(subjects: Sequence[Subject]) -> dict[str, Noun]:
    """Return the nouns that operations return, with the plural that a ``list_`` operation or ``plural=`` gives.

    Raises:
        NamingError: Two operations give one noun two plurals.
    """
    plurals: dict[str, str | None] = {}
    for subject in subjects:
        noun = subject.returns
        if noun is None:
            continue
        said = subject.plural or (
            subject.name.removeprefix("list_") if subject.name.startswith("list_") and subject.returns_many else None
        )
        if said and plurals.get(noun) not in (None, said):
            raise NamingError(
                f"{noun} has two collections, {plurals[noun]!r} and {said!r}",
                f'Let one `list_` operation name it, or say plural="{plurals[noun]}" on the other.',
            )
        plurals[noun] = plurals.get(noun) or said
    return {name: Noun(singular=name, plural=plural) for name, plural in plurals.items()}


def split(name: str, nouns: Mapping[str, Noun]) -> tuple[str, Noun | None, bool]:
    """Split a name into its verb and the longest known noun that ends it.

    Returns:
        The verb, the noun if one is known, and whether it stands in the plural.
    """
    best: tuple[int, Noun, bool] | None = None
    for noun in nouns.values():
        for word, many in ((noun.singular, False), (noun.plural, True)):
            if word and name.endswith(f"_{word}") and (best is None or len(word) > best[0]):
                best = (len(word), noun, many)
    if best is None:
        return name, None, False
    return name[: -best[0] - 1], best[1], best[2]


def face_of(subject: Subject, nouns: Mapping[str, Noun], prefix: str = "") -> Face:
    """Return how an operation looks on every protocol.

    Args:
        subject: The operation.
        nouns: The nouns of the whole app.
        prefix: The module's, put before its collections.

    Raises:
        NamingError: The name gives no path: the noun's plural is unknown, a path parameter does not exist or has a
            default, an input that must fit a URL does not, or items come in by a method without a body.
    """
    verb, noun, many = split(subject.name, nouns)
    if noun is not None and subject.plural and noun.singular == subject.returns:
        noun = Noun(singular=noun.singular, plural=subject.plural)
    owners = _parents(subject, noun, nouns)
    parents = tuple(owners)
    standard = _standard(subject, verb, noun, many)
    item = "id" in subject.required and standard not in ("list", "batch_get", "create")
    reads = subject.kind in (Kind.QUERY, Kind.STREAM) and subject.items is None
    rest = [p for p in subject.parameters if p not in parents and not (item and p == "id")]
    fits = all(p in subject.in_url for p in rest)
    if standard != "custom":
        method = STANDARD["get" if standard == "batch_get" else standard]
        if reads and not fits:
            method, standard = "POST", "custom"
    else:
        method = "GET" if reads and fits else "POST"
    path = subject.http.path or _path(subject, verb, noun, owners, item, standard, prefix)
    method = subject.http.method or method
    if subject.items is not None and method in ("GET", "DELETE"):
        raise NamingError(f"{method} {path} has no body for {subject.items}", 'Say http=Http(method="POST").')
    in_path = tuple(re.findall(r"\{(\w+)\}", path))
    for name in in_path:
        if name not in subject.required:
            raise NamingError(
                f"path {path}: {name!r} is {'optional' if name in subject.parameters else 'no parameter'}",
                "Every name in braces is a parameter without a default.",
            )
    rest = [p for p in subject.parameters if p not in in_path]
    body = _body(method, standard, rest, subject)
    in_query = tuple(p for p in rest if body is None or (body not in ("*", p)))
    unfit = [p for p in in_query if p not in subject.in_url]
    if unfit:
        raise NamingError(
            f"{', '.join(unfit)} can not stand in the URL of {method} {path}",
            "Take a scalar or a list of scalars"
            + (', or say http=Http(method="POST").' if subject.items is None else ": the body is the items."),
        )
    return Face(
        noun=noun.singular if noun else None,
        verb=verb,
        method=method,
        path=path,
        status=subject.http.status or _status(subject, method, standard),
        graphql=subject.graphql or _graphql(subject, standard, noun),
        rpc=subject.rpc or _rpc(subject, standard, noun),
        body=body,
        path_parameters=in_path,
        query_parameters=in_query,
        item=item,
        standard=standard,
    )


def _parents(subject: Subject, noun: Noun | None, nouns: Mapping[str, Noun]) -> dict[str, str]:
    """Return the collections of other entities by the leading parameters that identify one of each."""
    parents: dict[str, str] = {}
    for name in subject.parameters:
        owner = nouns.get(name.removesuffix("_id")) if name.endswith("_id") else None
        if owner is None or owner is noun or owner.plural is None or name not in subject.required:
            break
        parents[name] = owner.plural
    return parents


def _standard(subject: Subject, verb: str, noun: Noun | None, many: bool) -> str:
    if noun is None or verb not in STANDARD or subject.kind in (Kind.STREAM, Kind.INTAKE, Kind.JOB):
        return "custom"
    reads = subject.kind is Kind.QUERY
    if verb == "get" and reads:
        return ("batch_get" if "ids" in subject.required else "custom") if many else "get"
    if verb == "list" and reads:
        return "list"
    if verb in ("create", "update", "delete") and not reads and not many:
        return verb
    return "custom"


def _path(
    subject: Subject, verb: str, noun: Noun | None, parents: dict[str, str], item: bool, standard: str, prefix: str
) -> str:
    if noun is None:
        return f"/{_prefixed(prefix, verb)}"
    singleton = "id" not in subject.required and (noun.plural is None or standard in ("get", "update", "delete"))
    if not singleton and noun.plural is None:
        raise NamingError(
            f"nothing names the collection of {noun.singular}",
            f'Add an operation list_…() that returns Page[{pascal(noun.singular)}], or say plural="…" here.',
        )
    above = "".join(f"/{kebab(collection)}/{{{parameter}}}" for parameter, collection in parents.items())
    name = noun.singular if singleton else noun.plural or noun.singular
    if parents:
        name = name.removeprefix(f"{next(reversed(parents)).removesuffix('_id')}_")
    collection = kebab(name)
    path = f"{above}/{collection if parents else _prefixed(prefix, collection)}"
    if item:
        path += "/{id}"
    if standard == "batch_get":
        path += ":batchGet"
    elif standard == "custom":
        path += f":{camel(verb)}"
    return path


def _prefixed(prefix: str, name: str) -> str:
    return f"{kebab(prefix)}-{kebab(name)}" if prefix else kebab(name)


def _body(method: str, standard: str, rest: Sequence[str], subject: Subject) -> str | None:
    if subject.items is not None:
        return subject.items
    if method in ("GET", "DELETE") or not rest:
        return None
    if standard in ("create", "update"):
        shapes = [p for p in rest if p in subject.shapes]
        if len(shapes) == 1:
            return shapes[0]
    return "*"


def _status(subject: Subject, method: str, standard: str) -> int:
    if subject.kind is Kind.JOB:
        return 202
    if subject.returns_nothing:
        return 204
    return 201 if standard == "create" else 200


def _rpc(subject: Subject, standard: str, noun: Noun | None) -> str:
    if standard == "batch_get" and noun is not None and noun.plural:
        return f"BatchGet{pascal(noun.plural)}"
    return pascal(subject.name)


def _graphql(subject: Subject, standard: str, noun: Noun | None) -> str:
    if noun is not None and subject.kind is Kind.QUERY:
        if standard == "get":
            return camel(noun.singular)
        if standard == "batch_get" and noun.plural:
            return f"{camel(noun.plural)}ByIds"
        if standard == "list" and noun.plural:
            return camel(noun.plural)
    return camel(subject.name)
