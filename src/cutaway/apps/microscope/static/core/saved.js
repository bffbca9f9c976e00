// A page saved as one file carries its answers inside. In: what would be asked. Out: the answer that was kept.
// Heads are not kept: they are computed here from the queries, keys, values and scores of the pass.

/** @typedef {import("./types.js").Matrix} Matrix */
/** @typedef {{shape: [number, number], deviation: number, data?: string, half?: string}} Kept */
/** @typedef {{hash: string, run: import("./types.js").Run, answers: Record<string, any>, tensors: Record<string, Kept>}} Saved */

/** @type {Map<string, Matrix>} */
const opened = new Map();

/** @returns {Saved | undefined} */
export function saved() {
  return /** @type {any} */ (window).CUTAWAY_SAVED;
}

export const isSaved = () => saved() !== undefined;

/** @param {string} path @param {Record<string, any>} body */
export function savedAnswer(path, body) {
  const kept = /** @type {Saved} */ (saved());
  if (path === "/api/run") return kept.run;
  if (path === "/api/models") return { models: [{ name: kept.run.model.name, kind: kept.run.model.kind, note: "" }],
    current: kept.run.model.name };
  if (path === "/api/head") return head(body);
  const answer = kept.answers[`${path} ${canonical(body)}`];
  if (answer === undefined) throw new Error("This saved page does not hold that. Open the model with `cutaway open` to ask for it.");
  return answer;
}

/** Keys sorted, the run left out. @param {Record<string, any>} body */
function canonical(body) {
  const { run: _, ...rest } = body;
  return JSON.stringify(Object.fromEntries(Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** @param {string} site @param {{index?: string, rows?: string, columns?: string, level?: number}} part @returns {Matrix} */
export function savedTensor(site, part) {
  const whole = open(part.index === undefined ? site : `${site}|${part.index}`);
  const [top, bottom] = ends(part.rows, whole.rows), [left, right] = ends(part.columns, whole.columns);
  if (bottom - top === whole.rows && right - left === whole.columns && !part.level) return whole;
  const rows = bottom - top, columns = right - left, data = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const from = (row + top) * whole.columns + left;
    data.set(whole.data.subarray(from, from + columns), row * columns);
  }
  return { rows, columns, data, deviation: whole.deviation };
}

/** @param {string | undefined} text @param {number} most @returns {[number, number]} */
function ends(text, most) {
  if (text === undefined) return [0, most];
  const [begin, end] = text.split(":").map(Number);
  return [begin, Math.min(end, most)];
}

/** @param {string} key @returns {Matrix} */
function open(key) {
  const known = opened.get(key);
  if (known) return known;
  const kept = /** @type {Saved} */ (saved()).tensors[key];
  if (!kept) throw new Error("This saved page does not hold that tensor. Open the model with `cutaway open` to see it.");
  const raw = Uint8Array.from(atob(kept.half ?? kept.data ?? ""), (c) => c.charCodeAt(0)).buffer;
  const data = kept.half === undefined ? new Float32Array(raw) : Float32Array.from(new Uint16Array(raw), halved);
  const matrix = { rows: kept.shape[0], columns: kept.shape[1], data, deviation: kept.deviation };
  opened.set(key, matrix);
  return matrix;
}

/** The number of a half float (IEEE 754 binary16). @param {number} bits */
function halved(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** @param {Record<string, any>} asked @returns {import("./types.js").Head} */
function head(asked) {
  const run = /** @type {Saved} */ (saved()).run, prefix = asked.stack ? `${asked.stack}.` : "";
  const at = `${prefix}layers.${asked.layer}.${asked.block}.`, heads = run.model.num_heads;
  const kvHead = Math.floor(asked.head * run.model.kv_heads / heads);
  const query = open(`${at}query|${asked.head}`), scores = open(`${at}scores|${asked.head}`), weights = open(`${at}weights|${asked.head}`);
  const key = open(`${at}key|${kvHead}`), value = open(`${at}value|${kvHead}`);
  const row = (/** @type {Matrix} */ m, /** @type {number} */ r) => [...m.data.subarray(r * m.columns, (r + 1) * m.columns)];
  const sources = row(weights, asked.token).map((w, j) => ({ w, j })).sort((a, b) => b.w - a.w).slice(0, 64).map(({ j }) => j);
  const q = row(query, asked.token), keys = sources.map((j) => row(key, j)), values = sources.map((j) => row(value, j));
  const products = keys.map((k) => k.reduce((sum, number, d) => sum + number * q[d], 0));
  const kept = row(weights, asked.token), score = row(scores, asked.token);
  const facts = saved()?.answers[`/scale ${at}`] ?? { scale: query.columns ** -0.5, softcap: null, has_bias: false };
  const used = sources.reduce((sum, j) => sum + kept[j], 0);
  return {
    query: q, keys, values, products, scaled: products.map((p) => p * facts.scale), sources, ...facts, kv_head: kvHead,
    scores: sources.map((j) => (score[j] < -1e30 ? null : score[j])), weights: sources.map((j) => kept[j]),
    mixed: q.map((_, d) => values.reduce((sum, v, k) => sum + v[d] * kept[sources[k]], 0)),
    others: { count: kept.length - sources.length, weight: Math.max(0, 1 - used) },
  };
}
