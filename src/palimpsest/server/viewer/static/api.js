// What is asked of the server: JSON, and events while a reading is made.

const ROOT = new URL("api/", document.baseURI);
const KEY = "palimpsest-key";

export class Fault extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

async function send(url, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(url, { ...options, headers, credentials: "same-origin" });
  if (response.status === 401 && (await askForKey())) return send(url, options);
  if (!response.ok && response.status !== 304) throw new Fault(response.status, await reason(response));
  return response;
}

async function reason(response) {
  try {
    const body = await response.json();
    return body.error?.message || body.detail?.[0]?.msg || `the server answered ${response.status}`;
  } catch {
    return `the server answered ${response.status}`;
  }
}

let asking = null;

/** Asks for the server's key, once for all requests that lack it. */
function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key");
    const input = document.getElementById("key-input");
    input.value = "";
    dialog.addEventListener("close", () => {
      asking = null;
      if (input.value) sessionStorage.setItem(KEY, input.value);
      resolve(Boolean(input.value));
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export async function get(path, query = {}, signal = undefined) {
  return (await send(address(path, query), { signal })).json();
}

/** As `get`, but null where nothing changed since the tag; and the new tag. */
export async function getChanged(path, tag, signal) {
  const response = await send(address(path), { signal, headers: tag ? { "If-None-Match": tag } : {} });
  if (response.status === 304) return { data: null, tag };
  return { data: await response.json(), tag: response.headers.get("ETag") };
}

export async function post(path, data, query = {}) {
  const raw = data instanceof Blob;
  const response = await send(address(path, query), {
    method: "POST",
    body: raw ? data : JSON.stringify(data),
    headers: { "Content-Type": raw ? "application/octet-stream" : "application/json" },
  });
  return response.json();
}

export async function remove(path) {
  await send(address(path), { method: "DELETE" });
}

/** Server-sent events, by fetch, since an EventSource cannot send a key. */
export async function* events(path, signal) {
  const response = await send(address(path), { signal, headers: { Accept: "text/event-stream" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n/);
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
  }
}
