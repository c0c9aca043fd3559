"""TLS as clients see it: protocols, profile, certificates of both sides, and certificates that are replaced."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from pyqwest import Client, HTTPTransport, HTTPVersion

from tests.waiting import eventually
from trivet.testing import Served, serve

HERE = Path(__file__).parent
PATIENCE_SECONDS = 30
pytestmark = pytest.mark.usefixtures("kind")

AUTHORITY = trustme.CA()
CLIENTS = trustme.CA()
CA_PEM = AUTHORITY.cert_pem.bytes()


class Files(NamedTuple):
    """Where a server's certificate is."""

    certificate: Path
    key: Path
    client_ca: Path

    def write(self, name: str = "localhost") -> None:
        """Put a new certificate there."""
        issued = AUTHORITY.issue_cert("localhost", "127.0.0.1", common_name=name)
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))

    def environ(self, **more: str) -> dict[str, str]:
        return {"TRIVET_TLS__CERTIFICATE": str(self.certificate), "TRIVET_TLS__KEY": str(self.key), **more}


def files_in(directory: Path) -> Files:
    files = Files(directory / "server.pem", directory / "server.key", directory / "clients.pem")
    files.write()
    CLIENTS.cert_pem.write_to_path(str(files.client_ca))
    return files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return files_in(tmp_path)


@pytest.fixture(scope="module")
def served(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    files = files_in(tmp_path_factory.mktemp("tls"))
    with serve("plain:app", app_dir=HERE, environ=files.environ()) as served:
        yield served


def port_of(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


def client(version: HTTPVersion | None = None, **options: Any) -> Client:
    return Client(HTTPTransport(tls_ca_cert=CA_PEM, http_version=version, timeout=PATIENCE_SECONDS, **options))


async def scope_of(served: Served, version: HTTPVersion | None = None, **options: Any) -> dict[str, Any]:
    """Return what the application saw of a request."""
    answer = await client(version, **options).get(f"https://localhost:{port_of(served)}/scope")
    assert answer.status == 200
    seen: dict[str, Any] = ast.literal_eval(answer.text())
    return seen


def handshake(served: Served, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    context = context or ssl.create_default_context(cadata=CA_PEM.decode())
    raw = socket.create_connection(("127.0.0.1", port_of(served)), timeout=PATIENCE_SECONDS)
    return context.wrap_socket(raw, server_hostname="localhost")


def listens_to_datagrams(port: int) -> bool:
    """Whether HTTP/3 may be served; where nobody listens the kernel says so."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", port))
        probe.send(b"")
        try:
            probe.send(b"")
        except ConnectionRefusedError:
            return False
        return True


def shown(served: Served) -> str:
    """Return the name in the certificate that a new connection is shown."""
    with handshake(served) as encrypted:
        subject: Any = encrypted.getpeercert()
        return str(next(value for part in subject["subject"] for name, value in part if name == "commonName"))


async def test_a_request_over_tls_says_so(served: Served) -> None:
    seen = await scope_of(served, HTTPVersion.HTTP1)
    assert (seen["scheme"], seen["http_version"], seen["client"][0]) == ("https", "1.1", "127.0.0.1")
    assert seen["tls"]["tls_version"] == 0x0304
    assert seen["tls"]["client_cert_name"] is None


@pytest.mark.parametrize(("version", "name"), [(HTTPVersion.HTTP2, "2"), (HTTPVersion.HTTP3, "3")], ids=["2", "3"])
async def test_envoy_speaks_the_newer_versions_too(kind: str, served: Served, version: HTTPVersion, name: str) -> None:
    if kind == "uvicorn":
        offered = ssl.create_default_context(cadata=CA_PEM.decode())
        offered.set_alpn_protocols(["h2", "http/1.1"])
        with handshake(served, offered) as encrypted:
            assert encrypted.selected_alpn_protocol() != "h2"
        assert not listens_to_datagrams(port_of(served))
        return
    seen = await scope_of(served, version)
    assert (seen["scheme"], seen["http_version"]) == ("https", name)


async def test_all_versions_are_served_by_one_application_that_was_opened_once(
    kind: str, files: Files, tmp_path: Path
) -> None:
    (tmp_path / "counting.py").write_text(
        "import asyncio\n"
        "loops = []\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        while (message := await receive())['type'] == 'lifespan.startup':\n"
        "            loops.append(asyncio.get_running_loop())\n"
        "            scope['state']['opened'] = len(loops)\n"
        "            await send({'type': 'lifespan.startup.complete'})\n"
        "        await send({'type': 'lifespan.shutdown.complete'})\n"
        "        return\n"
        "    body = b''\n"
        "    while (message := await receive()).get('more_body'):\n"
        "        body += message['body']\n"
        "    body += message['body']\n"
        "    said = [len(loops), asyncio.get_running_loop() is loops[0], scope['state']['opened'], len(body)]\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    for value in said:\n"
        "        await send({'type': 'http.response.body', 'body': b'%d ' % value, 'more_body': True})\n"
        "    await send({'type': 'http.response.body', 'body': b''})\n"
        "    if scope['path'] == '/wait':\n"
        "        print('gone', (await receive())['type'], flush=True)\n"
    )
    versions = [HTTPVersion.HTTP1] if kind == "uvicorn" else [HTTPVersion.HTTP1, HTTPVersion.HTTP2, HTTPVersion.HTTP3]
    with serve("counting:app", app_dir=tmp_path, environ=files.environ()) as served:
        for version in versions:
            url = f"https://localhost:{port_of(served)}"
            for path in ("/", "/wait"):
                answer = await client(version).post(url + path, content=b"x" * 300_000)
                assert (answer.status, answer.text().split()) == (200, ["1", "1", "1", "300000"])
        await asyncio.to_thread(
            eventually, lambda: served.log.read_text().count("gone http.disconnect") == len(versions)
        )
        assert served.stop() == 0


async def test_every_answer_insists_on_tls_and_says_where_http3_is(kind: str, served: Served) -> None:
    for path in ("/", "/%ff"):
        answer = await client(HTTPVersion.HTTP1).get(f"https://localhost:{port_of(served)}{path}")
        if path == "/" or kind == "envoy":
            assert answer.headers["strict-transport-security"] == "max-age=63072000"
        assert answer.headers.get("alt-svc") == (f'h3=":{port_of(served)}"; ma=86400' if kind == "envoy" else None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(version: ssl.TLSVersion, served: Served) -> None:
    context = ssl.create_default_context(cadata=CA_PEM.decode())
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(served, context)


@pytest.mark.parametrize(
    ("cipher", "accepted"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA", False),
        ("ECDHE-ECDSA-AES256-SHA384", False),
    ],
)
def test_only_the_suites_of_the_profile_are_accepted(cipher: str, accepted: bool, served: Served) -> None:
    context = ssl.create_default_context(cadata=CA_PEM.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    if accepted:
        with handshake(served, context) as encrypted:
            assert encrypted.cipher()[0] == cipher  # type: ignore[index] # it is connected
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(served, context)


def test_a_connection_that_does_not_begin_tls_is_closed(files: Files) -> None:
    with (
        serve("plain:app", app_dir=HERE, environ=files.environ(TRIVET_SERVER__HEAD_TIMEOUT="0.5")) as served,
        socket.create_connection(("127.0.0.1", port_of(served)), timeout=PATIENCE_SECONDS) as silent,
    ):
        assert silent.recv(100) == b""


# -- certificates of clients


@pytest.mark.parametrize("asked", ["optional", "required"])
async def test_a_client_is_known_by_its_certificate(asked: str, files: Files) -> None:
    mine = CLIENTS.issue_cert("desk@library.example", common_name="desk, 1st floor", organization_name="Library")
    stranger = trustme.CA().issue_cert("desk@library.example", common_name="desk")
    environ = files.environ(TRIVET_TLS__CLIENT_CA=str(files.client_ca), TRIVET_TLS__CLIENT_CERTIFICATE=asked)

    def pair(issued: trustme.LeafCert) -> dict[str, bytes]:
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        return {"tls_key": issued.private_key_pem.bytes(), "tls_cert": chain}

    with serve("plain:app", app_dir=HERE, environ=environ) as served:
        seen = await scope_of(served, HTTPVersion.HTTP1, **pair(mine))
        assert r"CN=desk\, 1st floor" in seen["tls"]["client_cert_name"]
        assert "O=Library" in seen["tls"]["client_cert_name"].split(",")
        first = seen["tls"]["client_cert_chain"][0]
        assert ssl.PEM_cert_to_DER_cert(first) == ssl.PEM_cert_to_DER_cert(mine.cert_chain_pems[0].bytes().decode())
        assert b"x-forwarded-client-cert" not in dict(seen["headers"])
        with pytest.raises(Exception, match=r".+"):  # the handshake fails, or the connection after it
            await scope_of(served, HTTPVersion.HTTP1, **pair(stranger))
        if asked == "required":
            with pytest.raises(Exception, match=r".+"):
                await scope_of(served, HTTPVersion.HTTP1)
        else:
            assert (await scope_of(served, HTTPVersion.HTTP1))["tls"]["client_cert_name"] is None


# -- certificates that are replaced


async def test_a_certificate_is_replaced_while_requests_go_on(files: Files) -> None:
    files.write("old")
    with serve("plain:app", app_dir=HERE, environ=files.environ()) as served:
        assert shown(served) == "old"
        kept = client(HTTPVersion.HTTP1)
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                for one in (kept, client(HTTPVersion.HTTP1)):
                    answer = await one.get(f"https://localhost:{port_of(served)}/")
                    assert answer.status == 200

        async with asyncio.TaskGroup() as group:
            group.create_task(load())
            with handshake(served) as open_before:
                files.write("new")
                await asyncio.to_thread(eventually, lambda: shown(served) == "new")
                open_before.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                assert open_before.recv(100).startswith(b"HTTP/1.1 200")
            stop.set()


def test_a_pair_that_does_not_fit_is_refused_and_the_old_one_stays(files: Files) -> None:
    files.write("old")
    with serve("plain:app", app_dir=HERE, environ=files.environ()) as served:
        files.key.write_bytes(AUTHORITY.issue_cert("localhost").private_key_pem.bytes())
        eventually(lambda: "the certificate stays as it is" in served.log.read_text())
        assert shown(served) == "old"
        served.signal(signal.SIGHUP)  # also for workers that start now
        eventually(lambda: "workers are replaced" in served.log.read_text())
        assert shown(served) == "old"
        assert "PRIVATE KEY" not in served.log.read_text()


def test_the_private_key_is_in_no_argument_and_in_no_file_that_others_read(kind: str, files: Files) -> None:
    with serve("plain:app", app_dir=HERE, environ=files.environ()) as served:
        tree = [served.process.pid, *map(int, children(served.process.pid))]
        secret = files.key.read_text().splitlines()[1]
        for pid in tree:
            assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert secret.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        kept = [path for path in Path("/dev/shm").rglob("*") if path.is_file() and secret in path.read_text("latin-1")]
        assert kept
        assert all(path.stat().st_mode & 0o077 == 0 and path.parent.stat().st_mode & 0o077 == 0 for path in kept)
    assert not any(path.exists() for path in kept)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda files: files.certificate.unlink(), "can not be read"),
        (lambda files: files.certificate.write_text("nonsense"), "are not a certificate and its key"),
        (lambda files: files.key.write_bytes(AUTHORITY.issue_cert("a").private_key_pem.bytes()), "key values mismatch"),
    ],
    ids=["missing", "nonsense", "of another"],
)
def test_files_that_can_not_be_used_are_named_at_start(damage: Any, said: str, files: Files) -> None:
    damage(files)
    ended = subprocess.run(
        [sys.executable, "-m", "trivet", "run", "plain:app", "--app-dir", str(HERE), "--port", "0"],
        env={**os.environ, "TRIVET_SERVER__MANAGEMENT_PORT": "0", **files.environ()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert said in ended.stderr
    assert str(files.certificate) in ended.stderr
    assert "Traceback" not in ended.stderr
