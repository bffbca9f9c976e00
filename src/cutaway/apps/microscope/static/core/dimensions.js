// In which order the dimensions of the stream are drawn. In: the rows of fixed waves. Out: the true dimension of each place of a
// strip.
// Waves that alternate sine and cosine would alias into stripes, so there the sines come first; the reading gives the true index.

import { range } from "./dom.js";
import { siteOf } from "./context.js";

/** @type {Map<number, number[]>} */
const straight = new Map();
/** @type {Map<number, number[]>} */
const parted = new Map();
/** What was found of each model; with positions off there is nothing to find it by. @type {Map<string, boolean>} */
const alternating = new Map();

/** @param {Map<number, number[]>} kept @param {number} width @param {() => number[]} make */
function remembered(kept, width, make) {
  const found = kept.get(width) ?? make();
  kept.set(width, found);
  return found;
}

/**
 * @param {import("./context.js").Context} context @param {import("./types.js").Run} run @param {number} width
 * @returns {number[]} the dimension drawn at each place
 */
export function dimensions(context, run, width) {
  const plain = remembered(straight, width, () => range(width));
  if (run.model.position_kind !== "sinusoidal" || width !== run.model.d_model || !run.model.adds_positions) return plain;
  const name = run.model.name,
    site = siteOf(run.stacks[run.stacks.length - 1], "embedding.position"),
    rows = alternating.has(name) ? undefined : context.maybe(() => context.tensor(run, site, { rows: "0:2" }));
  if (rows && rows.rows > 1 && rows.deviation > 0) alternating.set(name, alternates(rows.data, width));
  if (!alternating.get(name)) return plain;
  return remembered(parted, width, () => [...range(width).filter((d) => d % 2 === 0), ...range(width).filter((d) => d % 2)]);
}

/**
 * Whether sine and cosine stand side by side: in each pair their squares add up to the same.
 * @param {ArrayLike<number>} rows
 * @param {number} width
 */
function alternates(rows, width) {
  const power = (/** @type {number} */ d) => rows[width + d] ** 2 + rows[width + d + 1] ** 2,
    first = power(0);
  return first > 0 && range(Math.floor(width / 2)).every((pair) => Math.abs(power(2 * pair) - first) < 1e-3 * first);
}
