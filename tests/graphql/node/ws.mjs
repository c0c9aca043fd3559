// Follows a subscription with graphql-ws: `node ws.mjs URL DOCUMENT [COUNT]`; prints each result, one a line.
import { createClient } from "graphql-ws";

const [url, query, count] = process.argv.slice(2);
const client = createClient({ url, retryAttempts: 5, retryWait: () => new Promise(done => setTimeout(done, 100)), keepAlive: 500 });
let seen = 0;
try {
  for await (const result of client.iterate({ query })) {
    console.log(JSON.stringify(result));
    if (++seen === Number(count)) break;
  }
  console.log("complete");
} catch (failed) {
  console.log(JSON.stringify({ failed: failed.code ?? failed }));
}
await client.dispose();
