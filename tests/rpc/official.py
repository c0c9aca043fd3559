"""What gRPC's own client finds, each check by a name: run in a process of its own, since the stubs are called ``shop``.

``python official.py STUBS ADDRESS NAME`` exits with 0 where what it asserts is so.
"""

from __future__ import annotations

import sys
import threading
import uuid
from decimal import Decimal
from importlib import import_module
from typing import Any

sys.path.insert(0, sys.argv[1])

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

catalog: Any = import_module("shop.catalog.v1.catalog_pb2")
catalog_stubs: Any = import_module("shop.catalog.v1.catalog_pb2_grpc")
orders: Any = import_module("shop.orders.v1.orders_pb2")
orders_stubs: Any = import_module("shop.orders.v1.orders_pb2_grpc")
channel = grpc.insecure_channel(sys.argv[2])
products = catalog_stubs.CatalogServiceStub(channel)
sales = orders_stubs.OrdersServiceStub(channel)
WAIT = {"timeout": 60}


def first() -> Any:
    return products.ListProducts(catalog.ListProductsRequest(page_size=1), **WAIT).items[0]


def sku() -> str:
    return f"TST-{uuid.uuid4().hex[:12].upper()}"


def new_product(**more: Any) -> Any:
    return catalog.NewProduct(
        sku=sku(), name="Stool", brand="Holm", price=catalog.Money(amount="12.50", currency="EUR"), **more
    )


def refused(call: Any) -> Any:
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was not refused")


def details(error: Any, kind: Any) -> Any:
    status = rpc_status.from_call(error)
    assert status.code == error.code().value[0]
    [detail] = [each for each in status.details if each.Is(kind.DESCRIPTOR)]
    found = kind()
    assert detail.Unpack(found)
    return found


def unary() -> None:
    created = products.CreateProduct(catalog.CreateProductRequest(product=new_product(stock=3)), **WAIT).product
    assert (created.name, created.price.amount, created.stock, created.version) == ("Stool", "12.50", 3, 1)
    got, call = products.GetProduct.with_call(catalog.GetProductRequest(id=created.id), **WAIT)
    assert got.product.sku == created.sku
    assert call.code() is grpc.StatusCode.OK
    products.DeleteProduct(catalog.DeleteProductRequest(id=created.id), **WAIT)
    error = refused(lambda: products.GetProduct(catalog.GetProductRequest(id=created.id), **WAIT))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def batch() -> None:
    known = first().id
    request = catalog.BatchGetProductsRequest(ids=[known, str(uuid.uuid4())])
    found, missing = products.BatchGetProducts(request, **WAIT).items
    assert (found.value.id, missing.HasField("value")) == (known, False)


def patch() -> None:
    created = products.CreateProduct(catalog.CreateProductRequest(product=new_product(tags=["a"])), **WAIT).product
    changes = catalog.NewProductPatch(name="Chair", price=catalog.MoneyPatch(amount="13"))
    request = catalog.UpdateProductRequest(id=created.id, changes=changes)
    changed = products.UpdateProduct(request, **WAIT).product
    assert (changed.name, Decimal(changed.price.amount), list(changed.tags)) == ("Chair", Decimal(13), ["a"])
    request = catalog.UpdateProductRequest(id=created.id, changes=catalog.NewProductPatch())
    request.update_mask.paths.append("tags")
    assert products.UpdateProduct(request, **WAIT).product.tags == []
    request.update_mask.paths[:] = ["sku"]
    error = refused(lambda: products.UpdateProduct(request, **WAIT))
    assert details(error, error_details_pb2.BadRequest).field_violations[0].field == "changes.sku"


def condition() -> None:
    created = products.CreateProduct(catalog.CreateProductRequest(product=new_product()), **WAIT).product
    request = catalog.UpdateProductRequest(id=created.id, changes=catalog.NewProductPatch(name="Chair"))
    stale = [("if-match", "7")]
    error = refused(lambda: products.UpdateProduct(request, metadata=stale, **WAIT))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert products.UpdateProduct(request, metadata=[("if-match", "1")], **WAIT).product.version == 2


def errors() -> None:
    taken = new_product()
    products.CreateProduct(catalog.CreateProductRequest(product=taken), **WAIT)
    error = refused(lambda: products.CreateProduct(catalog.CreateProductRequest(product=taken), **WAIT))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    info = details(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == ("SKU_TAKEN", "shop", {"sku": taken.sku})
    wrong = catalog.NewProduct(sku="?", name="", price=catalog.Money(amount="x", currency="EUR"), stock=-1)
    error = refused(lambda: products.CreateProduct(catalog.CreateProductRequest(product=wrong), **WAIT))
    violations = {v.field for v in details(error, error_details_pb2.BadRequest).field_violations}
    assert violations == {f"product.{name}" for name in ("sku", "name", "brand", "price.amount", "stock")}
    negative = new_product()
    negative.price.amount = "-1"  # what the handler finds is said in the same way
    error = refused(lambda: products.CreateProduct(catalog.CreateProductRequest(product=negative), **WAIT))
    assert details(error, error_details_pb2.BadRequest).field_violations[0].field == "product.price.amount"


def metadata() -> None:
    sent = [("request-id", "from-grpcio"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")]
    _, call = products.GetProduct.with_call(catalog.GetProductRequest(id=first().id), metadata=sent, **WAIT)
    assert dict(call.initial_metadata())["request-id"] == "from-grpcio"
    error = refused(lambda: products.GetProduct(catalog.GetProductRequest(id="x"), metadata=sent, **WAIT))
    assert details(error, error_details_pb2.RequestInfo).request_id == "from-grpcio"
    refusal = refused(
        lambda: products.GetProduct(
            catalog.GetProductRequest(id=first().id), metadata=[("authorization", "Bearer nonsense")], **WAIT
        )
    )
    assert refusal.code() is grpc.StatusCode.UNAUTHENTICATED


def deadline() -> None:
    error = refused(lambda: sales.ListOrders(orders.ListOrdersRequest(page_size=100), timeout=0.0005))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def compression() -> None:
    request = catalog.ListProductsRequest(page_size=100)
    listed, call = products.ListProducts.with_call(request, compression=grpc.Compression.Gzip, **WAIT)
    assert len(listed.items) == 100
    assert dict(call.initial_metadata()).get("grpc-encoding", "gzip") == "gzip"


def large() -> None:
    ids = [str(uuid.uuid4()) for _ in range(40_000)]
    error = refused(lambda: products.BatchGetProducts(catalog.BatchGetProductsRequest(ids=ids), **WAIT))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error, error_details_pb2.ErrorInfo).reason == "BODY_TOO_LARGE"
    assert first().id


def unknown() -> None:
    call = channel.unary_unary("/shop.catalog.v1.CatalogService/Nothing")
    error = refused(lambda: call(b"", **WAIT))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def stream() -> None:
    customer = sales.ListOrders(orders.ListOrdersRequest(page_size=1), **WAIT).items[0].customer_id
    watch = sales.WatchOrders(orders.WatchOrdersRequest(customer_id=customer), **WAIT)
    assert "request-id" in dict(watch.initial_metadata()), (watch.code(), watch.details())
    product = products.CreateProduct(catalog.CreateProductRequest(product=new_product(stock=5)), **WAIT).product
    line = orders.NewLine(product_id=product.id, quantity=1)
    request = orders.CreateOrderRequest(order=orders.NewOrder(customer_id=customer, lines=[line]))
    placed = sales.CreateOrder(request, **WAIT).order
    seen = next(watch)
    assert seen.order_status_changed.order_id == placed.id
    assert seen.order_status_changed.status == orders.ORDER_STATUS_PENDING
    watch.cancel()
    again = sales.WatchOrders(orders.WatchOrdersRequest(customer_id=customer, resume_after=seen.position), **WAIT)
    assert next(again).order_status_changed.order_id == placed.id  # the next status of the same order
    again.cancel()
    error = refused(lambda: next(sales.WatchOrders(orders.WatchOrdersRequest(resume_after="nowhere"), **WAIT)))
    assert error.code() is not grpc.StatusCode.OK


def job() -> None:
    request = orders.ExportOrdersRequest(first_day="2026-01-01", last_day="2026-01-02")
    status = sales.ExportOrders(request, **WAIT).job
    assert (status.operation, status.state) == ("orders.export_orders", orders.JOB_STATE_QUEUED)


def health() -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    assert stub.Check(health_pb2.HealthCheckRequest(), **WAIT).status == serving
    request = health_pb2.HealthCheckRequest(service="shop.catalog.v1.CatalogService")
    assert stub.Check(request, **WAIT).status == serving
    error = refused(lambda: stub.Check(health_pb2.HealthCheckRequest(service="nobody"), **WAIT))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(request, **WAIT)
    assert next(watch).status == serving
    watch.cancel()
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), **WAIT)
    assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    unknown.cancel()


def reflection() -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {"shop.catalog.v1.CatalogService", "grpc.health.v1.Health"} <= services
    file = database.FindFileContainingSymbol("shop.orders.v1.OrdersService.GetOrder")
    assert file.name == "shop/orders/v1/orders.proto"
    assert database.FindFileByName("google/protobuf/timestamp.proto").package == "google.protobuf"


def many() -> None:
    """Streams that are opened and reset leave the server as it was; as many as no attacker would be content with."""
    for _ in range(200):
        sales.WatchOrders(orders.WatchOrdersRequest()).cancel()
    known = first().id
    failed: list[Any] = []

    def ask() -> None:
        for _ in range(25):
            try:
                products.GetProduct(catalog.GetProductRequest(id=known), **WAIT)
            except grpc.RpcError as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]


if __name__ == "__main__":
    globals()[sys.argv[3]]()
