// `Show as table`: every picture as rows of numbers. In: the canvases of a figure, or a table of its own. Out: a dialog.

import { h, range } from "./dom.js";
import { fieldsOf } from "./draw.js";
import { exact } from "./text.js";

/** @typedef {{title: string, head: (string | Node)[], rows: (string | Node)[][]}} Table */

/** Rows beyond these are said, and not listed. */
const MOST = 600;

/** A line under a figure that opens its numbers. @param {() => Table[]} tables @param {string} of */
export function tableLink(tables, of) {
  const button = h("button", { class: "tablelink", "aria-label": `Show ${of} as table` }, "Show as table");
  button.addEventListener("click", () => open(tables()));
  return button;
}

/**
 * The fields of canvases as tables; a lone row of many numbers is turned on its side.
 * @param {HTMLCanvasElement[]} canvases
 * @returns {Table[]}
 */
export function fromCanvases(canvases) {
  const fields = canvases.flatMap((canvas) => [...fieldsOf(canvas)].reverse());
  const strips = fields.filter((field) => field.rows === 1),
    grids = fields.filter((field) => field.rows > 1);
  /** @type {Map<number, typeof strips>} */
  const widths = new Map();
  for (const field of strips) widths.set(field.columns, [...(widths.get(field.columns) ?? []), field]);
  return [...[...widths.values()].map(beside), ...grids.map(grid)];
}

/** @param {import("./types.js").Field[]} fields @returns {Table} */
function beside(fields) {
  return {
    title: fields.length === 1 ? fields[0].label || fields[0].site(0, 0).replace(/\[.*/, "") : "Strips, dimension by dimension",
    head: ["dimension", ...fields.map((field) => field.label || field.site(0, 0).replace(/, ?\d+\]$/, "]"))],
    rows: range(Math.min(MOST, fields[0].columns)).map((d) => [String(d), ...fields.map((field) => number(field.value(0, d)))]),
  };
}

/** @param {import("./types.js").Field} field @returns {Table} */
function grid(field) {
  return {
    title: field.label || field.site(0, 0),
    head: ["", ...range(Math.min(MOST, field.columns)).map(String)],
    rows: range(Math.min(MOST, field.rows)).map((row) => [
      String(row),
      ...range(Math.min(MOST, field.columns)).map((column) => number(field.value(row, column))),
    ]),
  };
}

/** @param {number | null} value */
function number(value) {
  return value === null ? "" : exact(value);
}

/** @param {Table[]} tables */
export function open(tables) {
  const close = h("button", { class: "link" }, "close");
  const dialog = /** @type {HTMLDialogElement} */ (
    h(
      "dialog",
      { class: "table", "aria-label": "Numbers of the figure" },
      h("p", { class: "acts" }, close, " ", h("kbd", {}, "Esc")),
      ...tables.flatMap(({ title, head, rows }) => [
        h("h2", {}, title),
        h(
          "table",
          {},
          h("thead", {}, h("tr", {}, ...head.map((cell) => h("th", { scope: "col" }, cell)))),
          h(
            "tbody",
            {},
            ...rows.map(([first, ...rest]) =>
              h("tr", {}, h("th", { scope: "row" }, first), ...rest.map((cell) => h("td", {}, cell))),
            ),
          ),
        ),
      ]),
    )
  );
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
