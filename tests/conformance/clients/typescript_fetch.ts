// Calls the shop with what openapi-generator made for fetch: node typescript_fetch.js URL, once compiled.
import { CatalogApi, Configuration, CustomersApi, OrdersApi, ResponseError } from "./client/index.js";
import type { Problem } from "./client/index.js";

declare const process: { argv: string[] };

const nobody = "00000000-0000-0000-0000-000000000001";
const configuration = new Configuration({ basePath: process.argv[2] ?? "" });
const catalog = new CatalogApi(configuration);
const orders = new OrdersApi(configuration);

async function failed(call: Promise<unknown>): Promise<[number, Problem]> {
  try {
    await call;
  } catch (refused) {
    if (refused instanceof ResponseError) return [refused.response.status, (await refused.response.json()) as Problem];
    throw refused;
  }
  throw new Error("it was not refused");
}

const listed = await catalog.catalogListProducts({ pageSize: 2, text: "walnut" });
const [first, second] = listed.items;
if (!first || !second) throw new Error("the shop sells nothing");
const got = await catalog.catalogGetProduct({ id: first.id });
const batch = await catalog.catalogGetProducts({ ids: [second.id, nobody, first.id] });
const [customer] = (await new CustomersApi(configuration).customersListCustomers({ pageSize: 1 })).items;
if (!customer) throw new Error("nobody buys");
const place = (quantity: number) =>
  orders.ordersCreateOrder({ newOrder: { customerId: customer.id, lines: [{ productId: first.id, quantity }] } });
const order = await place(1);
const refused = await failed(place(0));
const missing = await failed(catalog.catalogGetProduct({ id: nobody }));

console.log(
  JSON.stringify({
    listed: listed.items.map((item) => item.id),
    more: listed.nextPageToken !== undefined,
    got: got.name === first.name,
    batch: batch.items.map((item) => item?.id ?? null),
    ordered: [order.status, order.total.amount === first.price.amount, order.lines[0]?.productId],
    refused: [refused[0], refused[1].errors?.[0]?.pointer],
    missing: [missing[0], missing[1].reason],
  }),
);
