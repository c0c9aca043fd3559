// Calls the shop with openapi-fetch over the types that openapi-typescript made: node openapi_fetch.ts URL.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

declare const process: { argv: string[] };

const nobody = "00000000-0000-0000-0000-000000000001";
const shop = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

function there<T>(data: T | undefined): T {
  if (data === undefined) throw new Error("no answer");
  return data;
}

const listed = there((await shop.GET("/v1/products", { params: { query: { page_size: 2, text: "walnut" } } })).data);
const [first, second] = listed.items as [components["schemas"]["Product"], components["schemas"]["Product"]];
const got = there((await shop.GET("/v1/products/{id}", { params: { path: { id: first.id } } })).data);
const ids = [second.id, nobody, first.id];
const batch = there((await shop.GET("/v1/products:batchGet", { params: { query: { ids } } })).data);
const [customer] = there((await shop.GET("/v1/customers", { params: { query: { page_size: 1 } } })).data).items;
const place = (quantity: number) =>
  shop.POST("/v1/orders", {
    body: { customer_id: there(customer).id, lines: [{ product_id: first.id, quantity }] },
  });
const order = there((await place(1)).data);
const refused = await place(0);
const missing = await shop.GET("/v1/products/{id}", { params: { path: { id: nobody } } });

const status: "PENDING" | "CONFIRMED" | "SHIPPED" | "CANCELLED" = order.status;
console.log(
  JSON.stringify({
    listed: listed.items.map((item) => item.id),
    more: listed.next_page_token !== undefined,
    got: got.name === first.name,
    batch: batch.items.map((item) => item?.id ?? null),
    ordered: [status, order.total.amount === first.price.amount, order.lines[0]?.product_id],
    refused: [refused.response.status, there(refused.error).errors?.[0]?.pointer],
    missing: [missing.response.status, there(missing.error).reason],
  }),
);
