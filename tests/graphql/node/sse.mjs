// Follows an operation with graphql-sse, in its mode of distinct connections: `node sse.mjs URL DOCUMENT [COUNT]`.
import { createClient } from "graphql-sse";

const [url, query, count] = process.argv.slice(2);
const client = createClient({ url, retryAttempts: 0 });
let seen = 0;
try {
  for await (const result of client.iterate({ query })) {
    console.log(JSON.stringify(result));
    if (++seen === Number(count)) break;
  }
  console.log("complete");
} catch (failed) {
  console.log(JSON.stringify({ failed: failed.response?.status ?? String(failed) }));
}
client.dispose();
