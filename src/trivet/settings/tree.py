"""The tree of settings: every field with its type, its default and what it is for.

The docstrings are the reference: ``trivet config explain``, the JSON Schema and the documentation are made of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from trivet.core.shape import Struct, field
from trivet.settings.secret import Secret, Url

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Size = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Origin = Annotated[
    str,
    Meta(
        pattern=r"^(\*|(?!http://[^/]+:80$|https://[^/]+:443$)"
        r"[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?)$",
        examples=["https://app.example.com"],
    ),
]
"""An origin as a browser sends it (RFC 6454 section 6.2): lower case, without a path and without a default port."""

FieldName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", examples=["X-Client"])]


class ServerSettings(Struct):
    """How the process listens, how many workers serve, and how it ends.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one.
        kind: `envoy` has HTTP/2 and HTTP/3 and hands its sockets on; `uvicorn` runs everywhere and has HTTP/1.1 only;
            `auto` is Envoy where it can run.
        workers: Processes that serve requests. When not set, as many as there are cores to use; one in development,
            and with a private database.
        pin: Whether each worker is kept to a core of its own (Linux), which makes requests cheaper on a machine that
            serves nothing else.
        management_host: Address of the listener for `/metrics`, `/livez` and `/readyz`; keep it private.
        management_port: Port of that listener; 0 picks a free one, `off` starts none.
        drain_wait: Seconds after SIGTERM in which new connections are still accepted while `/readyz` answers 503, so
            that load balancers notice first. It also bounds how long idle connections are kept when a worker ends.
        drain_timeout: Seconds that requests in flight then get to finish.
        close_timeout: Seconds for stopping consumers and flushing telemetry at the very end.
        start_timeout: Seconds within which a worker must be ready.
        worker_timeout: Seconds after which a worker that does not respond at all is replaced.
        keep_alive: Seconds for which an idle connection is kept; more than the idle time of load balancers (60).
        head_timeout: Seconds within which the head of a request must have arrived.
        send_timeout: Seconds after which a connection is reset whose client takes nothing of what is sent (Linux).
        body_timeout: Seconds within which the body of a request must have arrived; Envoy counts its head, too.
        connection_age: Seconds after which a connection is closed in order, give or take a tenth, so that those of
            HTTP/2 spread over all workers (Envoy).
        backlog: Connections that may wait to be accepted.
        trusted_proxies: Networks of the proxies in front, such as `10.0.0.0/8`. Only what these say in `Forwarded` or
            `X-Forwarded-For` is believed.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    kind: Literal["auto", "envoy", "uvicorn"] = "auto"
    workers: Annotated[int, Meta(ge=1, le=1024)] | None = None
    pin: bool = False
    management_host: str = "127.0.0.1"
    management_port: Port | None = 9000
    drain_wait: Seconds = 5
    drain_timeout: Seconds = 20
    close_timeout: Seconds = 3
    start_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 60
    worker_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 30
    keep_alive: Seconds = 75
    head_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 10
    send_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 60
    body_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 60
    connection_age: Annotated[float, Meta(gt=0, le=86_400)] = 1800
    backlog: Annotated[int, Meta(ge=1, le=65535)] = 2048
    trusted_proxies: tuple[str, ...] = ()


class TlsSettings(Struct):
    """Serving over TLS: versions 1.2 and 1.3, with what Mozilla's "intermediate" profile allows.

    Attributes:
        certificate: File with the certificate and those that signed it, as PEM; not set serves without TLS. When it
            changes, connections from then on get the new one.
        key: File with its private key, as PEM without a password.
        client_ca: File with the authorities whose client certificates are accepted.
        client_certificate: Whether clients show a certificate: `off`, `optional` or `required`.
        hsts: Seconds for which browsers shall insist on TLS (RFC 6797); 0 says nothing.
    """

    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    client_certificate: Literal["off", "optional", "required"] = "off"
    hsts: Annotated[int, Meta(ge=0, le=10 * 365 * 86_400)] = 2 * 365 * 86_400


class DatabaseSettings(Struct):
    """Where the tables are.

    Attributes:
        url: `sqlite:///file.db`, `sqlite://` for a private temporary database, or
            `postgresql://user:password@host/database` with `?sslmode=verify-full` and what else libpq knows.
        create: Whether tables that do not exist are created at start; when not set, only in development.
        pool_size: Connections that one worker keeps at most. PostgreSQL only, as everything below.
        pool_queue: Units of work of one worker that may wait for a connection; further ones are refused at once (503).
        pool_timeout: Seconds to wait for a connection before a unit of work is refused (503), unless its deadline
            comes first.
        pool_lifetime: Seconds after which a connection is replaced, so that load follows a changed address.
        statement_timeout: Seconds after which the server itself ends a statement, whatever became of this process;
            0 leaves that to the server's configuration.
        isolation: Of commands. The stricter ones fail for each other more often, and are run again.
        pgbouncer: Whether the address is that of a PgBouncer in transaction mode, or of what behaves like it: nothing
            is kept on its connections then.
        row_security: Whether the server itself keeps tenants apart, by policies on each table that has them (row-level
            security). With `prepare` each transaction says whom it works for, and tables may have the policies or
            not: the step before `on`, which does not start where one is missing or does not hold the user.
        replicas: Addresses of streaming replicas of the same database, separated by commas; queries read from them
            where they show the caller nothing older than it has seen.
        replica_lag: Seconds that a replica may be behind; further behind, it is not used.
        replica_lag_size: Bytes of the log that a replica may be behind.
        replica_wait: Seconds that a query waits for a replica to come as far as its caller has seen, before it reads
            from the primary.
        session_record: Where it is kept what callers wrote lately that send no `Consistency-Token`. With `none` they
            read from the primary; `memory` is right where one process serves all of their requests.
        shards: Further databases that shards of sharded tables are on, as `name=postgresql://...` with white space
            between; the one of `url` is called `home`. PostgreSQL only.
        shard_replicas: Addresses of streaming replicas of those databases, in the same form and under the same names;
            a name stands before each of its replicas. Those of `home` are `replicas`.
    """

    url: Url = Url("sqlite:///trivet.db")
    create: bool | None = None
    pool_size: Annotated[int, Meta(ge=1, le=10_000)] = 10
    pool_queue: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    pool_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 30
    pool_lifetime: Annotated[float, Meta(gt=0, le=2_592_000)] = 1800
    statement_timeout: Seconds = 60
    isolation: Literal["read-committed", "repeatable-read", "serializable"] = "read-committed"
    pgbouncer: bool = False
    row_security: Literal["off", "prepare", "on"] = "off"
    replicas: tuple[Url, ...] = ()
    replica_lag: Annotated[float, Meta(gt=0, le=86_400)] = 60
    replica_lag_size: Size = 8 * 1024 * 1024
    replica_wait: Annotated[float, Meta(ge=0, le=60)] = 0.1
    session_record: Literal["none", "memory"] = "none"
    shards: Url | None = None
    shard_replicas: Url | None = None

    @property
    def private(self) -> bool:
        """Whether each process has a database of its own."""
        return self.url.reveal() in ("sqlite://", "sqlite:///:memory:")

    @property
    def nodes(self) -> dict[str, Url]:
        """The databases that shards can be on, by name.

        Raises:
            ValueError: `shards` is not written as it should be; the message has no secret in it.
        """
        nodes = {"home": self.url}
        for name, url in _named("shards", self.shards):
            if name in nodes:
                raise ValueError(f"database.shards: two databases are called {name!r}")
            nodes[name] = url
        return nodes

    @property
    def node_replicas(self) -> dict[str, tuple[Url, ...]]:
        """The replicas of each of `nodes`, by its name.

        Raises:
            ValueError: A setting is not written as it should be, or names what is not there.
        """
        found = {name: self.replicas if name == "home" else () for name in self.nodes}
        for name, url in _named("shard_replicas", self.shard_replicas):
            if name == "home":
                raise ValueError("database.shard_replicas: the replicas of 'home' are named in database.replicas")
            if name not in found:
                raise ValueError(f"database.shard_replicas: {name!r} is not in database.shards")
            found[name] += (url,)
        return found


def _named(setting: str, text: Url | None) -> list[tuple[str, Url]]:
    """Return the names and addresses in a setting of several."""
    named = []
    for number, each in enumerate("" if text is None else text.reveal().split(), 1):
        name, _, url = each.partition("=")
        if not re.fullmatch("[a-z][a-z0-9-]{0,62}", name) or "://" not in url:
            raise ValueError(f"database.{setting}: number {number} is not written as name=postgresql://...")
        named.append((name, Url(url)))
    return named


class BlobSettings(Struct):
    """Where files are that jobs write.

    Attributes:
        folder: A folder that all processes of the app share, those on other machines too; it is made when the first
            file is written. Beside a private database it is a temporary one.
        keep: Seconds for which a file can be fetched.
        size: Bytes of one file at most.
    """

    folder: str = "trivet-blobs"
    keep: Annotated[float, Meta(gt=0, le=2_592_000)] = 7 * 86_400
    size: Annotated[int, Meta(ge=1, le=2**50)] = 4 * 2**30


class RedisSettings(Struct):
    """A store that processes share.

    Attributes:
        url: `redis://host:6379/0`; not set means that there is none.
    """

    url: Url | None = None


class LimitSettings(Struct):
    """What a request may be at most; larger ones are refused before they are read.

    Attributes:
        body: Bytes of a body (413).
        url: Bytes of the request target (414).
        headers: Bytes of all header fields together (431).
        header_fields: How many header fields (431; Envoy).
        connections: Connections of one worker at a time; further ones are closed at once (Envoy).
        streams: Requests at a time on one connection of HTTP/2 or HTTP/3.
    """

    body: Size = 1024 * 1024
    url: Size = 8 * 1024
    headers: Size = 32 * 1024
    header_fields: Size = 128
    connections: Size = 16_384
    streams: Size = 128


class RestSettings(Struct):
    """How the REST face looks.

    Attributes:
        custom_methods: `colon` serves a custom method as `/orders/{id}:cancel`, `slash` as `/orders/{id}/cancel`.
        docs: Whether everybody may see what there is: `/`, `/docs`, `/openapi.json` and `/problems`. The page of one
            error is always served.
    """

    custom_methods: Literal["colon", "slash"] = "colon"
    docs: bool = True


class CompressionSettings(Struct):
    """Whether answers are compressed for callers that ask for it: zstd, br where their libraries are, gzip always.

    Attributes:
        enabled: Whether this process compresses; switch it off where a proxy in front does.
        minimum: Bytes from which on a body is worth compressing.
    """

    enabled: bool = True
    minimum: Size = 1024


class CorsSettings(Struct):
    """Pages of which other origins may call this app from a browser; none, unless they are named here.

    Attributes:
        origins: As browsers send them, such as `https://app.example.com`; `*` for every origin.
        headers: Further header fields that requests may have; those that Trivet knows always may.
        credentials: Whether cookies and the like may come along; never together with `*`. Tokens do not need it.
        max_age: Seconds for which a browser remembers what was allowed.
    """

    origins: tuple[Origin, ...] = ()
    headers: tuple[FieldName, ...] = ()
    credentials: bool = False
    max_age: Seconds = 600


class GraphqlSettings(Struct):
    """How GraphQL is served, and what a document may ask for.

    Attributes:
        enabled: Whether `/graphql` is served.
        introspection: Whether clients may ask for the schema; when not set, only in development.
        depth: Levels of fields in a document.
        aliases: Fields with an alias in a document, fragments expanded.
        tokens: Words and signs of a document.
        directives: Directives in a document, fragments expanded.
        cost: What a document may cost, counted from weights and the sizes of pages before anything runs.
        batch: Operations that one request may bring in a list; 1 allows no list.
        plans: Documents, and plans of them, that are kept in each process.
        plans_size: Bytes that they may take together, counted from the length of the documents.
        documents: A directory whose `*.graphql` files are documents that clients name by `sha256:` and their hash.
        registered_only: Whether only those are served.
        automatic: Whether clients may register documents as they go (automatic persisted queries).
    """

    enabled: bool = True
    introspection: bool | None = None
    depth: Annotated[int, Meta(ge=1, le=100)] = 10
    aliases: Annotated[int, Meta(ge=0, le=10_000)] = 30
    tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 2000
    directives: Annotated[int, Meta(ge=0, le=10_000)] = 50
    cost: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 10_000
    batch: Annotated[int, Meta(ge=1, le=100)] = 1
    plans: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    plans_size: Size = 16 * 1024 * 1024
    documents: str | None = None
    registered_only: bool = False
    automatic: bool = True


class EventSettings(Struct):
    """How events and requests for later are delivered.

    Attributes:
        concurrency: How many transactions of handlers one worker has open at a time; each holds a connection, so more
            than `database.pool_size` only wait for one.
        together: How many events one handler may get in one transaction, as long as it is quick; 1 gives each event a
            transaction of its own.
    """

    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 16
    together: Annotated[int, Meta(ge=1, le=50)] = 50


class LogSettings(Struct):
    """What is written to standard output.

    Attributes:
        level: The least severe lines that are written.
        format: `json` writes one object per line, `text` lines for people.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class TelemetrySettings(Struct):
    """What is measured and sent elsewhere.

    Attributes:
        service: The name under which this app appears; the app's own name when not set.
    """

    service: str | None = None


class IdentitySettings(Struct):
    """Who callers are.

    Attributes:
        developer: Whether callers without credentials act as the developer, with every scope. Holds in development on
            a loopback address only.
    """

    developer: bool = True


class Settings(Struct):
    """Everything that a process is told when it starts.

    Attributes:
        app: The application that commands use when they are not given one, as `module:attribute`.
        environment: `development` makes the app convenient, `production` makes it safe.
        secret_key: Signs page tokens; at least 32 characters, the same in all processes. When not set it is random
            for each start. `TRIVET_SECRET_KEY_FILE` names a file that holds it.
        server: How the process listens, how many workers serve, and how it ends.
        tls: Serving over TLS.
        database: Where the tables are.
        blobs: Where files are that jobs write.
        redis: A store that processes share.
        limits: What a request may be at most.
        rest: How the REST face looks.
        compression: Whether answers are compressed for callers that ask for it.
        cors: Pages of which other origins may call this app from a browser.
        graphql: How GraphQL is served, and what a document may ask for.
        events: How events and requests for later are delivered.
        log: What is written to standard output.
        telemetry: What is measured and sent elsewhere.
        identity: Who callers are.
    """

    app: str | None = None
    environment: Literal["development", "production"] = "production"
    secret_key: Secret = field(default_factory=Secret.generate)
    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    database: DatabaseSettings = DatabaseSettings()
    blobs: BlobSettings = BlobSettings()
    redis: RedisSettings = RedisSettings()
    limits: LimitSettings = LimitSettings()
    rest: RestSettings = RestSettings()
    compression: CompressionSettings = CompressionSettings()
    cors: CorsSettings = CorsSettings()
    graphql: GraphqlSettings = GraphqlSettings()
    events: EventSettings = EventSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    identity: IdentitySettings = IdentitySettings()

    @property
    def development(self) -> bool:
        """Whether the environment is ``development``."""
        return self.environment == "development"


DEVELOPMENT: Mapping[str, Any] = {
    "log.format": "text",
    "server.workers": 1,
    "tls.hsts": 0,
    "server.drain_wait": 0.0,
    "server.drain_timeout": 1.0,
    "server.close_timeout": 1.0,
}
"""Defaults that are different in development: lines for people, and Ctrl-C ends at once."""

SECRET_KEY_LENGTH_MIN = 32


def environment_name(path: str) -> str:
    """Return the environment variable of a setting: ``server.port`` is ``TRIVET_SERVER__PORT``."""
    return "TRIVET_" + path.upper().replace(".", "__")


def environment_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return settings by path as environment variables, for a process that is to be started with them."""

    def text(value: Any) -> str:
        if value is None:
            return "none"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return ",".join(map(text, value))
        return value.reveal() if isinstance(value, Secret) else str(value)

    return {environment_name(path): text(value) for path, value in values.items()}
