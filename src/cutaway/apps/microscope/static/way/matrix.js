// The matrix of one head, cell by cell. In: its weights, the token and the source. Out: (i, j) previewed by the pointer, set by
// a click.

import { css, isDark } from "../core/colour.js";
import { siteOf } from "../core/context.js";
import { announce, arrows, canvas, clamp, fill, h, isNarrow, range } from "../core/dom.js";
import { cells, fit, frame, write } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { exact, fixed, spoken, token as drawn } from "../core/text.js";

const WIDE = 304,
  LARGEST = 23;

export class HeadMatrix {
  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.canvas = canvas({ tabindex: "0", role: "img", "aria-roledescription": "matrix" });
    this.labels = h("div");
    this.element = h("div", { class: "mat" }, this.canvas, this.labels);
    readable(this.canvas, {
      over: (cell) => context.hover(cell && this.isSeen(cell.row, cell.column) ? { i: cell.row, j: cell.column } : {}),
      leave: () => context.hover({}),
      press: (cell) => {
        if (cell && this.isSeen(cell.row, cell.column)) context.set({ i: cell.row, j: cell.column, u: -1 });
      },
    });
    arrows(this.canvas, (down, right) => this.step(down, right));
    this.shown = 0;
    /** @type {import("../core/types.js").Matrix | null} */
    this.weights = null;
    /** @type {import("../core/types.js").Matrix | null} */
    this.scores = null;
  }

  /** @param {number} down @param {number} right */
  step(down, right) {
    const { place, stack } = this.context,
      i = clamp(place.i + down, 0, stack.tokens.length - 1);
    let j = clamp(this.shown + right, 0, this.sources().length - 1);
    while (j > 0 && !this.isSeen(i, j)) j--;
    this.context.set({ i, j, u: -1 });
    const weight = this.weights?.data[i * this.weights.columns + j] ?? 0;
    announce(`${spoken(stack.tokens[i])} takes ${fixed(weight)} from ${spoken(this.sources()[j])}`);
  }

  sources() {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run);
    return (this.context.place.block === "cross" ? run.stacks[0] : this.context.stack).tokens;
  }

  /** Whether a key is visible to a query, as the scores say. @param {number} i @param {number} j */
  isSeen(i, j) {
    return !this.scores || this.scores.data[i * this.scores.columns + j] > -1e30;
  }

  /** @param {number} j */
  draw(j) {
    const { context } = this,
      { place } = context,
      run = /** @type {import("../core/types.js").Run} */ (context.run);
    const site = siteOf(context.stack, `layers.${place.l}.${place.block}.`),
      index = String(place.h);
    const weights = context.tensor(run, `${site}weights`, { index }),
      scores = context.tensor(run, `${site}scores`, { index });
    if (!weights || !scores) return;
    [this.weights, this.scores, this.shown] = [weights, scores, j];
    const rows = weights.rows,
      columns = weights.columns,
      left = isNarrow() ? 68 : 74;
    const room = (isNarrow() ? this.element.clientWidth || 340 : WIDE) - left,
      cell = Math.max(4, Math.min(isNarrow() ? 27 : LARGEST, Math.floor(room / columns)));
    this.paint(cell, left, `${site}weights[${place.h}`, j);
    this.label(rows, columns, cell, left, j);
    this.element.style.height = `${rows * cell}px`;
  }

  /** @param {number} cell @param {number} left @param {string} site @param {number} j */
  paint(cell, left, site, j) {
    const weights = /** @type {import("../core/types.js").Matrix} */ (this.weights),
      scores = /** @type {import("../core/types.js").Matrix} */ (this.scores);
    const { rows, columns, data } = weights,
      { tokens } = this.context.stack,
      sources = this.sources(),
      i = this.context.seen.i;
    const pen = fit(this.canvas, columns * cell + 2, rows * cell + 2),
      value = (/** @type {number} */ r, /** @type {number} */ c) => (this.isSeen(r, c) ? data[r * columns + c] : null);
    this.canvas.style.left = `${left}px`;
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
        label: `${site}]`,
        value,
        site: (r, c) => `${site}, ${r}, ${c}]`,
        says: (r, c) =>
          value(r, c) === null
            ? `masked: ${spoken(tokens[r])} cannot see ${spoken(sources[c])}`
            : `${spoken(tokens[r])} takes ${exact(data[r * columns + c])} from ${spoken(sources[c])}`,
        note: (r, c) =>
          value(r, c) === null
            ? "its score is set to −∞"
            : `softmax of ${fixed(scores.data[r * columns + c])} among ${this.among(r)}`,
      },
      1,
      { gap: 1 },
    );
    for (const r of range(rows)) {
      for (const c of range(columns)) {
        if (value(r, c) !== null) continue;
        pen.fillStyle = css("rule-2");
        pen.fillRect(c * cell + cell / 2 - 1, r * cell + cell / 2 - 1, 1.5, 1.5);
      }
    }
    this.numbers(pen, cell, i, value, columns);
    const seen = range(columns).filter((c) => this.isSeen(i, c)),
      first = seen[0] ?? 0,
      width = (seen[seen.length - 1] ?? 0) - first + 1;
    frame(pen, first * cell + 0.75, i * cell + 0.75, width * cell - 2.5, cell - 2.5);
    pen.strokeStyle = css("ink");
    pen.strokeRect(j * cell + 2.5, i * cell + 2.5, cell - 6, cell - 6);
    this.canvas.setAttribute(
      "aria-label",
      `attention weights, ${rows} by ${columns}. ${spoken(tokens[i])} takes ${fixed(value(i, j) ?? 0)} from ${spoken(sources[j])}. Arrow keys move.`,
    );
  }

  /** @param {number} r */
  among(r) {
    const seen = range(this.weights?.columns ?? 0).filter((c) => this.isSeen(r, c)).length;
    return `${seen} score${seen === 1 ? "" : "s"}`;
  }

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {number} cell
   * @param {number} i
   * @param {(r: number, c: number) => number | null} value
   * @param {number} columns
   */
  numbers(pen, cell, i, value, columns) {
    if (cell < 20) return;
    for (const c of range(columns)) {
      const weight = value(i, c);
      if (weight === null) continue;
      const text = weight > 0.995 ? "1.0" : fixed(weight).replace(/^0/, "");
      write(pen, text, c * cell + cell / 2 - 0.5, i * cell + cell / 2 + 4, {
        align: "center",
        colour: css(weight > (isDark() ? 0.55 : 0.72) ? "page" : "ink"),
      });
    }
  }

  /** @param {number} rows @param {number} columns @param {number} cell @param {number} left @param {number} j */
  label(rows, columns, cell, left, j) {
    const { tokens } = this.context.stack,
      sources = this.sources(),
      i = this.context.seen.i,
      fits = cell >= 11;
    const tall = range(rows).filter((r) => fits || r === i),
      wide = range(columns).filter((c) => (fits && cell >= 14) || c === j);
    fill(
      this.labels,
      ...tall.map((r) =>
        h(
          "span",
          { class: r === i ? "rl on" : "rl", style: { width: `${left - 8}px`, top: `${r * cell + cell / 2 - 8}px` } },
          ...drawn(tokens[r]),
        ),
      ),
      ...wide.map((c) =>
        h(
          "span",
          { class: c === j ? "cl source" : "cl", style: { left: `${left + c * cell + cell / 2}px`, top: "-18px" } },
          ...drawn(sources[c]),
        ),
      ),
    );
  }
}
