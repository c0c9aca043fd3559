// What gRPC's own client for Node finds, with the contract read at run time: `node grpc_js.mjs ADDRESS PROTOS`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, protos] = process.argv.slice(2);
const options = { includeDirs: [protos], keepCase: true, longs: Number, enums: String };
const read = (file) => grpc.loadPackageDefinition(loader.loadSync(file, options)).shop;
const { CatalogService } = read("shop/catalog/v1/catalog.proto").catalog.v1;
const { OrdersService } = read("shop/orders/v1/orders.proto").orders.v1;
const credentials = grpc.credentials.createInsecure();
const catalog = new CatalogService(address, credentials);
const orders = new OrdersService(address, credentials);
const deadline = () => ({ deadline: Date.now() + 60_000 });
const call = (client, method, request, metadata = new grpc.Metadata()) =>
  new Promise((resolve, reject) =>
    client[method](request, metadata, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))),
  );

const page = await call(catalog, "ListProducts", { page_size: 100 });
assert.equal(page.items.length, 100);
await assert.rejects(call(catalog, "GetProduct", { id: randomUUID() }), (error) => {
  assert.equal(error.code, grpc.status.NOT_FOUND);
  assert.ok(error.metadata.get("grpc-status-details-bin").length === 1);
  return true;
});
await assert.rejects(call(catalog, "GetProduct", { id: "nonsense" }), { code: grpc.status.INVALID_ARGUMENT });

const watch = orders.WatchOrders({});
const opened = new Promise((resolve) => watch.once("metadata", resolve));
const item = new Promise((resolve, reject) => watch.once("data", resolve).once("error", reject));
await opened;
const customer_id = (await call(orders, "ListOrders", { page_size: 1 })).items[0].customer_id;
const product = page.items.find((each) => each.stock > 0);
await call(orders, "CreateOrder", { order: { customer_id, lines: [{ product_id: product.id, quantity: 1 }] } });
assert.ok((await item).order_status_changed.order_id);
const ended = new Promise((resolve) => watch.once("error", resolve));
watch.cancel();
assert.equal((await ended).code, grpc.status.CANCELLED);
console.log("ok");
process.exit(0);
