// The figures of lessons, one function for each kind. In: what `cutaway lessons NAME --json` prints. Out: an element.

import { css, isDark, tone } from "../core/colour.js";
import { canvas, h, isNarrow, svg } from "../core/dom.js";
import { cells, fit, write } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { fromCanvases, tableLink } from "../core/table.js";
import { fixed, marked } from "../core/text.js";
import { curve, pairs } from "./lesson_lines.js";

/** @typedef {{label: string, values: number[], role: string, note: string}} Strip */
/** @typedef {Record<string, any> & {kind: string, title: string, caption: string, source: string}} Figure */

/** @param {Figure} figure @param {number} width @returns {HTMLElement} */
export function figureOf(figure, width) {
  const make = { strips, matrix, bars, table, images, curve, pairs }[figure.kind],
    inside = make ? make(figure, width) : h("p", {}, "This figure has no drawing here.");
  const pictures = [...inside.querySelectorAll("canvas")];
  return h(
    "section",
    { class: "figure" },
    figure.title ? h("h3", {}, figure.title) : null,
    inside,
    figure.caption ? h("p", { class: "cap" }, figure.caption) : null,
    figure.source ? h("p", { class: "mono quiet" }, figure.source) : null,
    pictures.length ? tableLink(() => fromCanvases(pictures), figure.title || "the figure") : null,
  );
}

/**
 * @param {Strip} row
 * @param {number} width
 * @param {number} height
 * @param {number} scale
 * @param {boolean} isShare
 * @param {string} source
 */
function stripOf(row, width, height, scale, isShare, source) {
  const picture = canvas({ role: "img", "aria-label": `${row.label} ${row.note}` });
  cells(
    fit(picture, width, height),
    {
      x: 0,
      y: 0,
      width,
      height,
      rows: 1,
      columns: row.values.length,
      ramp: `${row.role}-${isShare ? "share" : "signed"}`,
      label: row.label,
      value: (_, d) => row.values[d],
      site: (_, d) => `${source || row.label}[${d}]`,
    },
    scale || 1,
  );
  readable(picture);
  return picture;
}

/** @param {Figure} figure @param {number} width */
function strips(figure, width) {
  const wide = Math.max(80, Math.min(512, width - (isNarrow() ? 150 : 320)));
  return h(
    "div",
    {},
    ...figure.rows.map((/** @type {Strip} */ row) =>
      h(
        "div",
        { class: "lessonrow" },
        h("span", { class: "pre" }, ...marked(row.label)),
        stripOf(row, wide, 14, figure.scale, figure.is_share, figure.source),
        h("span", { class: "second" }, row.note),
      ),
    ),
  );
}

/** @param {Figure} figure @param {number} width */
function matrix(figure, width) {
  const rows = figure.rows.length,
    columns = figure.columns.length,
    left = isNarrow() ? 68 : 96,
    cell = Math.max(6, Math.min(44, Math.floor((width - left) / Math.max(1, columns))));
  const high = Math.min(cell, 26),
    picture = canvas({ role: "img", "aria-label": figure.title }),
    pen = fit(picture, columns * cell, rows * high),
    scale = figure.scale || 1;
  const ramp = `${figure.role}-${figure.is_share ? "share" : "signed"}`,
    value = (/** @type {number} */ r, /** @type {number} */ c) => figure.values[r][c];
  cells(
    pen,
    {
      x: 0,
      y: 0,
      width: columns * cell,
      height: rows * high,
      rows,
      columns,
      ramp,
      label: figure.title,
      value,
      site: (r, c) => `${figure.source}: ${figure.rows[r]}, ${figure.columns[c]}`,
    },
    scale,
    { gap: 1 },
  );
  for (let r = 0; r < rows && cell >= 30; r++) {
    for (let c = 0; c < columns; c++) {
      const v = value(r, c);
      if (v === null || v === undefined) continue;
      const part = figure.is_share ? v / scale : (v / scale + 1) / 2;
      write(pen, fixed(v, figure.digits).replace(/^(−?)0(?=\.)/, "$1"), c * cell + cell / 2, r * high + high / 2 + 4, {
        align: "center",
        colour: css(part > (isDark() ? 0.55 : 0.72) ? "page" : "ink"),
      });
    }
  }
  readable(picture);
  const step = Math.max(1, Math.ceil(14 / cell));
  return h(
    "div",
    { class: "lessonmatrix", style: { "padding-left": `${left}px`, "padding-top": "56px", position: "relative" } },
    picture,
    ...figure.rows.map((/** @type {string} */ text, /** @type {number} */ r) =>
      h(
        "span",
        { class: "rl pre", style: { top: `${56 + r * high + high / 2 - 8}px`, width: `${left - 8}px` } },
        ...marked(text),
      ),
    ),
    ...figure.columns
      .filter((/** @type {string} */ _, /** @type {number} */ c) => c % step === 0)
      .map((/** @type {string} */ text, /** @type {number} */ k) =>
        h("span", { class: "cl pre", style: { left: `${left + k * step * cell + cell / 2}px`, top: "36px" } }, ...marked(text)),
      ),
  );
}

/** @param {Figure} figure @param {number} width */
function bars(figure, width) {
  const left = isNarrow() ? 84 : 176,
    room = Math.max(60, Math.min(520, width - left - 96)),
    low = Math.min(0, ...figure.rows.map((/** @type {any} */ r) => r.value)) < 0 ? room / 2 : 0,
    scale = (room - low) / (figure.scale || 1),
    row = 22;
  const parts = figure.rows.flatMap((/** @type {any} */ bar, /** @type {number} */ k) => {
    const wide = Math.max(1, Math.abs(bar.value) * scale),
      x = left + low - (bar.value < 0 ? wide : 0),
      y = k * row;
    return [
      svg("text", { x: 0, y: y + 14, fill: css(bar.is_looked ? "look" : "ink") }, bar.label),
      svg("rect", { x, y: y + 4, width: wide, height: 11, fill: tone(`${bar.role}-share`, bar.value < 0 ? 0.3 : 0.55) }),
      svg("text", { x: (bar.value < 0 ? left + low : x + wide) + 6, y: y + 14, fill: css("ink-2") }, bar.text),
    ];
  });
  if (low) parts.push(svg("path", { d: `M${left + low + 0.5} 0V${figure.rows.length * row}`, stroke: css("rule-2") }));
  return h(
    "div",
    {},
    svg(
      "svg",
      {
        width: Math.min(width, left + room + 96),
        height: figure.rows.length * row + 4,
        "font-size": 13,
        role: "img",
        "aria-label": figure.rows.map((/** @type {any} */ bar) => `${bar.label} ${bar.text}`).join(", "),
      },
      ...parts,
    ),
  );
}

/** @param {Figure} figure */
function table(figure) {
  const right = figure.heads.map((/** @type {string} */ head) => head.startsWith(">"));
  return h(
    "div",
    { class: "tablebox" },
    h(
      "table",
      { class: "numbers" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...figure.heads.map((/** @type {string} */ head, /** @type {number} */ c) =>
            h("th", { scope: "col", class: right[c] ? "num" : false }, head.replace(/^>\s?/, "")),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        ...figure.rows.map((/** @type {string[]} */ row, /** @type {number} */ r) =>
          h(
            "tr",
            {},
            ...row.map((cell, c) =>
              h(
                c ? "td" : "th",
                {
                  class:
                    [right[c] ? "num" : "", figure.looked?.[0] === r && figure.looked?.[1] === c ? "framed" : ""]
                      .join(" ")
                      .trim() || false,
                  scope: c ? null : "row",
                },
                ...marked(cell),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

/** @param {Figure} figure @param {number} width */
function images(figure, width) {
  const columns = figure.columns.length,
    left = isNarrow() ? 64 : 96,
    side = Math.max(16, Math.min(64, Math.floor((width - left) / Math.max(1, columns)) - 8)),
    side8 = Math.max(16, Math.floor(side / 8) * 8);
  const picture = canvas({ role: "img", "aria-label": figure.title }),
    high = figure.rows.length * (side8 + 10),
    pen = fit(picture, columns * (side8 + 8), high);
  figure.values.forEach((/** @type {number[][]} */ row, /** @type {number} */ r) =>
    row.forEach((image, c) =>
      cells(
        pen,
        {
          x: c * (side8 + 8),
          y: r * (side8 + 10),
          width: side8,
          height: side8,
          rows: 8,
          columns: 8,
          ramp: "computed-share",
          label: `${figure.rows[r]}, ${figure.columns[c]}`,
          value: (y, x) => image[8 * y + x],
          site: (y, x) => `${figure.source}: ${figure.rows[r]}, ${figure.columns[c]} [${y}, ${x}]`,
        },
        1,
      ),
    ),
  );
  readable(picture);
  return h(
    "div",
    { class: "lessonmatrix", style: { "padding-left": `${left}px`, "padding-top": "20px", position: "relative" } },
    picture,
    ...figure.rows.map((/** @type {string} */ text, /** @type {number} */ r) =>
      h(
        "span",
        { class: "rl second", style: { top: `${20 + r * (side8 + 10) + side8 / 2 - 8}px`, width: `${left - 12}px` } },
        text,
      ),
    ),
    ...figure.columns.map((/** @type {string} */ text, /** @type {number} */ c) =>
      h(
        "span",
        {
          class: "cap",
          style: {
            position: "absolute",
            top: "2px",
            left: `${left + c * (side8 + 8)}px`,
            width: `${side8 + 8}px`,
            overflow: "hidden",
            "white-space": "nowrap",
          },
        },
        text,
      ),
    ),
  );
}
