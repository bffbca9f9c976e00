// The figures of lessons that have lines: curves over one axis, and strips on two sides that are joined. In: a figure. Out: an
// element.

import { css } from "../core/colour.js";
import { canvas, fill, h, isNarrow } from "../core/dom.js";
import { cells, fit, line, remember, write } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { exact, marked, percent } from "../core/text.js";

/** @typedef {{label: string, values: number[], role: string, note: string}} Strip */
/** @typedef {Record<string, any> & {kind: string, title: string, caption: string, source: string}} Figure */

/** @param {Figure} figure @param {number} width */
export function curve(figure, width) {
  const wide = Math.min(640, width),
    tall = 220,
    left = 52,
    bottom = 34,
    right = 96,
    points = figure.lines.flatMap((/** @type {any} */ each) => each.points),
    xs = points.map((/** @type {number[]} */ p) => p[0]),
    ys = points.map((/** @type {number[]} */ p) => p[1]);
  const [x0, x1, y1] = [Math.min(...xs), Math.max(...xs), Math.max(...ys, 1e-9)],
    y0 = Math.min(0, ...ys),
    x = (/** @type {number} */ v) => left + ((wide - left - right) * (v - x0)) / (x1 - x0 || 1),
    y = (/** @type {number} */ v) => 10 + ((tall - bottom - 10) * (y1 - v)) / (y1 - y0 || 1);
  const picture = canvas({
      role: "img",
      "aria-label": `${figure.title}: ${figure.lines.map((/** @type {any} */ each) => each.label).join(", ")}`,
    }),
    pen = fit(picture, wide, tall),
    text = (/** @type {number} */ v) => (figure.is_share ? percent(v) : Number(v.toPrecision(3)).toLocaleString("en"));
  line(
    pen,
    [
      [left, Math.round(y(y0)) + 0.5],
      [wide - right, Math.round(y(y0)) + 0.5],
    ],
    css("rule-2"),
  );
  /** @type {number[]} */
  const taken = [];
  figure.lines.forEach((/** @type {any} */ each, /** @type {number} */ k) => {
    if (k % 2) pen.setLineDash([4, 3]);
    line(
      pen,
      each.points.map((/** @type {[number, number]} */ [a, b]) => [x(a), y(b)]),
      css(k > 1 ? "ink-3" : each.role),
      1.5,
    );
    pen.setLineDash([]);
    const end = each.points[each.points.length - 1];
    let at = y(end[1]) + 4;
    while (taken.some((other) => Math.abs(other - at) < 13)) at += 13;
    taken.push(at);
    write(pen, each.label, x(end[0]) + 6, at, { colour: css("ink-2") });
    remember(picture, {
      x: left,
      y: 10,
      width: wide - left - right,
      height: tall - bottom - 10,
      rows: 1,
      columns: each.points.length,
      ramp: `${each.role}-signed`,
      label: each.label,
      value: (_, p) => each.points[p][1],
      site: () => figure.source,
      says: (_, p) =>
        figure.lines
          .map((/** @type {any} */ other) => `${other.label} ${text(other.points[Math.min(p, other.points.length - 1)][1])}`)
          .join(", "),
      note: (_, p) => `${figure.x} ${each.points[p][0]}`,
    });
  });
  write(pen, text(y1), left - 6, y(y1) + 4, { align: "end" });
  write(pen, text(y0), left - 6, y(y0) + 4, { align: "end" });
  write(pen, String(x0), left, tall - 18);
  write(pen, String(x1), wide - right, tall - 18, { align: "end" });
  write(pen, figure.x, (left + wide - right) / 2, tall - 4, { align: "center" });
  readable(picture);
  return h("div", {}, figure.y ? h("p", { class: "cap" }, figure.y) : null, picture);
}

/** @param {Figure} figure @param {number} width */
export function pairs(figure, width) {
  const wide = Math.min(608, width),
    label = isNarrow() ? 48 : 64,
    strip = Math.floor((wide - 2 * label) * 0.31),
    row = Math.max(40, Math.min(76, 228 / figure.left.length)),
    top = 44,
    y = (/** @type {number} */ k) => top + k * row;
  const picture = canvas({
      role: "img",
      "aria-label": figure.links.map((/** @type {any} */ each) => `${figure.left[each.left].label} ${each.text}`).join(", "),
    }),
    tall = top + (Math.max(figure.left.length, figure.right.length) - 1) * row + 24,
    pen = fit(picture, wide, tall);
  const left = label,
    right = wide - label - strip,
    out = [
      h("span", { class: "t", style: { left: `${left}px`, top: "0px" } }, figure.heads[0]),
      h("span", { class: "t", style: { right: `${label}px`, top: "0px" } }, figure.heads[1]),
    ];
  for (const { left: a, right: b, text, is_equal } of figure.links) {
    const from = left + strip + 4,
      to = right - 4,
      bend = (to - from) * 0.35,
      y0 = y(a),
      y1 = y(b);
    pen.strokeStyle = css(is_equal ? "ink" : "ink-3");
    pen.lineWidth = is_equal ? 1.5 : 1;
    pen.setLineDash(is_equal ? [] : [3, 4]);
    pen.beginPath();
    pen.moveTo(from, y0);
    pen.bezierCurveTo(from + bend, y0, to - bend, y1, to, y1);
    pen.stroke();
    pen.setLineDash([]);
    const t = y0 === y1 ? 0.5 : 0.22,
      bezier = (/** @type {number[]} */ p) =>
        (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t ** 2 * p[2] + t ** 3 * p[3];
    out.push(
      h(
        "span",
        { class: "d", style: { left: `${bezier([from, from + bend, to - bend, to])}px`, top: `${bezier([y0, y0, y1, y1])}px` } },
        text,
      ),
    );
  }
  const draw = (/** @type {Strip} */ each, /** @type {number} */ k, /** @type {number} */ x) =>
    cells(
      pen,
      {
        x,
        y: y(k) - 9,
        width: strip,
        height: 18,
        rows: 1,
        columns: each.values.length,
        ramp: `${each.role}-signed`,
        label: each.label,
        value: (_, d) => each.values[d],
        site: (_, d) => `${figure.source}[${d}]`,
        says: (_, d) => `${each.label}, dimension ${d}: ${exact(each.values[d])}`,
      },
      figure.scale || 1,
    );
  figure.left.forEach((/** @type {Strip} */ each, /** @type {number} */ k) => {
    draw(each, k, left);
    out.push(h("span", { class: "t", style: { left: "0px", top: `${y(k) - 10}px` } }, ...marked(each.label)));
  });
  figure.right.forEach((/** @type {Strip} */ each, /** @type {number} */ k) => {
    draw(each, k, right);
    out.push(h("span", { class: "t", style: { left: `${wide - label + 8}px`, top: `${y(k) - 10}px` } }, ...marked(each.label)));
  });
  readable(picture);
  const box = h("div", { class: "cross", style: { height: `${tall}px` } });
  fill(box, picture, ...out);
  return box;
}
