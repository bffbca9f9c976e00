// The pictures of the wall: a head's weights, a layer's units. In: the run. Out: pixels, and a few words of what they show.

import { css } from "../core/colour.js";
import { siteOf } from "../core/context.js";
import { range } from "../core/dom.js";
import { cells, fit } from "../core/draw.js";
import { exact, fixed, percent, spoken } from "../core/text.js";
import { isCausal, levelFor } from "./wall_facts.js";

/** @typedef {import("../core/context.js").Context} Context */

/** Units fire rarely and strongly: the end of their ramp is this many standard deviations of the site. */
const UNIT_REACH = 6;
const FIRING = 0.1;
const WHOLE_PICTURE = 128;

/**
 * @param {Context} context @param {HTMLCanvasElement} picture @param {number} stack @param {string} block @param {number}
 * layer @param {number} head @param {number} size */
export function drawWeights(context, picture, stack, block, layer, head, size) {
  const run = /** @type {import("../core/types.js").Run} */ (context.run),
    { tokens, name } = run.stacks[stack];
  const sources = block === "cross" ? run.stacks[0].tokens : tokens,
    longest = Math.max(tokens.length, sources.length);
  const level = longest <= WHOLE_PICTURE ? 0 : levelFor(longest, 150),
    site = siteOf(run.stacks[stack], `layers.${layer}.${block}.weights`);
  const weights = context.tensor(run, site, level ? { index: String(head), level } : { index: String(head) });
  if (!weights) return null;
  const pen = fit(picture, size, size),
    hides = block === "attention" && isCausal(run, name),
    by = 2 ** level;
  cells(
    pen,
    {
      x: 0,
      y: 0,
      width: size,
      height: size,
      rows: weights.rows,
      columns: weights.columns,
      ramp: "computed-share",
      label: `${site}[${head}]`,
      value: (i, j) => (hides && j > i ? null : weights.data[i * weights.columns + j]),
      site: (i, j) => `${site}[${head}, ${part(i, by)}, ${part(j, by)}]`,
      says: (i, j) =>
        hides && j > i
          ? `${spoken(tokens[i * by])} cannot see ${spoken(sources[j * by])} yet`
          : level
            ? `at most ${fixed(weights.data[i * weights.columns + j])} in these ${by} × ${by} weights`
            : `${spoken(tokens[i])} takes ${exact(weights.data[i * weights.columns + j])} from ${spoken(sources[j])}`,
      note: () => (level ? `the picture keeps the largest of every ${by} × ${by} weights` : ""),
    },
    1,
  );
  return "";
}

/**
 * @param {Context} context
 * @param {HTMLCanvasElement} picture
 * @param {number} stack
 * @param {number} layer
 * @param {number} size
 */
export function drawUnits(context, picture, stack, layer, size) {
  const run = /** @type {import("../core/types.js").Run} */ (context.run),
    { tokens } = run.stacks[stack];
  const level = tokens.length <= WHOLE_PICTURE ? 0 : levelFor(tokens.length, 150),
    site = siteOf(run.stacks[stack], `layers.${layer}.feedforward.active`);
  const active = context.tensor(run, site, level ? { level } : {});
  if (!active) return null;
  const pen = fit(picture, size, size),
    scale = UNIT_REACH * active.deviation || 1,
    bins = Math.min(active.columns, size),
    per = active.columns / bins,
    high = size / active.rows;
  let firing = 0;
  for (const v of active.data) if (v > FIRING) firing++;
  const strongest = (/** @type {number} */ i, /** @type {number} */ b) => {
    let best = Math.floor(b * per);
    for (let u = best; u < Math.floor((b + 1) * per); u++)
      if (Math.abs(active.data[i * active.columns + u]) > Math.abs(active.data[i * active.columns + best])) best = u;
    return best;
  };
  const value = (/** @type {number} */ i, /** @type {number} */ b) => active.data[i * active.columns + strongest(i, b)];
  cells(
    pen,
    {
      x: 0,
      y: 0,
      width: size,
      height: size,
      rows: active.rows,
      columns: bins,
      ramp: "computed-share",
      label: site,
      value: (i, b) => value(i, b),
      site: (i, b) => `${site}[${part(i, 2 ** level)}, ${strongest(i, b)}]`,
      says: (i, b) => `${spoken(tokens[i * 2 ** level])}, unit ${strongest(i, b)}: ${exact(value(i, b))}`,
      note: () => `the strongest of ${Math.round(per)} units in this cell`,
    },
    scale,
  );
  pen.fillStyle = css("page");
  if (high > 8) for (const i of range(active.rows)) pen.fillRect(0, i * high - 1, size, 2);
  return `${percent(firing / active.data.length)} of units fire`;
}

/** @param {number} cell @param {number} by */
function part(cell, by) {
  return by === 1 ? String(cell) : `${cell * by}:${(cell + 1) * by}`;
}
