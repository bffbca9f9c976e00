// The heads of two runs: A over B, and the signed difference below. In: two runs. Out: a picture for each head, which sets the
// head.

import { siteOf } from "../core/context.js";
import { canvas, fill, h, isNarrow, range } from "../core/dom.js";
import { cells, fit } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { exact, spoken } from "../core/text.js";
import { levelFor } from "./wall_facts.js";

/** @typedef {import("../core/types.js").Run} Run */
/** @typedef {import("../core/types.js").Matrix} Matrix */

const WHOLE = 128;

export class BesideHeads {
  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.grid = h("div");
    this.element = h("div", {}, h("h3", {}, "Heads: A, B and A − B"), this.grid);
    /** @type {HTMLCanvasElement[]} */
    this.pictures = [];
  }

  canvases() {
    return this.pictures;
  }

  /** @param {Run} run @param {Run} other */
  draw(run, other) {
    const { context } = this,
      s = context.place.stack,
      layers = Math.min(run.model.num_layers, other.model.num_layers),
      heads = Math.min(run.model.num_heads, other.model.num_heads);
    const size = Math.max(
      24,
      Math.min(104, Math.floor((this.grid.clientWidth - (isNarrow() ? 0 : 92)) / heads) - (isNarrow() ? 6 : 14)),
    );
    this.pictures = [];
    const lines = range(layers).map((l) =>
      h(
        "div",
        { class: "layer" },
        h("span", { class: "name" }, `layer ${l}`),
        h("div", { class: "pics" }, ...range(heads).map((head) => this.head(run, other, s, l, head, size))),
      ),
    );
    fill(this.grid, ...lines);
  }

  /** @param {Run} run @param {Run} other @param {number} s @param {number} l @param {number} head @param {number} size */
  head(run, other, s, l, head, size) {
    const { context } = this,
      { place } = context,
      [a, b] = [run, other].map((each) => this.weights(each, Math.min(s, each.stacks.length - 1), l, head)),
      isOn = place.l === l && place.h === head;
    const picture = canvas({ role: "img", "aria-label": `layer ${l}, head ${head}: A over B, and their difference` });
    if (a && b) this.paint(picture, a, b, size, run, siteOf(run.stacks[s], `layers.${l}.attention.weights[${head}`));
    else fit(picture, size, 3 * size + 4);
    readable(picture);
    this.pictures.push(picture);
    return h(
      "button",
      {
        class: isOn ? "headpic on" : "headpic",
        style: { "--c": "0px", width: `${size}px` },
        tabindex: isOn ? 0 : -1,
        data: { besidehead: `${l}.${head}` },
      },
      picture,
      h("span", { class: "lab" }, h("b", {}, String(head))),
    );
  }

  /** @param {Run} run @param {number} s @param {number} l @param {number} head */
  weights(run, s, l, head) {
    const stack = run.stacks[s],
      longest = stack.tokens.length,
      level = longest <= WHOLE ? 0 : levelFor(longest, 128);
    return this.context.tensor(
      run,
      siteOf(stack, `layers.${l}.attention.weights`),
      level ? { index: String(head), level } : { index: String(head) },
    );
  }

  /**
   * @param {HTMLCanvasElement} picture
   * @param {Matrix} a
   * @param {Matrix} b
   * @param {number} size
   * @param {Run} run
   * @param {string} site
   */
  paint(picture, a, b, size, run, site) {
    const pen = fit(picture, size, 3 * size + 4),
      { tokens } = run.stacks[this.context.place.stack],
      isMasked = run.model.kind === "decoder";
    const hide = (/** @type {number} */ r, /** @type {number} */ c) => isMasked && c > r;
    [a, b].forEach((m, k) =>
      cells(
        pen,
        {
          x: 0,
          y: k * (size + 2),
          width: size,
          height: size,
          rows: m.rows,
          columns: m.columns,
          ramp: "computed-share",
          label: `${k ? "B" : "A"}: ${site}]`,
          value: (r, c) => (hide(r, c) ? null : m.data[r * m.columns + c]),
          site: (r, c) => `${k ? "B" : "A"}: ${site}, ${r}, ${c}]`,
          says: (r, c) => exact(m.data[r * m.columns + c]),
        },
        1,
      ),
    );
    const rows = Math.min(a.rows, b.rows),
      columns = Math.min(a.columns, b.columns),
      apart = (/** @type {number} */ r, /** @type {number} */ c) => a.data[r * a.columns + c] - b.data[r * b.columns + c];
    cells(
      pen,
      {
        x: 0,
        y: 2 * (size + 2),
        width: size,
        height: size,
        rows,
        columns,
        ramp: "computed-signed",
        label: `A − B: ${site}]`,
        value: (r, c) => (hide(r, c) ? null : apart(r, c)),
        site: (r, c) => `A − B: ${site}, ${r}, ${c}]`,
        says: (r, c) => (hide(r, c) ? "masked" : `${tokens[r] ? spoken(tokens[r]) : r}: ${exact(apart(r, c))}`),
      },
      1,
    );
  }
}
