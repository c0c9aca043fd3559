// What Connect for TypeScript finds, over each of its transports: `node connect.js URL TRANSPORT`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import * as forNode from "@connectrpc/connect-node";
import * as forWeb from "@connectrpc/connect-web";
import { CatalogService } from "./gen/shop/catalog/v1/catalog_pb.js";
import { OrderStatus, OrdersService } from "./gen/shop/orders/v1/orders_pb.js";

const [baseUrl, name] = process.argv.slice(2) as [string, string];

const transports: Record<string, () => Transport> = {
  connect: () => forNode.createConnectTransport({ baseUrl, httpVersion: "2" }),
  "connect-get": () => forNode.createConnectTransport({ baseUrl, httpVersion: "1.1", useHttpGet: true }),
  "connect-json": () => forNode.createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  grpc: () => forNode.createGrpcTransport({ baseUrl, acceptCompression: [forNode.compressionGzip], sendCompression: forNode.compressionGzip, compressMinBytes: 1 }),
  "grpc-web-node": () => forNode.createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
  "grpc-web": () => forWeb.createGrpcWebTransport({ baseUrl }),
  "connect-web": () => forWeb.createConnectTransport({ baseUrl }),
};

const transport = transports[name]!();
const catalog = createClient(CatalogService, transport);
const orders = createClient(OrdersService, transport);
const slowly = { timeoutMs: 60_000 };

async function refused(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("it was not refused");
}

// values, and metadata of both sides
let seen: string | null = null;
const page = await catalog.listProducts(
  { pageSize: 100n },
  { ...slowly, headers: { "request-id": "from-ts" }, onHeader: (headers) => void (seen = headers.get("request-id")) },
);
assert.equal(page.items.length, 100);
assert.equal(seen, "from-ts");
const first = page.items[0]!;
assert.deepEqual((await catalog.getProduct({ id: first.id }, slowly)).product, first);

// a command, presence, and a mask
const sku = `TST-${randomUUID().replaceAll("-", "").slice(0, 12).toUpperCase()}`;
const product = { sku, name: "Stool", brand: "Holm", price: { amount: "12.50", currency: "EUR" }, stock: 5n, tags: ["a"] };
const created = (await catalog.createProduct({ product }, slowly)).product!;
assert.deepEqual([created.price?.amount, created.stock, created.version], ["12.50", 5n, 1n]);
const changes = { id: created.id, changes: { name: "Chair" }, updateMask: { paths: ["name", "tags"] } };
const changed = (await catalog.updateProduct(changes, slowly)).product!;
assert.deepEqual([changed.name, changed.tags], ["Chair", []]);

// errors and their details
const taken = await refused(catalog.createProduct({ product }, slowly));
assert.equal(taken.code, Code.AlreadyExists);
assert.ok(taken.details.some((detail) => "type" in detail && detail.type === "google.rpc.ErrorInfo"));
assert.equal((await refused(catalog.getProduct({ id: randomUUID() }, slowly))).code, Code.NotFound);
assert.equal((await refused(catalog.getProduct({ id: "nonsense" }, slowly))).code, Code.InvalidArgument);
const nobody = { ...slowly, headers: { authorization: "Bearer none" } };
assert.equal((await refused(catalog.getProduct({ id: first.id }, nobody))).code, Code.Unauthenticated);

// a stream, resumed after an item, and cancelled
const customerId = (await orders.listOrders({ pageSize: 1n }, slowly)).items[0]!.customerId;
const stop = new AbortController();
const watched = orders.watchOrders({ customerId }, { signal: stop.signal, onHeader: place });
async function place(): Promise<void> {
  await orders.createOrder({ order: { customerId, lines: [{ productId: created.id, quantity: 1n }] } }, slowly);
}
let position = "";
const cancelled = await refused(
  (async () => {
    for await (const item of watched) {
      assert.equal(item.orderStatusChanged?.status, OrderStatus.PENDING);
      position = item.position!;
      stop.abort();
    }
  })(),
);
assert.equal(cancelled.code, Code.Canceled);
const again = new AbortController();
for await (const item of orders.watchOrders({ customerId, resumeAfter: position }, { signal: again.signal })) {
  assert.notEqual(item.position, position);
  break;
}
again.abort();
console.log("ok");
process.exit(0);
