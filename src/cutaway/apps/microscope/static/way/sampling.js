// Logits to one token. In: the logits of the whole vocabulary, temperature, top-k, top-p, a throw in 0 … 1. Out: chances, and
// where it lands.
//   chance_i = exp(z_i / T) / Σ_j exp(z_j / T); what is cut gets 0 and the rest is divided by its sum (Holtzman et al. 2020).

import { ask, get, logits } from "../core/api.js";

/**
 * logits, chances before the cut at this temperature, chances kept (0: cut), ids by falling chance, how many were kept,
 * chances at T = 1.
 * @typedef {{logits: Float32Array, whole: Float64Array, kept: Float64Array, order: Uint32Array, number: number, plain:
 *   Float64Array}} Distribution
 */

/** @param {ArrayLike<number>} z @param {number} temperature @returns {Float64Array} */
export function softmax(z, temperature) {
  let most = -Infinity,
    sum = 0;
  for (let k = 0; k < z.length; k++) most = Math.max(most, z[k]);
  const out = new Float64Array(z.length);
  for (let k = 0; k < z.length; k++) sum += out[k] = Math.exp((z[k] - most) / temperature);
  for (let k = 0; k < z.length; k++) out[k] /= sum;
  return out;
}

/**
 * topk 0 and topp 1 cut nothing. The likeliest is always kept.
 * @param {Float32Array} z @param {number} temperature @param {number} topk @param {number} topp @returns {Distribution}
 */
export function distribution(z, temperature, topk, topp) {
  const whole = softmax(z, temperature),
    order = Uint32Array.from(z, (_, k) => k).sort((a, b) => z[b] - z[a]);
  let number = 0,
    sum = 0;
  while (number < z.length && !(topk && number >= topk) && !(topp < 1 && number && sum >= topp)) sum += whole[order[number++]];
  const kept = new Float64Array(z.length);
  for (let rank = 0; rank < number; rank++) kept[order[rank]] = whole[order[rank]] / sum;
  return { logits: z, whole, kept, order, number, plain: temperature === 1 ? whole : softmax(z, 1) };
}

/** The token on which a throw lands, the likeliest laid out first. @param {Distribution} found @param {number} thrown */
export function land(found, thrown) {
  let sum = 0;
  for (let rank = 0; rank < found.number; rank++) {
    sum += found.kept[found.order[rank]];
    if (thrown < sum) return found.order[rank];
  }
  return found.order[found.number - 1];
}

/** @type {{key: string, found: Distribution} | null} the last one, which many figures ask for in one frame */
let last = null;

/**
 * The distribution behind a token of the run, with the sliders as they are.
 * @param {import("../core/context.js").Context} context @param {number} token @returns {Distribution | undefined}
 */
export function distributionAt(context, token) {
  const run = /** @type {import("../core/types.js").Run} */ (context.run);
  const z = context.of(run, `logits ${token}`, (signal) => logits(run.run, token, signal).then((data) => ({ data })));
  if (!z) return undefined;
  const { temperature, topk, topp } = context.place,
    key = `${run.run} ${token} ${temperature} ${topk} ${topp}`;
  if (last?.key !== key) last = { key, found: distribution(z.data, temperature, topk, topp) };
  return last.found;
}

/** The text of every id. @param {import("../core/context.js").Context} context @returns {string[] | undefined} */
export function vocabulary(context) {
  const model = /** @type {import("../core/types.js").Run} */ (context.run).model.name;
  return context.want(`vocabulary ${model}`, (signal) => get("/api/vocabulary", { model }, signal).then(({ texts }) => texts));
}

/**
 * The token that the last row's distribution and the throw give; null where nothing is predicted.
 * @param {import("../core/context.js").Context} context @returns {{id: number, text: string, chance: number} | null}
 */
export function nextToken(context) {
  const run = context.run,
    stack = run?.stacks[run.stacks.length - 1];
  if (!run || !stack || !stack.next.length || run.model.kind === "encoder") return null;
  const said = stack.next[0]; // it serves until the logits are there
  const [found, texts] = context.maybe(() => [distributionAt(context, stack.tokens.length - 1), vocabulary(context)]);
  if (!found || !texts) return said;
  const id = land(found, context.place.thrown);
  return { id, text: texts[id] ?? said.text, chance: found.kept[id] };
}

/** @param {string} run @param {Record<string, any>} what @param {AbortSignal} signal */
export function askWhy(run, what, signal) {
  return ask("/api/why", { run, ...what }, signal);
}
