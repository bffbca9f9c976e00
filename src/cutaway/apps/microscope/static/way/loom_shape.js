// Where everything of a loom stands. In: the width of the page, the columns and the rows. Out: x of every column, y of every row.

import { range } from "../core/dom.js";

/**
 * lead: the picture of the whole text, 0 where all rows are shown; label: to the first strip; xs: left edges of the strips;
 * inputs: how
 * many of them stand before the layers, the sum included; full: the height of a share of 1.
 * @typedef {{width: number, lead: number, label: number, strip: number, join: number, gap: number, xs: number[], inputs: number,
 *   row: number, top: number, out: number, outWidth: number, full: number, height: number, isNarrow: boolean, every: number}}
 * Shape
 */

/**
 * @param {number} width @param {number} inputs @param {number} layers @param {import("../core/rows.js").Rows} rows
 * @param {boolean} says whether words stand below @returns {Shape}
 */
export function shape(width, inputs, layers, rows, says) {
  const isFolded = rows.before > 0 || rows.after > 0,
    isNarrow = width < 600;
  const [label, wide, join, after, outWidth, row] = sizes(width, isFolded),
    strip = stripWidth(wide, layers, isNarrow);
  const lead = isFolded ? (isNarrow ? 26 : 56) : 0,
    columns = inputs + layers;
  const free = width - lead - label - columns * strip - (inputs - 1) * join - after - outWidth,
    gap = Math.max(2, free / Math.max(1, layers));
  const xs = [lead + label];
  for (let c = 1; c < columns; c++) xs.push(xs[c - 1] + strip + (c < inputs ? join : gap));
  const top = 30,
    full = row * 1.36;
  const every = Math.max(1, layers > 8 ? 4 : Math.ceil((isNarrow ? 36 : 72) / (strip + gap)));
  return {
    width,
    lead,
    label: lead + label,
    strip,
    join,
    gap,
    xs,
    inputs,
    row,
    top,
    out: width - outWidth,
    outWidth,
    full,
    height: top + rows.count * row + (says ? 48 : 12) + (rows.after ? 18 : 0),
    isNarrow,
    every,
  };
}

/** @param {number} width @param {boolean} isFolded @returns {number[]} */
function sizes(width, isFolded) {
  if (width >= 900) return [isFolded ? 168 : 112, 64, 24, 28, 132, isFolded ? 20 : 28];
  if (width >= 600) return [isFolded ? 152 : 88, 40, 16, 16, 120, isFolded ? 20 : 26];
  return [isFolded ? 92 : 64, 20, 7, 10, 62, isFolded ? 20 : 26];
}

/** @param {number} wide @param {number} layers @param {boolean} isNarrow */
function stripWidth(wide, layers, isNarrow) {
  if (layers > 8) return isNarrow ? 4 : 8;
  if (layers > 4) return isNarrow ? 12 : Math.round(wide * 0.75);
  return wide;
}

/** The middle of a row. @param {Shape} s @param {number} row */
export function middle(s, row) {
  return s.top + (row + 0.5) * s.row;
}

/**
 * Which strip is under a point: the column and the row.
 * @param {Shape} s
 * @param {number} rows
 * @param {number} x
 * @param {number} y
 */
export function stripAt(s, rows, x, y) {
  const row = Math.floor((y - s.top) / s.row),
    slack = Math.min(4, s.join / 2);
  if (row < 0 || row >= rows) return null;
  const column = s.xs.findIndex((left) => x >= left - slack && x <= left + s.strip + slack);
  return column < 0 ? null : { row, column };
}

/**
 * Ribbons between two columns; each leaves and arrives in the order of the rows, so that they fill the strips.
 * @typedef {{layer: number, to: number, from: number, x0: number, x1: number, a: number, b: number, thick: number, share:
 *   number}} Ribbon
 * @param {Shape} s @param {number} layer @param {Float32Array} threads @param {number} rows @param {(row: number) => number} y
 * @returns {Ribbon[]}
 */
export function ribbons(s, layer, threads, rows, y) {
  const leaves = new Float64Array(rows),
    arrives = new Float64Array(rows);
  for (let to = 0; to < rows; to++) {
    for (let from = 0; from < rows; from++) {
      leaves[from] += threads[to * rows + from];
      arrives[to] += threads[to * rows + from];
    }
  }
  const out = leaves.map((v, row) => y(row) - (v * s.full) / 2),
    into = arrives.map((v, row) => y(row) - (v * s.full) / 2);
  const x0 = s.xs[s.inputs - 1 + layer] + s.strip,
    x1 = s.xs[s.inputs + layer],
    found = [];
  for (let to = 0; to < rows; to++) {
    for (let from = 0; from < rows; from++) {
      const share = threads[to * rows + from],
        thick = share * s.full;
      if (thick >= 0.1) found.push({ layer, to, from, x0, x1, a: out[from], b: into[to], thick, share });
      out[from] += thick;
      into[to] += thick;
    }
  }
  return found;
}

/** @param {CanvasRenderingContext2D} pen @param {{x0: number, x1: number, a: number, b: number, thick: number}} ribbon */
export function trace(pen, { x0, x1, a, b, thick }) {
  const middleX = (x0 + x1) / 2;
  pen.beginPath();
  pen.moveTo(x0, a);
  pen.bezierCurveTo(middleX, a, middleX, b, x1, b);
  pen.lineTo(x1, b + thick);
  pen.bezierCurveTo(middleX, b + thick, middleX, a + thick, x0, a + thick);
  pen.closePath();
}

/**
 * The nearest thread within 4 px that crosses rows.
 * @param {Ribbon[]} all
 * @param {number} x
 * @param {number} y
 * @returns {Ribbon | null}
 */
export function ribbonAt(all, x, y) {
  let best = null,
    nearest = 4;
  for (const ribbon of all) {
    if (x < ribbon.x0 || x > ribbon.x1 || ribbon.to === ribbon.from || ribbon.thick < 0.35) continue;
    const part = (x - ribbon.x0) / (ribbon.x1 - ribbon.x0);
    let low = 0,
      high = 1;
    for (const _ of range(12)) {
      const t = (low + high) / 2;
      if (1.5 * t * (1 - t) + t ** 3 < part) low = t;
      else high = t;
    }
    const at = ribbon.a + (ribbon.b - ribbon.a) * (3 * low ** 2 - 2 * low ** 3) + ribbon.thick / 2;
    const far = Math.max(0, Math.abs(y - at) - ribbon.thick / 2);
    if (far < nearest) [best, nearest] = [ribbon, far];
  }
  return best;
}
