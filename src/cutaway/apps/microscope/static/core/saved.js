// A page saved as one file carries its answers inside. In: what would be asked. Out: the answer that was kept.
// Heads are computed here, from the queries, keys, values and scores of the pass, where their own answer was not kept.

import { Refusal } from "./refusal.js";

/** @typedef {import("./types.js").Matrix} Matrix */
/**
 * @typedef {{json: any} | {lines: any[]} | {shape: [number, number], deviation: number | null, type: "float16" | "float32",
 *   data: string}} Kept
 */
/** @typedef {{state: string, answers: Record<string, Kept>}} Saved */

/** @type {Map<string, Matrix>} */
const opened = new Map();
const MISSING = "This saved page does not hold that. Open the model with `cutaway open` to ask for it.";

/** @returns {Saved | undefined} */
export function saved() {
  return /** @type {any} */ (window).CUTAWAY_SAVED;
}

export const isSaved = () => saved() !== undefined;

/** The name of an answer, as the protocol has it. @param {string} path @param {Record<string, any>} body */
export function postKey(path, body) {
  return `POST ${path} ${JSON.stringify(sorted(body))}`;
}

/** @param {string} path @param {Record<string, any>} query */
export function getKey(path, query) {
  const given = Object.entries(query)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [name, String(value)]);
  return `GET ${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** Keys in order, all the way down. @param {any} value @returns {any} */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, each]) => [name, sorted(each)]),
  );
}

/** @param {string} key @returns {Kept | undefined} */
function kept(key) {
  return saved()?.answers[key];
}

/** @param {string} path @param {Record<string, any>} body */
export function savedPost(path, body) {
  const found = kept(postKey(path, body));
  if (found && "json" in found) return found.json;
  if (path === "/api/run") return onlyRun();
  if (path === "/api/head") return head(body);
  if (path === "/api/says") return says(body);
  if (path === "/api/embedding") return sameWord(body);
  throw new Refusal(MISSING);
}

/** A saved page holds one run: it answers where the request differs from the one that made it, as by a model's usual name. */
function onlyRun() {
  const runs = Object.entries(saved()?.answers ?? {}).filter(([key]) => key.startsWith("POST /api/run "));
  const first = runs[0]?.[1];
  if (runs.length !== 1 || !first || !("json" in first)) throw new Refusal(MISSING);
  return first.json;
}

/** Some rows of what all rows would say. @param {Record<string, any>} body */
function says(body) {
  const { stacks } = onlyRun(),
    found = kept(postKey("/api/says", { ...body, rows: [0, stacks[stacks.length - 1].tokens.length] }));
  if (!found || !("json" in found)) throw new Refusal(MISSING);
  return { ...found.json, first: body.rows[0], rows: found.json.rows.slice(body.rows[0], body.rows[1]) };
}

/** The neighbours of a word are the same wherever it stands. @param {Record<string, any>} body */
function sameWord(body) {
  const { tokens } = onlyRun().stacks.find((/** @type {any} */ stack) => stack.name === body.stack);
  const first = tokens.findIndex((/** @type {any} */ each) => each.id === tokens[body.token].id),
    found = kept(postKey("/api/embedding", { ...body, token: first }));
  if (!found || !("json" in found)) throw new Refusal(MISSING);
  return found.json;
}

/** @param {string} path @param {Record<string, any>} query */
export function savedGet(path, query) {
  const found = kept(getKey(path, query));
  if (found && "json" in found) return found.json;
  throw new Refusal(MISSING);
}

/** @param {Record<string, any>} body @returns {any[]} */
export function savedLines(body) {
  const found = kept(postKey("/api/generate", body));
  if (found && "lines" in found) return found.lines;
  throw new Refusal("A saved page runs no model. Open the model with `cutaway open` to write on.");
}

/**
 * A matrix that was kept, or a part of a whole one.
 * @param {string} run
 * @param {string} site
 * @param {{index?: string, rows?: string, columns?: string, level?: number}} part
 * @returns {Matrix}
 */
export function savedTensor(run, site, part) {
  const exact = open(getKey("/api/tensor", { run, site, ...part }));
  if (exact) return exact;
  const whole = open(getKey("/api/tensor", { run, site, ...(part.index === undefined ? {} : { index: part.index }) }));
  if (!whole || part.level) throw new Refusal(MISSING);
  const [top, bottom] = ends(part.rows, whole.rows),
    [left, right] = ends(part.columns, whole.columns);
  const rows = bottom - top,
    columns = right - left,
    data = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const from = (row + top) * whole.columns + left;
    data.set(whole.data.subarray(from, from + columns), row * columns);
  }
  return { rows, columns, data, deviation: whole.deviation };
}

/**
 * The logits of one token, from its own answer or from those of all.
 * @param {string} run
 * @param {number} token
 * @returns {Float32Array}
 */
export function savedLogits(run, token) {
  const own = open(getKey("/api/logits", { run, token }));
  return own ? own.data : savedTensor(run, "output.logits", { rows: `${token}:${token + 1}` }).data;
}

/** @param {string | undefined} text @param {number} most @returns {[number, number]} */
function ends(text, most) {
  if (text === undefined) return [0, most];
  const [begin, end] = text.split(":").map(Number);
  return [begin, Math.min(end, most)];
}

/** @param {string} key @returns {Matrix | null} */
function open(key) {
  const known = opened.get(key),
    found = kept(key);
  if (known) return known;
  if (!found || !("shape" in found)) return null;
  const raw = Uint8Array.from(atob(found.data), (c) => c.charCodeAt(0)).buffer;
  const data = found.type === "float32" ? new Float32Array(raw) : Float32Array.from(new Uint16Array(raw), halved);
  const matrix = { rows: found.shape[0], columns: found.shape[1], data, deviation: found.deviation ?? 0 };
  opened.set(key, matrix);
  return matrix;
}

/** The number of a half float (IEEE 754 binary16). @param {number} bits */
function halved(bits) {
  const sign = bits & 0x8000 ? -1 : 1,
    exponent = (bits >> 10) & 31,
    fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** What a head's answers share: one of them is kept for each layer. @param {Record<string, any>} asked */
function facts(asked) {
  const found = kept(postKey("/api/head", { ...asked, head: 0, token: 0 }));
  if (!found || !("json" in found)) throw new Refusal(MISSING);
  const { scale, softcap, has_bias } = found.json;
  return { scale, softcap, has_bias };
}

/** @param {Record<string, any>} asked @returns {import("./types.js").Head} */
function head(asked) {
  const at = `${asked.stack ? `${asked.stack}.` : ""}layers.${asked.layer}.${asked.block}.`,
    { run, token } = asked;
  const get = (/** @type {string} */ name, /** @type {number} */ index) =>
    savedTensor(run, `${at}${name}`, { index: String(index) });
  const row = (/** @type {Matrix} */ m, /** @type {number} */ r) => [...m.data.subarray(r * m.columns, (r + 1) * m.columns)];
  const { num_heads, kv_heads } = onlyRun().model,
    group = Math.floor((asked.head * kv_heads) / num_heads);
  const key = get("key", group),
    value = get("value", group),
    shared = facts(asked),
    q = row(get("query", asked.head), token);
  const weights = row(get("weights", asked.head), token),
    scores = row(get("scores", asked.head), token);
  const sources = weights
    .map((w, j) => ({ w, j }))
    .sort((a, b) => b.w - a.w)
    .slice(0, 64)
    .map(({ j }) => j);
  const keys = sources.map((j) => row(key, j)),
    values = sources.map((j) => row(value, j));
  const products = keys.map((k) => k.reduce((sum, number, d) => sum + number * q[d], 0)),
    used = sources.reduce((sum, j) => sum + weights[j], 0);
  return {
    query: q,
    keys,
    values,
    products,
    scaled: products.map((p) => p * shared.scale),
    sources,
    ...shared,
    kv_head: group,
    scores: sources.map((j) => (scores[j] < -1e30 ? null : scores[j])),
    weights: sources.map((j) => weights[j]),
    mixed: q.map((_, d) => values.reduce((sum, v, k) => sum + v[d] * weights[sources[k]], 0)),
    others: { count: weights.length - sources.length, weight: Math.max(0, 1 - used) },
  };
}
