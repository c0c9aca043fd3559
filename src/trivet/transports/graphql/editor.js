// GraphiQL on this host: how it asks, subscriptions over server-sent events included, and names for what it leaves unnamed.
"use strict";

const ADDRESS = location.pathname;
const JSON_TYPES = "application/graphql-response+json, application/json;q=0.9";

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n");
        if (lines.includes("event: complete")) return;
        const data = lines.filter(line => line.startsWith("data: ")).map(line => line.slice(6)).join("\n");
        if (data) yield JSON.parse(data);
      }
    }
  } finally {
    await reader.cancel(); // the server ends the stream when nobody reads it
  }
}

function subscribes({ query, operationName }) {
  try {
    return GraphiQL.GraphQL.getOperationAST(GraphiQL.GraphQL.parse(query), operationName)?.operation === "subscription";
  } catch {
    return false; // the server says what is wrong with it
  }
}

async function ask(params, options) {
  const accept = subscribes(params) ? "text/event-stream" : JSON_TYPES;
  const response = await fetch(ADDRESS, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: accept, ...options?.headers },
    body: JSON.stringify(params),
  });
  if (response.headers.get("content-type")?.startsWith("text/event-stream")) return events(response);
  return response.json();
}

// The editors are text areas that GraphiQL gives no names, so that a screen reader could not tell them apart.
const NAMES = [[".graphiql-query-editor", "Document"], [".graphiql-editor-tool", "Variables", "Headers"], [".graphiql-response", "Answer"]];

function name() {
  for (const [place, ...names] of NAMES)
    document.querySelectorAll(`${place} .CodeMirror textarea`).forEach((field, n) => field.setAttribute("aria-label", names[n]));
}

const editor = document.getElementById("editor");
new MutationObserver(name).observe(editor, { childList: true, subtree: true });
ReactDOM.createRoot(editor).render(React.createElement(GraphiQL, {
  fetcher: ask,
  defaultQuery: "# Write a document, then press Ctrl+Enter.\n\n{\n  __typename\n}\n",
}));
