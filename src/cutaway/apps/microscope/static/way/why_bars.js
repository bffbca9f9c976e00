// The parts of a logit as bars that add up. In: parts, their total, and which of them is the place. Out: shapes, and how tall
// they are.

import { css, tone } from "../core/colour.js";
import { svg } from "../core/dom.js";
import { fixed, signed } from "../core/text.js";

/** @typedef {import("../core/types.js").Part} Part */
/** @typedef {{parts: Part[], total: number, isPlace: (part: Part) => boolean}} Bars */
/** @typedef {{shapes: (Element | null)[], height: number}} Drawn */

const TALL = 236,
  LABELLED = 0.2;

/** Where each bar begins and ends. @param {Part[]} parts */
function steps(parts) {
  let sum = 0;
  return parts.map(({ value }) => {
    const from = sum;
    sum += value;
    return [from, sum];
  });
}

/** @param {Bars} bars */
function bounds({ parts, total }) {
  const ends = steps(parts).flat();
  return [Math.min(0, total, ...ends), Math.max(1e-9, total, ...ends)];
}

/** From left to right, in the order of the way. @param {Bars} bars @param {number} width @returns {Drawn} */
export function across(bars, width) {
  const { parts, total } = bars,
    [low, high] = bounds(bars),
    y = (/** @type {number} */ v) => 24 + ((TALL - 64) * (high - v)) / (high - low);
  const groups = grouped(parts),
    spaces = groups.length,
    unit = width / (parts.length + 2.4 + 0.28 * spaces),
    out = [],
    ends = steps(parts);
  /** @type {number[]} */
  const left = [];
  let x = 0;
  for (const [g, group] of groups.entries()) {
    if (g) x += 0.28 * unit;
    for (const part of group.parts) {
      left[part] = x;
      x += unit;
    }
    if (group.name)
      out.push(
        svg(
          "text",
          { x: left[group.parts[0]], y: TALL - 2, "font-size": 11, fill: css("ink-2") },
          unit * group.parts.length > 44 ? group.name : group.short,
        ),
        svg("path", { d: `M${left[group.parts[0]]} ${TALL - 15.5}H${x - 3}`, stroke: css("rule-2") }),
      );
  }
  out.unshift(svg("path", { d: `M0 ${y(0)}H${width}`, stroke: css("rule") }));
  parts.forEach((part, k) =>
    out.push(
      bar(bars, part, k, {
        x: left[k],
        next: left[k + 1] ?? x,
        wide: Math.max(1, unit - 3),
        a: y(ends[k][0]),
        b: y(ends[k][1]),
        unit,
      }),
    ),
  );
  const at = x + unit * 0.5,
    top = Math.min(y(total), y(0)),
    wide = unit * 0.9;
  out.push(
    svg("rect", { x: at, y: top, width: wide, height: Math.abs(y(0) - y(total)), fill: "none", stroke: css("ink") }),
    svg("text", { x: at + wide / 2, y: top - 5, "font-size": 13, "text-anchor": "middle", fill: css("ink") }, fixed(total)),
    svg("text", { x: at + wide / 2, y: TALL - 22, "font-size": 11, "text-anchor": "middle", fill: css("ink-2") }, "sum"),
  );
  return { shapes: out, height: TALL };
}

/**
 * @param {Bars} bars
 * @param {Part} part
 * @param {number} k
 * @param {{x: number, next: number, wide: number, a: number, b: number, unit: number}} box
 */
function bar(bars, part, k, { x, next, wide, a, b, unit }) {
  const { value } = part,
    top = Math.min(a, b),
    up = tone("computed-share", 0.58),
    down = tone("computed-share", 0.12),
    isPlace = bars.isPlace(part);
  const isNamed = unit > 13 && (unit > 34 || (part.layer !== null && part.layer !== undefined)),
    label = shortOf(part);
  return svg(
    "g",
    { "data-part": k, tabindex: -1 },
    svg("rect", { x, y: 0, width: unit, height: TALL - 16, fill: "transparent" }),
    svg("rect", {
      x,
      y: top,
      width: wide,
      height: Math.max(1, Math.abs(a - b)),
      fill: value >= 0 ? up : down,
      stroke: value < 0 ? up : null,
    }),
    svg("path", { d: `M${x + wide} ${b}H${next}`, stroke: css("rule-2") }),
    isNamed || isPlace
      ? svg(
          "text",
          { x: x + wide / 2, y: TALL - 22, "font-size": 11, "text-anchor": "middle", fill: css(isPlace ? "look" : "ink-3") },
          label,
        )
      : null,
    Math.abs(value) >= LABELLED && (unit > 30 || Math.abs(value) > large(bars.parts))
      ? svg("text", { x: x + wide / 2, y: top - 5, "font-size": 11, "text-anchor": "middle", fill: css("ink-2") }, signed(value))
      : null,
  );
}

/** Where bars are thin, only the largest are written. @param {Part[]} parts */
function large(parts) {
  return [...parts].map(({ value }) => Math.abs(value)).sort((a, b) => b - a)[Math.min(7, parts.length - 1)] ?? 0;
}

/** From the top down, where the window is narrow. @param {Bars} bars @param {number} width @returns {Drawn} */
export function down(bars, width) {
  const { parts, total } = bars,
    row = 17,
    left = 124,
    wide = width - left - 44,
    [low, high] = bounds(bars),
    out = [],
    ends = steps(parts);
  const x = (/** @type {number} */ v) => left + (wide * (v - low)) / (high - low);
  let y = 0;
  for (const group of grouped(parts)) {
    for (const k of group.parts) {
      const part = parts[k],
        [a, b] = ends[k],
        start = Math.min(x(a), x(b));
      out.push(
        svg(
          "g",
          { "data-part": k, tabindex: -1 },
          svg("rect", { x: 0, y, width, height: row, fill: "transparent" }),
          svg("text", { x: 0, y: y + 12, "font-size": 11, fill: css(bars.isPlace(part) ? "look" : "ink-2") }, nameOf(part)),
          svg("rect", {
            x: start,
            y: y + 2,
            width: Math.max(1, Math.abs(x(a) - x(b))),
            height: row - 5,
            fill: tone("computed-share", part.value >= 0 ? 0.58 : 0.12),
            stroke: part.value < 0 ? tone("computed-share", 0.58) : null,
          }),
          Math.abs(part.value) >= LABELLED
            ? svg("text", { x: Math.max(x(a), x(b)) + 5, y: y + 12, "font-size": 11, fill: css("ink-3") }, signed(part.value))
            : null,
        ),
      );
      y += row;
    }
    y += 5;
  }
  out.push(
    svg("text", { x: 0, y: y + 12, "font-size": 11, fill: css("ink") }, "sum"),
    svg("rect", {
      x: Math.min(x(0), x(total)),
      y: y + 2,
      width: Math.abs(x(total) - x(0)),
      height: row - 5,
      fill: "none",
      stroke: css("ink"),
    }),
    svg("text", { x: Math.max(x(0), x(total)) + 5, y: y + 12, "font-size": 11, fill: css("ink") }, fixed(total)),
  );
  return { shapes: out, height: y + 24 };
}

/** @param {Part} part */
export function nameOf(part) {
  if (part.layer === null || part.layer === undefined) return part.kind === "bias" ? "biases" : part.kind;
  const what =
    part.kind === "head"
      ? `head ${part.head}`
      : part.kind === "cross"
        ? `cross head ${part.head}`
        : part.kind === "feedforward"
          ? "feed-forward"
          : part.kind;
  return `layer ${part.layer} ${what}`;
}

/** @param {Part} part */
function shortOf(part) {
  if (part.kind === "feedforward") return "ff";
  return part.kind === "head" ? String(part.head) : part.kind === "cross" ? `×${part.head}` : part.kind;
}

/** Parts by layer, in their order. @param {Part[]} parts */
function grouped(parts) {
  /** @type {{layer: number | null, name: string, short: string, parts: number[]}[]} */
  const groups = [];
  parts.forEach((part, k) => {
    const layer = part.layer ?? null,
      last = groups[groups.length - 1];
    if (last && last.layer === layer) last.parts.push(k);
    else
      groups.push({
        layer,
        name: layer === null ? "" : `layer ${layer}`,
        short: layer === null ? "" : String(layer),
        parts: [k],
      });
  });
  return groups;
}
