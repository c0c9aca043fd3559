"""TLS to a server with an authority of its own: who is not who they should be gets neither password nor statement."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
import trustme

from tests.postgres import Server
from trivet.data.catalog import open_database
from trivet.data.database import DatabaseUnavailable
from trivet.data.statement import Statement

AUTHORITY = trustme.CA()
OTHER = trustme.CA()
ENCRYPTED = Statement(sa.text("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server whose certificate is for ``localhost``, and that lets nobody in without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(17, port=port)
    try:
        server.stop()
        issued = AUTHORITY.issue_cert("localhost")
        data = server.directory / "data"
        issued.cert_chain_pems[0].write_to_path(str(data / "server.crt"))
        issued.private_key_pem.write_to_path(str(data / "server.key"))
        (data / "server.key").chmod(0o600)
        (data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
        if os.getuid() == 0:
            for name in ("server.crt", "server.key"):
                shutil.chown(data / name, "nobody")
        server.options["ssl"] = "on"
        server.start()
        yield server
    finally:
        server.remove()


def url(server: Server, directory: Path, host: str, authority: trustme.CA, mode: str = "verify-full") -> str:
    file = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return f"postgresql://postgres@{host}:{server.port}/postgres?sslmode={mode}&sslrootcert={quote(str(file))}"


async def test_the_right_host_with_the_right_authority_is_reached_and_encrypted(server: Server, tmp_path: Path) -> None:
    database = open_database(url(server, tmp_path, "localhost", AUTHORITY))
    await database.open()
    try:
        [(encrypted, version)] = await database.session(write=False).fetch(ENCRYPTED, ())
        assert (encrypted, version) == (True, "TLSv1.3")
    finally:
        await database.close()


async def test_another_host_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"its certificate is for another host .* connect by the name"):
        await open_database(url(server, tmp_path, "127.0.0.1", AUTHORITY)).open()


async def test_another_host_is_good_enough_where_only_the_authority_is_verified(server: Server, tmp_path: Path) -> None:
    database = open_database(url(server, tmp_path, "127.0.0.1", AUTHORITY, "verify-ca"))
    await database.open()
    await database.close()


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
async def test_another_authority_is_refused(server: Server, tmp_path: Path, mode: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"its certificate is not trusted .* \?sslrootcert="):
        await open_database(url(server, tmp_path, "localhost", OTHER, mode)).open()


async def test_an_authority_whose_file_is_missing_is_named(server: Server, tmp_path: Path) -> None:
    address = url(server, tmp_path, "localhost", AUTHORITY).replace("authority.pem", "nowhere.pem")
    with pytest.raises(DatabaseUnavailable, match=r"nowhere\.pem"):
        await open_database(address).open()


async def test_without_tls_it_lets_nobody_in(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"check the user, sslmode and pg_hba\.conf"):
        await open_database(url(server, tmp_path, "localhost", AUTHORITY, "disable")).open()
