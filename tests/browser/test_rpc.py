"""gRPC-Web's own client, and Connect's, in a real browser, on a page of another origin: preflights and all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from google.protobuf import descriptor_pb2
from playwright.sync_api import Browser
from tools import node

from shop.app import app
from tests.shop.serving import EXAMPLES
from trivet.contracts.proto.descriptor import descriptors
from trivet.testing import Served, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CLIENTS = ("grpc-web, text", "grpc-web, binary", "connect-web, connect", "connect-web, grpc-web")
HERE = Path(__file__).parent
PROTOBUF, CONNECT = "@bufbuild/protobuf", "@connectrpc/connect"
ESM = "dist/esm"
MODULES = {
    "grpc-web": "grpc-web/index.esm.js",
    PROTOBUF: f"{PROTOBUF}/{ESM}/index.js",
    **{f"{PROTOBUF}/{part}": f"{PROTOBUF}/{ESM}/{part}/index.js" for part in ("codegenv2", "reflect", "wire", "wkt")},
    CONNECT: f"{CONNECT}/{ESM}/index.js",
    **{
        f"{CONNECT}/{part}": f"{CONNECT}/{ESM}/{part}/index.js"
        for part in ("protocol", "protocol-connect", "protocol-grpc", "protocol-grpc-web")
    },
    f"{CONNECT}-web": f"{CONNECT}-web/{ESM}/index.js",
}
"""Where a page finds what its modules import."""


@contextmanager
def pages() -> Iterator[str]:
    """Serve a page with the clients, and return its origin."""
    packages = node.install(HERE.parent / "rpc" / "node") / "node_modules"
    imports = {name: f"/node_modules/{path}" for name, path in MODULES.items()}
    html = f'<!doctype html><title>page</title><script type="importmap">{json.dumps({"imports": imports})}</script>'
    contract, _ = app.contract()
    written = descriptor_pb2.FileDescriptorSet(file=descriptors(contract.packages)).SerializeToString()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/node_modules/")
            if self.path == "/":
                kind, content = "text/html", html.encode()
            elif self.path == "/contract.bin":
                kind, content = "application/octet-stream", written
            elif self.path == "/rpc.mjs":
                kind, content = "text/javascript", (HERE / "rpc.mjs").read_bytes()
            elif path != self.path and (packages / path).is_file():
                kind, content = "text/javascript", (packages / path).read_bytes()
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page is."""
    with pages() as served:
        yield served


@pytest.fixture(scope="module")
def api(origin: str) -> Iterator[Served]:
    """The shop, which lets that page in."""
    environ = {"TRIVET_ENVIRONMENT": "development", "TRIVET_CORS__ORIGINS": origin}
    with serve("shop.app:app", app_dir=EXAMPLES, environ=environ) as served:
        yield served


@pytest.mark.parametrize("client", CLIENTS)
def test_a_page_of_another_origin_calls_the_shop(client: str, browser: Browser, origin: str, api: Served) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(origin)
        script = "async ([client, url]) => (await import('/rpc.mjs')).check(client, url)"
        found = page.evaluate(script, [client, api.url])
    finally:
        context.close()
    assert found.pop("message") == "A product with this SKU exists already."
    assert found.pop("items") == 3
    assert found == dict.fromkeys(("same", "missing", "taken", "details", "late"), True) | (
        {} if client == "grpc-web, binary" else {"seen": True}
    )
