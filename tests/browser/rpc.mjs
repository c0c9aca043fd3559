// What RPC clients for browsers find on a page of another origin: gRPC-Web's own, and Connect's.
// Messages are made at run time, of the contract that the page's own server has beside it.

import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { GrpcWebClientBase, MethodDescriptor, MethodType } from "grpc-web";

const contract = fromBinary(
  FileDescriptorSetSchema,
  new Uint8Array(await (await fetch("/contract.bin")).arrayBuffer()),
);
const registry = createFileRegistry(contract);
const service = (name) => registry.getService(name);
const catalog = service("shop.catalog.v1.CatalogService");
const orders = service("shop.orders.v1.OrdersService");

const CODES = { NOT_FOUND: 5, ALREADY_EXISTS: 6, DEADLINE_EXCEEDED: 4 };
const LATE = 0.001; // seconds: nobody answers within them
const PAUSE = 500; // milliseconds

// gRPC-Web's own client, as its generator's stubs use it.
function ofGoogle(url, format) {
  const base = new GrpcWebClientBase({ format });
  const described = (of, name) => {
    const { input, output } = of.methods.find((method) => method.name === name);
    const kind = name.startsWith("Watch") ? MethodType.SERVER_STREAMING : MethodType.UNARY;
    const write = (message) => toBinary(input, message);
    const read = (content) => fromBinary(output, new Uint8Array(content));
    return { input, method: new MethodDescriptor(`/${of.typeName}/${name}`, kind, Object, Object, write, read) };
  };
  const failed = (error) => ({
    code: error.code,
    message: error.message,
    details: error.metadata?.["grpc-status-details-bin"],
  });
  return {
    async ask(of, name, init, wait = 60) {
      const { input, method } = described(of, name);
      // A deadline that is this near it does not send, so the server is told by hand.
      const time = wait === LATE ? { "grpc-timeout": "1u" } : { deadline: `${Date.now() + wait * 1000}` };
      const metadata = { ...time, traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` };
      try {
        return { value: await base.unaryCall(url + method.getName(), create(input, init), metadata, method) };
      } catch (error) {
        return { error: failed(error) };
      }
    },
    watch(of, name, init) {
      const { input, method } = described(of, name);
      const call = base.serverStreaming(url + method.getName(), create(input, init), {}, method);
      return new Promise((resolve, reject) => {
        call.on("data", (item) => {
          call.cancel();
          resolve(item);
        });
        call.on("error", (error) => reject(new Error(`${error.code} ${error.message}`)));
      });
    },
  };
}

function ofConnect(transport) {
  const member = (name) => name[0].toLowerCase() + name.slice(1);
  return {
    async ask(of, name, init, wait = 60) {
      try {
        const options = { timeoutMs: wait * 1000, headers: { "consistency-token": "none" } };
        return { value: await createClient(of, transport)[member(name)](init, options) };
      } catch (error) {
        const { code, rawMessage: message, details } = ConnectError.from(error);
        return { error: { code, message, details } };
      }
    },
    async watch(of, name, init) {
      for await (const item of createClient(of, transport)[member(name)](init)) return item;
    },
  };
}

const clients = {
  "grpc-web, text": (url) => ofGoogle(url, "text"),
  "grpc-web, binary": (url) => ofGoogle(url, "binary"),
  "connect-web, connect": (baseUrl) => ofConnect(createConnectTransport({ baseUrl })),
  "connect-web, grpc-web": (baseUrl) => ofConnect(createGrpcWebTransport({ baseUrl })),
};

// Ask the shop everything, and return what was found, to be looked at by whoever asks for it.
export async function check(name, url) {
  const client = clients[name](url);
  const page = await client.ask(catalog, "ListProducts", { pageSize: 3n });
  if (page.error) throw new Error(JSON.stringify(page.error));
  const product = page.value.items[0];
  const got = await client.ask(catalog, "GetProduct", { id: product.id });
  const missing = await client.ask(catalog, "GetProduct", { id: crypto.randomUUID() });
  const { sku, brand, price } = product;
  const taken = await client.ask(catalog, "CreateProduct", { product: { sku, name: "Stool", brand, price } });
  const late = await client.ask(orders, "ListOrders", { pageSize: 100n }, LATE);
  const found = {
    items: page.value.items.length,
    same: got.value?.product.sku === sku,
    missing: missing.error?.code === CODES.NOT_FOUND,
    taken: taken.error?.code === CODES.ALREADY_EXISTS,
    message: taken.error?.message,
    details: (taken.error?.details?.length ?? 0) > 0,
    late: late.error?.code === CODES.DEADLINE_EXCEEDED,
  };
  if (name === "grpc-web, binary") return found; // in binary it has no streams
  const [order] = (await client.ask(orders, "ListOrders", { pageSize: 1n })).value.items;
  const stocked = (await client.ask(catalog, "ListProducts", { pageSize: 100n })).value.items.find(({ stock }) => stock > 0n);
  const line = { productId: stocked.id, quantity: 1n };
  const place = () => client.ask(orders, "CreateOrder", { order: { customerId: order.customerId, lines: [line] } });
  const again = setInterval(place, PAUSE); // not every client tells when the server watches
  const seen = await client.watch(orders, "WatchOrders", { customerId: order.customerId });
  clearInterval(again);
  return { ...found, seen: seen.orderStatusChanged.orderId !== "" };
}
