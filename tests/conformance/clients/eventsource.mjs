// Follows a stream with the `eventsource` package, as a browser would: node eventsource.mjs URL. Each line of the
// output is what it was told; it comes back by itself for ever, so who started it ends it.
import { EventSource } from "eventsource";

const say = (kind, more) => console.log(JSON.stringify({ kind, ...more }));
const source = new EventSource(process.argv[2]);
source.onopen = () => say("open");
source.onmessage = event => say("message", { id: event.lastEventId, data: JSON.parse(event.data) });
source.onerror = event => say("error", { closed: source.readyState === EventSource.CLOSED, code: event.code ?? null });
setInterval(() => {}, 1000); // while it waits to come back, nothing of it keeps the process
