"""Where a PostgreSQL server is: the URL read, and what it means when nobody can be reached there.

Its form is libpq's (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS). Parameters that
are neither libpq's nor TLS's are settings of the server, such as ``?search_path=...``. What the URL leaves out is taken
from the PG* variables of the environment, as libpq does.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg

from trivet.core.shape import Struct
from trivet.data.database import DatabaseUnavailable
from trivet.data.postgresql.errors import field_of
from trivet.data.postgresql.instants import agree_on_instants
from trivet.settings import DatabaseSettings, Url

CONNECT_SECONDS = 10
STATEMENTS_MAX = 1000
"""Prepared statements that one connection keeps; the ones prepared longest ago go."""

LIBPQ = frozenset(
    {
        "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname", "gssdelegation",
        "gssencmode", "gsslib", "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
        "keepalives_interval", "krbsrvname", "load_balance_hosts", "options", "passfile", "port", "require_auth",
        "requirepeer", "service", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcertmode",
        "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni",
        "target_session_attrs", "tcp_user_timeout", "user",
    }
)  # fmt: skip
"""What libpq knows in a URL (section 32.1.2 of PostgreSQL 18's manual), but for the password."""

OLDEST = 15
"""The oldest major version that is supported: what is used here came with it or before it."""


FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
"""Parameters that name files."""

OTHER_HOST = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class Address(Struct):
    """A server, and how this process presents itself there.

    Attributes:
        url: With its password.
        server_settings: Sent when connecting.
        statements: Prepared statements that a connection keeps.
    """

    url: Url
    server_settings: Mapping[str, str]
    statements: int

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    @property
    def shown(self) -> str:
        """The address as messages have it: without password and parameters."""
        parts = urlsplit(self.url.reveal())
        user = unquote(parts.netloc.rpartition("@")[0].partition(":")[0])
        return f"postgresql://{user + '@' if user else ''}{self.where}{parts.path}"

    @property
    def where(self) -> str:
        """The host or hosts with their ports, or the directory of the socket."""
        parts = urlsplit(self.url.reveal())
        return parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")

    @property
    def user(self) -> str:
        """Who connects, as far as the URL says it."""
        return unquote(urlsplit(self.url.reveal()).netloc.rpartition("@")[0].partition(":")[0]) or "the user"

    @property
    def database(self) -> str:
        """The database, as far as the URL names it."""
        return unquote(urlsplit(self.url.reveal()).path.lstrip("/")) or self.user

    @property
    def _files_missing(self) -> list[str]:
        given = parse_qsl(urlsplit(self.url.reveal()).query)
        return [value for name, value in given if name in FILES and not os.path.exists(value)]

    @property
    def complete(self) -> bool:
        """Whether there is every file that the URL names."""
        return not self._files_missing

    async def connect(self) -> asyncpg.Connection:
        """Connect.

        Raises:
            DatabaseUnavailable: With what to do about it.
        """
        try:
            driver = await asyncpg.connect(
                _plain(self.url.reveal()),
                timeout=CONNECT_SECONDS,
                statement_cache_size=self.statements,
                max_cached_statement_lifetime=0,
                max_cacheable_statement_size=0,
                server_settings=dict(self.server_settings),
            )
        except Exception as error:
            raise DatabaseUnavailable.because(f"{self.shown}: {self._why(error)}", retry_after=1) from _bare(error)
        await agree_on_instants(driver)
        return driver

    def _why(self, error: Exception) -> str:
        """Return what a failure to connect means, and what to do."""
        user, database = self.user, self.database
        said = field_of(error, "message") if isinstance(error, asyncpg.PostgresError) else str(error)
        match error:
            case asyncpg.InvalidPasswordError():
                return f"the server refuses the password of {user}: put the right one into DATABASE_URL"
            case asyncpg.InvalidAuthorizationSpecificationError():
                return f"the server lets {user} not in ({said}): check the user, sslmode and pg_hba.conf"
            case asyncpg.InvalidCatalogNameError():
                return f"there is no database {database}: create it (createdb {database}), or name another one"
            case asyncpg.InsufficientPrivilegeError():
                return f"{user} may not connect: GRANT CONNECT ON DATABASE {database} TO {user}"
            case asyncpg.TooManyConnectionsError():
                return "the server has no connection left: lower TRIVET_DATABASE__POOL_SIZE or raise max_connections"
            case asyncpg.CannotConnectNowError():
                return f"the server is not ready yet ({said}): try again in a moment"
            case asyncpg.exceptions.TargetServerAttributeNotMatched():
                return f"no server of these fits ({error}): name the primary"
            case asyncpg.PostgresConnectionError() if "unsupported startup parameter" in said:
                return f"this is a PgBouncer ({said}): set TRIVET_DATABASE__PGBOUNCER=true"
            case asyncpg.PostgresConnectionError():
                return f"the server ended the connection ({error}): look at its log"
            case asyncpg.PostgresError():
                return f"the server refuses the connection ({said}): check the parameters in DATABASE_URL"
            case ssl.SSLCertVerificationError() if error.verify_code in OTHER_HOST:
                return (
                    f"its certificate is for another host ({error.verify_message}): connect by the name that is in it"
                )
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted ({error.verify_message}): name its issuer with ?sslrootcert="
            case ssl.SSLError():
                return f"no TLS connection ({error}): check sslmode, sslcert and sslkey in DATABASE_URL"
            case TimeoutError():
                return f"no answer within {CONNECT_SECONDS} s: check host and port, and firewalls in between"
            case socket.gaierror():
                return "the name of the host can not be resolved: check it in DATABASE_URL"
            case FileNotFoundError() if self._files_missing:
                return f"there is no file {self._files_missing[0]}, which the URL names: check its path"
            case ConnectionRefusedError() | FileNotFoundError():
                return "nobody listens there: start the server, or check host and port in DATABASE_URL"
            case OSError() if "rejected SSL" in str(error):
                return "the server has no TLS: turn it on there, or say ?sslmode=disable on a network that you trust"
            case OSError():
                return f"it can not be reached ({error}): check host and port in DATABASE_URL"
            case ValueError() | asyncpg.InterfaceError():
                return f"the URL can not be used ({error})"
        return f"{type(error).__name__}: {error}"


def address_of(url: str, settings: DatabaseSettings, name: str) -> Address:
    """Return the address that a URL is.

    Args:
        url: ``postgresql://...``.
        settings: How connections are used.
        name: Under which the server shows this process.

    Raises:
        ValueError: It can not be read; the message has no secret in it.
    """
    try:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        _ = parts.port if "," not in parts.netloc else None
    except ValueError:
        raise ValueError(
            f"database URL {Url(url).shown!r} can not be read: write postgresql://user:password@host:5432/database, "
            "with what is special in user and password percent-encoded"
        ) from None
    settings_of_server = {"application_name": name}
    if not settings.pgbouncer:  # which refuses to be told anything else
        settings_of_server |= {
            "default_transaction_read_only": "on",
            "client_connection_check_interval": "5s",
            "idle_in_transaction_session_timeout": "60s",
            "timezone": "UTC",
        }
        if settings.statement_timeout:
            settings_of_server["statement_timeout"] = f"{round(settings.statement_timeout * 1000)}ms"
    return Address(
        url=Url(url),
        server_settings={key: value for key, value in settings_of_server.items() if key not in given},
        statements=0 if settings.pgbouncer else STATEMENTS_MAX,
    )


def for_libpq(address: Address) -> tuple[str, Mapping[str, str]]:
    """Return an address for a program that is made with libpq, such as ``psql``, and the variables that go with it.

    The password is a variable, because everybody on a machine may read what programs are started with. So are settings
    of the server, which libpq takes in no URL. The rest of how this process uses connections is not passed on.
    """
    parts = urlsplit(_plain(address.url.reveal()))
    who, at, where = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    given = dict(parse_qsl(parts.query))
    password = given.pop("password", unquote(password))
    settings = " ".join(f"-c {name}={_escaped(value)}" for name, value in given.items() if name not in LIBPQ)
    known = urlencode({name: value for name, value in given.items() if name in LIBPQ})
    url = parts._replace(scheme="postgresql", netloc=f"{user}{at}{where}", query=known).geturl()
    variables = {"PGPASSWORD": password, "PGOPTIONS": settings}
    return url, {name: value for name, value in variables.items() if value}


def _escaped(value: str) -> str:
    """Return a value as it stands in ``PGOPTIONS``, which is split at spaces."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _plain(url: str) -> str:
    """Return the URL as the driver wants it: it takes the first @ for the end of a password, we the last one."""
    parts = urlsplit(url)
    who, at, where = parts.netloc.rpartition("@")
    user, colon, password = who.partition(":")
    safe = f"{quote(unquote(user), safe='')}{colon}{quote(unquote(password), safe='')}{at}{where}"
    return parts._replace(netloc=safe).geturl()


def _bare(error: Exception) -> Exception | None:
    """Return the cause to show; not where its text could have what the URL has."""
    return None if isinstance(error, ValueError | asyncpg.InterfaceError) else error
