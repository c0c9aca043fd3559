"""TLS: Mozilla's "intermediate" profile, and certificates that are replaced while connections go on.

The supervisor reads the files, and again when they change. A pair that fits is written to the private directory, in one
step, where workers read it; one that does not is refused with a line in the log, and the one before stays.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from trivet.core.shape import Struct
from trivet.settings import TlsSettings
from trivet.telemetry.log import Logger

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Of TLS 1.2, from Mozilla's guideline 5.7 without its DHE suites, which Envoy's library does not have."""

CURVES = ("X25519", "P-256", "P-384")

POLL_SECONDS = 1.0


class CannotUseCertificate(Exception):
    """The files of the certificate can not be used; the message says why and what to do."""


class Certificate(Struct):
    """What a server shows, and whom it believes; verified.

    Attributes:
        chain: The certificate and those above it, as PEM.
        key: Its private key, as PEM; not in the ``repr``.
        client_ca: Certificates that those of clients must descend from, as PEM.
    """

    chain: bytes
    key: bytes
    client_ca: bytes | None = None

    def __repr__(self) -> str:
        return "Certificate(...)"


def read(settings: TlsSettings) -> Certificate:
    """Read the files and verify that they fit.

    Raises:
        CannotUseCertificate: A file can not be read, is not what it should be, or does not fit the other.
    """
    assert settings.certificate is not None
    assert settings.key is not None  # a rule of the settings
    chain = _file("tls.certificate", settings.certificate)
    key = _file("tls.key", settings.key)
    client_ca = _file("tls.client_ca", settings.client_ca) if settings.client_ca is not None else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="trivet-", dir=_memory()) as directory:
        pair = (
            Path(directory) / "pair.pem"
        )  # what was read is what is verified, whatever happens to the files meanwhile
        _write(pair, chain + b"\n" + key)
        try:
            context.load_cert_chain(pair, password=_no_password)
        except ssl.SSLError as wrong:
            raise CannotUseCertificate(
                f"{settings.certificate} and {settings.key} are not a certificate and its key: {_reason(wrong)}\n"
                "    Both must be PEM; the certificate comes first in its file, then those that signed it."
            ) from None
    if client_ca is not None:
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
        except ssl.SSLError as wrong:
            raise CannotUseCertificate(f"{settings.client_ca} has no PEM certificate: {_reason(wrong)}") from None
    return Certificate(chain=chain, key=key, client_ca=client_ca)


def _file(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as unreadable:
        raise CannotUseCertificate(f"{setting}: {path} can not be read: {unreadable.strerror}") from None


def _no_password() -> str:
    raise CannotUseCertificate("the private key has a password; keep it in a file without one that only you can read")


def _reason(wrong: ssl.SSLError) -> str:
    return (wrong.reason or str(wrong)).replace("_", " ").lower()


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None  # noqa: S108 (no key reaches a disk)


class CertificateStore:
    """The certificate in use, where the workers find it.

    Args:
        settings: Names the files.
        directory: A private directory; both forms of the certificate are kept in it.
        log: Where changes and refusals are written.

    Attributes:
        pem: Key and chain in one file, as Python reads them.
        client_ca: Whom to believe, as Python reads it.
        secrets: The same as resources of Envoy, which watches the file.
    """

    def __init__(self, settings: TlsSettings, directory: Path, log: Logger) -> None:
        self._settings = settings
        self._log = log
        self._seen: object = None
        self._in_use: Certificate | None = None
        self.pem = directory / "server.pem"
        self.client_ca = directory / "client_ca.pem"
        self.secrets = directory / "certificate.json"
        self.trust = directory / "trust.json"

    def open(self) -> None:
        """Read and keep the certificate.

        Raises:
            CannotUseCertificate: There is none to serve with.
        """
        self._seen = self._stamps()
        self._keep(read(self._settings))

    def refresh(self) -> bool:
        """Take what the files hold now; returns whether it is another certificate that can be used."""
        self._seen = self._stamps()
        try:
            certificate = read(self._settings)
        except CannotUseCertificate as refused:
            self._log.error(f"the certificate stays as it is: {refused}")
            return False
        if certificate == self._in_use:
            return False
        self._keep(certificate)
        self._log.info("the certificate is replaced", certificate=self._settings.certificate)
        return True

    async def follow(self, replaced: Callable[[], Awaitable[None]]) -> None:
        """Refresh whenever files change, for as long as the task runs.

        Args:
            replaced: Called after another certificate was kept.
        """
        while True:
            await asyncio.sleep(POLL_SECONDS)
            # Two files are rarely written in one step: wait until they rest.
            if (now := self._stamps()) != self._seen:
                await asyncio.sleep(POLL_SECONDS / 2)
                if now == self._stamps() and self.refresh():
                    await replaced()

    def _keep(self, certificate: Certificate) -> None:
        self._in_use = certificate
        _replace(self.pem, certificate.key.rstrip() + b"\n" + certificate.chain)
        if certificate.client_ca is not None:
            _replace(self.client_ca, certificate.client_ca)
            trusted = {"trusted_ca": _inline(certificate.client_ca)}
            _replace(self.trust, _resources("trust", "validation_context", trusted))
        pair = {"certificate_chain": _inline(certificate.chain), "private_key": _inline(certificate.key)}
        _replace(self.secrets, _resources("certificate", "tls_certificate", pair))

    def _stamps(self) -> object:
        paths = (self._settings.certificate, self._settings.key, self._settings.client_ca)
        return [_stamp(path) for path in paths if path is not None]


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _inline(data: bytes) -> dict[str, str]:
    return {"inline_string": data.decode("ascii", "replace")}


def _resources(name: str, kind: str, value: object) -> bytes:
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        kind: value,
    }
    return msgspec.json.encode({"resources": [secret]})


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)


def _replace(path: Path, data: bytes) -> None:
    """Write a file in one step, readable by its owner only."""
    new = path.with_suffix(".new")
    _write(new, data)
    new.replace(path)


def server_context(settings: TlsSettings, pem: Path, client_ca: Path) -> ssl.SSLContext:
    """Return the context for a server that Python's own `ssl` serves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHERS))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(pem)
    if settings.client_certificate != "off":
        context.load_verify_locations(client_ca)
        required = settings.client_certificate == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context
