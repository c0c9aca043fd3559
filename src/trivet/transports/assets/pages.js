// What pages do beyond being read: find, copy, send. Nothing here is needed to read them, and nothing leaves this host.
"use strict";
for (const side of document.querySelectorAll(".side details")) {
  side.open = matchMedia("(min-width: 62rem)").matches;
}

// -- finding an operation or an error among many

for (const box of document.querySelectorAll("[data-find]")) {
  const rows = [...document.querySelectorAll(box.dataset.find)];
  const said = document.getElementById(box.getAttribute("aria-describedby"));
  box.closest(".field").hidden = false;
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
      found += row.hidden ? 0 : 1;
    }
    for (const group of document.querySelectorAll("[data-group]")) {
      group.hidden = !group.querySelector(`${box.dataset.find}:not([hidden])`);
    }
    said.textContent = words.length ? `${found} of ${rows.length}` : "";
  });
}

// -- an address that is complete outside of this page

for (const shown of document.querySelectorAll("#first code")) {
  shown.textContent = shown.textContent.replace("'/", `'${location.origin}/`);
}

// -- copying

for (const block of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${block.dataset.copy}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  if (navigator.clipboard) block.append(button);
}

// -- sending a request to where the page came from

for (const form of document.querySelectorAll("form.try")) {
  const curl = document.querySelector("#curl code");
  const result = form.querySelector(".result");
  const button = form.querySelector("[type=submit]");
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  let running = null;
  form.hidden = false;

  const request = () => {
    const { method, path, type, accept } = form.dataset;
    const query = [];
    let target = path;
    for (const field of form.querySelectorAll("[data-in]")) {
      const said = field.value.trim();
      if (field.dataset.in === "path") {
        target = target.replace(`{${field.name}}`, encodeURIComponent(said || `{${field.name}}`));
      } else if (said && field.dataset.in === "query") {
        const values = field.dataset.list === "each" ? said.split(",") : [said];
        for (const value of values) query.push(`${field.name}=${encodeURIComponent(value.trim())}`);
      }
    }
    const headers = {};
    for (const field of form.querySelectorAll("[data-in=header]")) {
      if (field.value.trim()) headers[field.name] = field.value.trim();
    }
    const body = form.querySelector("textarea")?.value;
    if (body) headers["Content-Type"] = type;
    if (accept !== "application/json") headers.Accept = accept;
    const token = form.querySelector("[name=token]")?.value.trim();
    if (token) headers.Authorization = `Bearer ${token}`;
    return { method, url: target + (query.length ? `?${query.join("&")}` : ""), headers, body: body || undefined };
  };

  const show = () => {
    const { method, url, headers, body } = request();
    const streams = form.dataset.accept === "text/event-stream";
    const parts = [`curl ${streams ? "-N " : ""}${method === "GET" ? "" : `-X ${method} `}${quoted(decodeURI(location.origin) + url)}`];
    for (const [name, value] of Object.entries(headers)) {
      parts.push(`  -H ${quoted(`${name}: ${name === "Authorization" ? "Bearer $TOKEN" : value}`)}`);
    }
    if (body) parts.push(`  -d ${quoted(body)}`);
    curl.textContent = parts.join(" \\\n");
  };

  const print = (line, fields, text) => {
    result.hidden = false;
    result.querySelector("[role=status]").textContent = line;
    result.querySelector("[data-part=fields]").textContent = fields;
    result.querySelector("[data-part=body]").textContent = text;
    result.querySelector("[data-part=body]").closest("pre").hidden = !text;
  };

  const pretty = (type, text) => {
    if (!/json/.test(type)) return text;
    try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
  };

  const send = async () => {
    const { method, url, headers, body } = request();
    const started = performance.now();
    running = new AbortController();
    button.textContent = "Stop";
    let text = "";
    let line = "";
    let fields = "";
    try {
      const answer = await fetch(url, { method, headers, body, signal: running.signal, cache: "no-store" });
      fields = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      line = `${answer.status} ${answer.statusText}`.trim();
      const type = answer.headers.get("content-type") ?? "";
      if (type.startsWith("text/event-stream")) {
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          text = (text + part.value).slice(-20000);
          print(`${line}, open`, fields, text);
        }
      } else {
        text = pretty(type, await answer.text());
      }
      line += ` in ${Math.round(performance.now() - started)} ms`;
    } catch (failed) {
      line = running.signal.aborted ? `${line} Stopped.`.trim() : `No answer: ${failed.message}`;
    }
    running = null;
    button.textContent = "Send";
    print(line, fields, text);
  };

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort(); else send();
  });
  show();
}
