// The strips of a loom: coloured once, stretched whenever the threads move. In: the columns of the stream. Out: pixels and
// fields.

import { tone } from "../core/colour.js";
import { dimensions } from "../core/dimensions.js";
import { range } from "../core/dom.js";
import { image, reach, remember, rowOf } from "../core/draw.js";
import { tokenOfRow } from "../core/rows.js";
import { exact, spoken } from "../core/text.js";

/** @typedef {import("../core/types.js").Matrix} Matrix */

export class LoomStrips {
  /** @param {import("./loom.js").Loom} loom */
  constructor(loom) {
    this.loom = loom;
    this.readyFor = "";
    /** @type {OffscreenCanvas | null} */
    this.sheet = null;
    this.wide = 1;
  }

  /**
   * The colours of all strips, one row of pixels each, made once: a strip that grows is only stretched. @param
   * {import("./loom_shape.js").Shape} s
   * @param {Matrix[]} columns */
  ready(s, columns) {
    const { run } = this.loom.context,
      rows = this.loom.context.rows(this.loom.index),
      key = JSON.stringify([
        run?.run,
        rows,
        s.strip,
        devicePixelRatio,
        document.documentElement.dataset.theme,
        this.order(columns[0].columns)[1],
      ]);
    if (key === this.readyFor) return;
    this.readyFor = key;
    const wide = Math.max(1, Math.round(s.strip * devicePixelRatio)),
      sheet = new OffscreenCanvas(wide * columns.length, rows.count);
    const pen = /** @type {OffscreenCanvasRenderingContext2D} */ (sheet.getContext("2d")),
      added = reach(columns[s.inputs - 1]);
    columns.forEach((matrix, c) => {
      for (const row of range(rows.count)) {
        const field = this.field({ x: 0, y: 0, width: s.strip, height: 1 }, c, row);
        if (field)
          pen.putImageData(image(field, Math.min(wide, field.columns), 1, c < s.inputs ? added : reach(matrix)), c * wide, row);
      }
    });
    [this.sheet, this.wide] = [sheet, wide];
  }

  /** @param {number} width */
  order(width) {
    return dimensions(this.loom.context, /** @type {import("../core/types.js").Run} */ (this.loom.context.run), width);
  }

  /**
   * @param {CanvasRenderingContext2D} pen @param {{x: number, y: number, width: number, height: number}} box @param {number} c
   * @param {number} row @param {boolean} isInput
   */
  paintStrip(pen, box, c, row, isInput) {
    const field = this.field(box, c, row);
    if (field) {
      remember(this.loom.canvas, field);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(
        /** @type {OffscreenCanvas} */ (this.sheet),
        c * this.wide,
        row,
        Math.min(this.wide, field.columns),
        1,
        box.x,
        box.y,
        box.width,
        box.height,
      );
      return;
    }
    pen.fillStyle = tone(isInput ? "learned-share" : "computed-share", 0.3); // the folded row stands for many vectors: it has a share and no numbers
    for (const k of range(3)) pen.fillRect(box.x, box.y + (k * box.height) / 3, box.width, Math.max(1, box.height / 3 - 1));
  }

  /**
   * The numbers of one strip; null for the folded row. @param {{x: number, y: number, width: number, height: number}} box
   * @param {number} c
   * @param {number} row @returns {import("../core/types.js").Field | null} */
  field(box, c, row) {
    const { context, stack } = this.loom,
      rows = context.rows(this.loom.index),
      t = tokenOfRow(rows, row),
      { site } = stack.columns[c];
    if (t < 0) return null;
    const matrix = /** @type {Matrix[]} */ (this.loom.columns)[c],
      numbers = rowOf(matrix, t - rows.first),
      order = this.order(matrix.columns);
    const isInput = c < /** @type {import("./loom_shape.js").Shape} */ (this.loom.shape).inputs - 1;
    return {
      ...box,
      rows: 1,
      columns: matrix.columns,
      ramp: isInput ? "learned-signed" : "computed-signed",
      label: `${site}[${t}] ${spoken(stack.tokens[t])}`,
      value: (_, d) => numbers[order[d]],
      site: (_, d) => `${site}[${t}, ${order[d]}]`,
      says: (_, d) => exact(numbers[order[d]]),
      note: () => this.origin(c, t),
    };
  }

  /** How a number of a strip came about. @param {number} c @param {number} t */
  origin(c, t) {
    const s = /** @type {import("./loom_shape.js").Shape} */ (this.loom.shape),
      { site } = this.loom.stack.columns[c],
      { tokens } = this.loom.stack;
    if (site.endsWith("embedding.token")) return `row ${tokens[t].id} of the learned table`;
    if (site.endsWith("embedding.position")) return `place ${t} of the table of positions`;
    if (c === s.inputs - 1) return s.inputs === 3 ? "token + position" : "what enters the first layer";
    return (
      `what ${spoken(tokens[t])} carries after layer ${c - s.inputs}` +
      (s.strip < 128 ? "; the strip shows means of neighbours" : "")
    );
  }
}
