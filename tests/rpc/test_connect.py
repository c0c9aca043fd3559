"""The Connect client for Python finds what it expects, over Connect and over gRPC, in both formats."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from connectrpc.client import ConnectClient
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf import descriptor_pool, message_factory
from pyqwest import Client as HTTPClient
from pyqwest import HTTPTransport, HTTPVersion

from shop.app import app
from trivet.contracts.proto.descriptor import descriptors
from trivet.testing import Served

CODECS = {"binary": google_protobuf_binary_codec, "json": google_protobuf_json_codec}
UNKNOWN_ID = "0198c1f2-7a00-7000-8000-0000000fffff"


@cache
def pool() -> Any:
    found = descriptor_pool.DescriptorPool()
    for file in descriptors(app.contract()[0].packages):
        found.Add(file)
    return found


def method(service: str, name: str) -> MethodInfo[Any, Any]:
    described = pool().FindServiceByName(service).FindMethodByName(name)
    return MethodInfo(
        name=name,
        service_name=service,
        input=message_factory.GetMessageClass(described.input_type),
        output=message_factory.GetMessageClass(described.output_type),
        stream_type=StreamType.UNARY,
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS,
    )


@pytest.mark.parametrize("format", CODECS)
@pytest.mark.parametrize("protocol", [ProtocolType.CONNECT, ProtocolType.GRPC, ProtocolType.GRPC_WEB])
async def test_the_connect_client_reads_pages_and_errors(protocol: ProtocolType, format: str, served: Served) -> None:
    listing, getting = (method("shop.catalog.v1.CatalogService", name) for name in ("ListProducts", "GetProduct"))
    async with (
        HTTPTransport(http_version=HTTPVersion.HTTP2) as transport,
        ConnectClient(
            served.url, protocol=protocol, codec=CODECS[format](), http_client=HTTPClient(transport=transport)
        ) as client,
    ):
        page = await client.execute_unary(request=listing.input(page_size=100), method=listing, timeout_ms=60_000)
        assert len(page.items) == 100
        with pytest.raises(ConnectError) as refused:
            await client.execute_unary(request=getting.input(id=UNKNOWN_ID), method=getting)
        assert refused.value.code is Code.NOT_FOUND
        assert any(detail.type_name.endswith("google.rpc.ErrorInfo") for detail in refused.value.details)


async def test_the_connect_client_gets_queries(served: Served) -> None:
    listing = method("shop.catalog.v1.CatalogService", "ListProducts")
    async with ConnectClient(served.url, codec=CODECS["binary"]()) as client:
        page = await client.execute_unary(request=listing.input(page_size=1), method=listing, use_get=True)
        assert len(page.items) == 1


async def test_native_grpc_over_http_1_says_what_it_needs(served: Served) -> None:
    listing = method("shop.catalog.v1.CatalogService", "ListProducts")
    async with (
        HTTPTransport(http_version=HTTPVersion.HTTP1) as transport,
        ConnectClient(
            served.url,
            protocol=ProtocolType.GRPC,
            codec=CODECS["binary"](),
            http_client=HTTPClient(transport=transport),
        ) as client,
    ):
        with pytest.raises(ConnectError) as refused:
            await client.execute_unary(request=listing.input(page_size=1), method=listing)
    assert refused.value.code is Code.UNIMPLEMENTED
    assert "trailers" in refused.value.message
