// Where the query comes from: the vector that attention reads, times a learned matrix. In: the place. Out: three strips and a
// picture.

import { siteOf } from "../core/context.js";
import { dimensions } from "../core/dimensions.js";
import { canvas, h } from "../core/dom.js";
import { cells, fit, reach, rowOf } from "../core/draw.js";
import { readable } from "../core/reading.js";

export class Origin {
  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.input = canvas({ role: "img", "aria-label": "input" });
    this.weights = canvas({ role: "img", "aria-label": "learned weights" });
    this.query = canvas({ role: "img", "aria-label": "query" });
    for (const picture of [this.input, this.weights, this.query]) readable(picture);
    this.list = h(
      "dl",
      {},
      h("dt", {}, "input"),
      h("dd", {}, this.input),
      h("dt", {}, "weights"),
      h("dd", {}, this.weights),
      h("dt", {}, "query"),
      h("dd", {}, this.query),
    );
    this.element = h(
      "div",
      { class: "origin", hidden: true },
      h("p", { class: "cap" }, "Where the query comes from: input × learned weights"),
      this.list,
    );
  }

  /** @param {import("../core/types.js").Head} head */
  draw(head) {
    const { context } = this,
      { place, seen } = context,
      run = /** @type {import("../core/types.js").Run} */ (context.run);
    const site = siteOf(context.stack, `layers.${place.l}.${place.block}`),
      index = String(place.h);
    const [input, weights] = context.maybe(() => [
      context.tensor(run, `${site}.input`, { rows: `${seen.i}:${seen.i + 1}` }),
      context.tensor(run, `weights.${site}.query`, { index }),
    ]);
    this.element.hidden = !input || !weights;
    if (!input || !weights) return;
    const width = Math.max(40, Math.min(640, this.element.clientWidth - 60)),
      order = dimensions(context, run, input.columns),
      numbers = rowOf(input, 0);
    cells(
      fit(this.input, width, 9),
      {
        x: 0,
        y: 0,
        width,
        height: 9,
        rows: 1,
        columns: order.length,
        ramp: "computed-signed",
        label: `${site}.input[${seen.i}]`,
        value: (_, d) => numbers[order[d]],
        site: (_, d) => `${site}.input[${seen.i}, ${order[d]}]`,
        note: () => "what attention reads, after the norm",
      },
      reach(input),
    );
    const tall = 40;
    cells(
      fit(this.weights, width, tall),
      {
        x: 0,
        y: 0,
        width,
        height: tall,
        rows: weights.rows,
        columns: weights.columns,
        ramp: "learned-signed",
        label: `weights.${site}.query[${index}]`,
        value: (r, d) => weights.data[r * weights.columns + order[d]],
        site: (r, d) => `weights.${site}.query[${index}, ${r}, ${order[d]}]`,
        note: () => "a learned number; where pixels are few, means of neighbours",
      },
      reach(weights),
    );
    const short = Math.max(24, Math.round((width * head.query.length) / input.columns));
    cells(
      fit(this.query, short, 9),
      {
        x: 0,
        y: 0,
        width: short,
        height: 9,
        rows: 1,
        columns: head.query.length,
        ramp: "computed-signed",
        label: `${site}.query[${index}, ${seen.i}]`,
        value: (_, d) => head.query[d],
        site: (_, d) => `${site}.query[${index}, ${seen.i}, ${d}]`,
      },
      reach(head.query),
    );
  }
}
