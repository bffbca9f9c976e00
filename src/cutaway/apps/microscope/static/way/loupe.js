// A head over a long text: the whole matrix, the largest of every square kept, and a loupe of 24 × 24 real cells.
// In: the place. Out: (i, j) set by a click on either, moved by the arrow keys.

import { css } from "../core/colour.js";
import { siteOf } from "../core/context.js";
import { announce, arrows, assign, canvas, clamp, h, isNarrow, svg } from "../core/dom.js";
import { cells, fit, frame } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { exact, fixed, spoken } from "../core/text.js";
import { levelFor } from "./wall_facts.js";

const OVERVIEW = 360,
  CELLS = 24;

export class Loupe {
  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.overview = canvas({ role: "img" });
    this.close = canvas({ tabindex: "0", role: "img", "aria-roledescription": "matrix" });
    this.path = svg("path");
    this.note = h("p", { class: "cap" });
    this.element = h(
      "div",
      { class: "loupe" },
      this.overview,
      svg("svg", { height: OVERVIEW, "aria-hidden": "true" }, this.path),
      h("div", {}, this.close),
      this.note,
    );
    readable(this.overview, {
      press: (_, x, y) => this.go(Math.floor((y / this.size) * this.rows), Math.floor((x / this.size) * this.columns)),
    });
    readable(this.close, {
      press: (cell) => {
        if (cell) this.go(this.top + cell.row, this.left + cell.column);
      },
    });
    arrows(this.close, (down, right) => {
      this.go(this.context.place.i + down, this.j + right);
      announce(`token ${this.context.place.i} from ${this.context.place.j}`);
    });
    this.rows = this.columns = 1;
    this.size = OVERVIEW;
    this.top = this.left = this.j = 0;
  }

  /** @param {number} i @param {number} j */
  go(i, j) {
    const row = clamp(i, 0, this.rows - 1),
      isCausal = this.rows === this.columns && this.context.run?.model.kind === "decoder";
    this.context.set({ i: row, j: clamp(j, 0, isCausal ? row : this.columns - 1), u: -1 });
  }

  /** @param {number} j */
  draw(j) {
    const { context } = this,
      { place } = context,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      i = context.seen.i;
    const site = siteOf(context.stack, `layers.${place.l}.${place.block}.weights`),
      index = String(place.h);
    [this.rows, this.columns, this.j] = [
      context.stack.tokens.length,
      (place.block === "cross" ? run.stacks[0] : context.stack).tokens.length,
      j,
    ];
    this.size = isNarrow() ? Math.min(OVERVIEW, this.element.clientWidth) : OVERVIEW;
    const level = levelFor(Math.max(this.rows, this.columns), OVERVIEW),
      whole = context.tensor(run, site, level ? { index, level } : { index });
    this.top = clamp(i - CELLS / 2, 0, Math.max(0, this.rows - CELLS));
    this.left = clamp(j - CELLS / 2, 0, Math.max(0, this.columns - CELLS));
    const bottom = Math.min(this.rows, this.top + CELLS),
      right = Math.min(this.columns, this.left + CELLS);
    const near = context.tensor(run, site, { index, rows: `${this.top}:${bottom}`, columns: `${this.left}:${right}` });
    if (whole) this.paintOverview(whole, `${site}[${index}`, 2 ** level);
    if (near) this.paintClose(near, `${site}[${index}`, i, j);
    const by = 2 ** level;
    this.note.textContent =
      by === 1
        ? "Left, the whole matrix. The loupe shows some of its cells larger; arrow keys move it."
        : `The picture keeps the largest of every ${by} × ${by} weights, so that a single strong one survives. The loupe shows real cells; arrow keys move it.`;
  }

  /** @param {import("../core/types.js").Matrix} whole @param {string} site @param {number} by */
  paintOverview(whole, site, by) {
    const pen = fit(this.overview, this.size, this.size),
      { data, rows, columns } = whole,
      isCausal = this.rows === this.columns && this.context.run?.model.kind === "decoder";
    cells(
      pen,
      {
        x: 0,
        y: 0,
        width: this.size,
        height: this.size,
        rows,
        columns,
        ramp: "computed-share",
        label: `${site}], pooled`,
        value: (r, c) => (isCausal && c > r ? null : data[r * columns + c]),
        site: (r, c) => `${site}, ${r * by}:${(r + 1) * by}, ${c * by}:${(c + 1) * by}]`,
        says: (r, c) => `at most ${exact(data[r * columns + c])}`,
        note: () => `the largest of ${by} × ${by} weights; a click moves the loupe`,
      },
      1,
    );
    const scale = (/** @type {number} */ v, /** @type {number} */ n) => (v / n) * this.size;
    const w = Math.max(6, scale(CELLS, this.columns)),
      t = Math.max(6, scale(CELLS, this.rows)),
      x = clamp(scale(this.left, this.columns), 1, this.size - w - 1.5),
      y = clamp(scale(this.top, this.rows), 1, this.size - t - 1.5);
    frame(pen, x, y, w, t);
    this.overview.setAttribute("aria-label", `the whole matrix, ${this.rows} by ${this.columns}`);
    assign(this.path, { d: `M${x + w - OVERVIEW - 16} ${y}L76 .5M${x + w - OVERVIEW - 16} ${y + t}L76 ${OVERVIEW - 0.5}` });
  }

  /** @param {import("../core/types.js").Matrix} near @param {string} site @param {number} i @param {number} j */
  paintClose(near, site, i, j) {
    const cell = Math.floor((isNarrow() ? Math.min(OVERVIEW, this.size) : OVERVIEW) / CELLS),
      { rows, columns, data } = near,
      { top, left } = this;
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run),
      { tokens } = this.context.stack;
    const sources = (this.context.place.block === "cross" ? run.stacks[0] : this.context.stack).tokens;
    const pen = fit(this.close, columns * cell, rows * cell);
    cells(
      pen,
      {
        x: 0,
        y: 0,
        width: columns * cell,
        height: rows * cell,
        rows,
        columns,
        ramp: "computed-share",
        label: `${site}], rows ${top} on, columns ${left} on`,
        value: (r, c) => data[r * columns + c],
        site: (r, c) => `${site}, ${r + top}, ${c + left}]`,
        says: (r, c) =>
          `${spoken(tokens[r + top])} (${r + top}) takes ${exact(data[r * columns + c])} from ${spoken(sources[c + left])} (${c + left})`,
      },
      1,
      { gap: 1 },
    );
    frame(pen, 1, (i - top) * cell + 1, columns * cell - 3, cell - 3);
    pen.strokeStyle = css("ink");
    pen.strokeRect((j - left) * cell + 1.5, (i - top) * cell + 1.5, cell - 4, cell - 4);
    this.close.setAttribute(
      "aria-label",
      `a loupe of ${rows} by ${columns} weights. ${spoken(tokens[i])} takes ${fixed(data[(i - top) * columns + j - left] ?? 0)} from ${spoken(sources[j])}. Arrow keys move.`,
    );
  }
}
