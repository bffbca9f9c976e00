// Asking the server. In: a path and what is asked. Out: its answer, or the sentence that says why there is none.
// A server that is away is asked again until it is back; a run that it forgot is asked for anew with the request that made it.

import { Refusal } from "./refusal.js";
import { isSaved, savedGet, savedLines, savedLogits, savedPost, savedTensor } from "./saved.js";

/** @typedef {import("./types.js").Matrix} Matrix */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Asked} Asked */

/** @type {Map<string, Asked>} what each run was made from */
const requests = new Map();
/** @type {{away: (is: boolean) => void}} */
const listener = { away: () => {} };
const PAUSE = 700;

/** Be told when the server goes away and when it is back. @param {(is: boolean) => void} away */
export function watchServer(away) {
  listener.away = away;
}

/** @param {Asked} asked @param {AbortSignal} [signal] @returns {Promise<Run>} */
export async function askRun(asked, signal) {
  const run = /** @type {Run} */ (await ask("/api/run", asked, signal));
  requests.set(run.run, asked);
  return run;
}

/**
 * @param {string} path @param {Record<string, any>} body @param {AbortSignal} [signal] @returns {Promise<any>}
 */
export async function ask(path, body, signal) {
  if (isSaved()) return savedPost(path, body);
  const response = await again(
    body.run,
    () =>
      fetch(local(path), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal,
      }),
    signal,
  );
  return response.json();
}

/** @param {string} path @param {Record<string, any>} [query] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, query = {}, signal) {
  if (isSaved()) return savedGet(path, query);
  const response = await again(query.run, () => fetch(local(path, query), { signal }), signal);
  return response.json();
}

/**
 * One matrix of a site; index, rows and columns as the protocol has them.
 * @param {string} run @param {string} site
 * @param {{index?: string, rows?: string, columns?: string, level?: number}} [part]
 * @param {AbortSignal} [signal]
 * @returns {Promise<Matrix>}
 */
export async function tensor(run, site, part = {}, signal) {
  if (isSaved()) return savedTensor(run, site, part);
  const query = { run, site, ...part };
  const response = await again(run, () => fetch(local("/api/tensor", query), { signal }), signal);
  const [rows, columns] = (response.headers.get("X-Shape") ?? "0,0").split(",").map(Number);
  const deviation = Number(response.headers.get("X-Deviation") ?? 0);
  return { rows, columns, data: new Float32Array(await response.arrayBuffer()), deviation };
}

/**
 * The row of logits behind a token.
 * @param {string} run
 * @param {number} token
 * @param {AbortSignal} [signal]
 * @returns {Promise<Float32Array>}
 */
export async function logits(run, token, signal) {
  if (isSaved()) return savedLogits(run, token);
  const response = await again(run, () => fetch(local("/api/logits", { run, token }), { signal }), signal);
  return new Float32Array(await response.arrayBuffer());
}

/**
 * Events of a generation as they happen. Where the connection is cut, as by a lid that is closed, it is asked for again: the same
 * request gives the same events, and those that were heard are passed over.
 * @param {Record<string, any>} body @param {(event: any) => void} hear @param {AbortSignal} [signal]
 */
export async function generate(body, hear, signal) {
  if (isSaved()) return savedLines(body).forEach(hear);
  for (let heard = 0; ;) {
    let count = 0;
    const fresh = (/** @type {any} */ event) => {
      if (event.error) throw new Refusal(event.error);
      if (++count > heard) hear(event);
    };
    try {
      return await listen(body, fresh, signal);
    } catch (error) {
      if (!(error instanceof Cut)) throw error;
      heard = Math.max(heard, count);
      listener.away(true);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      signal?.throwIfAborted();
    }
  }
}

/** An answer that broke off. */
class Cut extends Error {}

/**
 * Line by line, to the end or to a cut.
 * @param {Record<string, any>} body @param {(event: any) => void} hear @param {AbortSignal} [signal]
 */
async function listen(body, hear, signal) {
  const response = await again(
    body.run,
    () =>
      fetch(local("/api/generate"), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal,
      }),
    signal,
  );
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader(),
    decoder = new TextDecoder();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error instanceof TypeError ? new Cut() : error;
    });
    const lines = (rest + decoder.decode(value, { stream: !done })).split("\n");
    rest = done ? "" : (lines.pop() ?? "");
    for (const line of lines) if (line.trim()) hear(JSON.parse(line));
    if (done) return;
  }
}

/** The page as one file. @param {Record<string, any>} body @returns {Promise<Blob>} */
export async function save(body) {
  const response = await again(body.run, () =>
    fetch(local("/api/save"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
  );
  return response.blob();
}

/**
 * Ask until there is an answer.
 * @param {string | undefined} run
 * @param {() => Promise<Response>} send
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
async function again(run, send, signal) {
  for (let renewed = false; ;) {
    const response = await send().catch((error) => {
      if (error instanceof TypeError) return null;
      throw error;
    });
    if (response === null) {
      listener.away(true);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      signal?.throwIfAborted();
      continue;
    }
    listener.away(false);
    if (response.ok) return response;
    const asked = run === undefined ? undefined : requests.get(run);
    if (response.status !== 404 || renewed || asked === undefined) throw new Refusal(await reason(response));
    renewed = true;
    await askRun(asked, signal);
  }
}

/** @param {Response} response */
async function reason(response) {
  const text = await response.text();
  try {
    return String(JSON.parse(text).error);
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

/** @param {string} path @param {Record<string, any>} [query] */
function local(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
  }
  return url;
}
