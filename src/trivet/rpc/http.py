"""HTTP/2 to another process, by pyqwest; what goes wrong on the way comes out as one of our errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trivet.core.shape import Struct
from trivet.rpc.errors import ConnectionLost, Unreachable

if TYPE_CHECKING:
    from pyqwest import Response

HttpVersion = Literal["1.1", "2"]

CONNECTIONS_MAX = 8
"""Connections to one address at once; HTTP/2 needs but one."""

CONNECT_SECONDS = 5.0


class Tls(Struct):
    """Whom to trust, and who we are.

    Attributes:
        ca: File of the certificates (PEM) that the server's one is checked with; the system's when absent.
        certificate: File of our own certificate (PEM), for servers that want one.
        key: File of its key (PEM).
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None


class Http:
    """Connections to one server, opened at the first request.

    Args:
        url: Where the app is, such as ``https://catalog.internal``.
        version: Of HTTP; over TLS, the server and ``"2"`` settle it together.
        tls: For ``https``.

    Raises:
        RuntimeError: pyqwest is not installed.
        ValueError: The URL or the certificates can not be used.
    """

    def __init__(self, url: str, version: HttpVersion, tls: Tls) -> None:
        try:
            from pyqwest import HTTPTransport, HTTPVersion
        except ModuleNotFoundError as missing:
            raise RuntimeError("calling other processes needs pyqwest: pip install 'trivet[client]'") from missing
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no URL: write http://host:port or https://host")
        if (tls.certificate is None) != (tls.key is None):
            raise ValueError("a client certificate needs both Tls(certificate=...) and Tls(key=...)")
        self.url = url.rstrip("/")
        secure = url.startswith("https://")
        chosen = HTTPVersion.HTTP1 if version == "1.1" else None if secure else HTTPVersion.HTTP2
        self._transport = HTTPTransport(
            http_version=chosen,
            tls_ca_cert=_bytes(tls.ca),
            tls_include_system_certs=tls.ca is None,
            tls_cert=_bytes(tls.certificate),
            tls_key=_bytes(tls.key),
            connect_timeout=CONNECT_SECONDS,
            max_connections_per_address=CONNECTIONS_MAX,
            enable_gzip=False,  # between processes it costs more than it saves
            enable_brotli=False,
            enable_zstd=False,
            follow_redirects=False,  # never carries credentials elsewhere
            enable_otel=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def post(self, path: str, headers: Mapping[str, str], content: bytes | AsyncIterator[bytes]) -> Response:
        """Send a request and return the answer once its head is there; whoever gets it closes it.

        Raises:
            Unreachable: Nothing was sent.
            ConnectionLost: The connection ended.
        """
        from pyqwest import Headers, Request

        request = Request("POST", self.url + path, Headers(headers.items()), content)
        with lost(self.url):
            return await self._transport.execute(request)


@contextmanager
def lost(where: str) -> Iterator[None]:
    """Turn what pyqwest raises into our errors.

    Args:
        where: What the error names.
    """
    from pyqwest import ReadError, RemoteProtocolError, WriteError

    try:
        yield
    except ConnectionError as refused:  # a time-out while connecting is one of these
        raise Unreachable(detail=f"{where} can not be reached.") from refused
    except (ReadError, RemoteProtocolError, WriteError) as ended:
        raise ConnectionLost(detail=f"The connection to {where} ended before the answer.") from ended


def _bytes(file: str | Path | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()
