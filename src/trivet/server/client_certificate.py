"""Who is at the other end of TLS, as the TLS extension of ASGI has it."""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import unquote

from trivet.server.interface import Scope

FIELD = b"x-forwarded-client-cert"
"""Where Envoy puts the client's certificate, after it removed what the client may have put there."""

CHAIN = re.compile(r'(?:^|;)(Cert|Chain)="([^"]*)"')
END = "-----END CERTIFICATE-----"

VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "domainComponent": "DC",
    "userId": "UID",
    "emailAddress": "emailAddress",
}
"""Names of attributes as RFC 4514 section 3 shortens them."""


def tls_extension(encrypted: ssl.SSLObject) -> dict[str, Any]:
    """Return the extension for a connection that Python's `ssl` serves; of the chain it knows only the first."""
    certificate = encrypted.getpeercert()
    name = chain = None
    if certificate:
        name = distinguished_name(certificate.get("subject", ()))
        encoded = encrypted.getpeercert(binary_form=True)
        chain = [ssl.DER_cert_to_PEM_cert(encoded)] if encoded else []
    return {
        "server_cert": None,
        "client_cert_chain": chain or [],
        "client_cert_name": name,
        "client_cert_error": None,
        "tls_version": VERSIONS.get(encrypted.version() or ""),
        "cipher_suite": None,
    }


def distinguished_name(subject: Any) -> str:
    """Return a subject as `ssl` parses it in the string form of RFC 4514, the last part first."""
    parts = ("+".join(f"{SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part) for part in subject)
    return ",".join(reversed(list(parts)))


def _escaped(value: str) -> str:
    """Escape a value (RFC 4514 section 2.4)."""
    value = re.sub(r'([,+"\\<>;])', r"\\\1", value).replace("\0", r"\00")
    value = re.sub(r"^([ #])", r"\\\1", value)
    return re.sub(r"(?<!\\) $", r"\\ ", value)


def adopt_certificate(scope: Scope) -> None:
    """Complete pyvoy's extension with the chain that Envoy passes on in a field, and take the field away."""
    extension = scope["extensions"].get("tls")
    if extension is None:
        return
    passed = [value for name, value in scope["headers"] if name == FIELD]
    if passed:
        scope["headers"] = [field for field in scope["headers"] if field[0] != FIELD]
    name = extension["client_cert_name"] or None
    extension |= {
        "server_cert": None,
        "client_cert_chain": certificates(passed[0].decode("latin-1")) if passed and name else [],
        "client_cert_name": name,
        "client_cert_error": None,
        "cipher_suite": None,
    }


def certificates(field: str) -> list[str]:
    """Return the certificates of a field of Envoy, the client's own first."""
    found = dict(CHAIN.findall(field))
    text = unquote(found.get("Chain") or found.get("Cert") or "")
    return [f"{one.strip()}\n{END}\n" for one in text.split(END) if one.strip()]
