// Two streams: how far the rows of A and B lie apart in every column, and the vectors of one column over one another.
// In: two runs. Out: a token and a column, chosen by a cell.

import { dimensions } from "../core/dimensions.js";
import { canvas, fill, h, isNarrow, range } from "../core/dom.js";
import { cells, fit, frame, reach } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { exact, fixed, spoken, token as drawn } from "../core/text.js";

/** @typedef {import("../core/types.js").Run} Run */
/** @typedef {import("../core/types.js").Matrix} Matrix */

const ROW = 20,
  STRIP = 8;

export class BesideStreams {
  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.far = canvas({ role: "img", tabindex: "-1" });
    this.farLabels = h("div", { class: "fflabs" });
    this.heads = h("div", { class: "cap", style: { "white-space": "nowrap" } });
    this.rows = h("div");
    /** @type {HTMLCanvasElement[]} */
    this.strips = [];
    this.element = h(
      "div",
      {},
      h("h3", {}, "How far apart"),
      h("div", { class: "gridrow cap" }, h("span"), this.heads),
      h("div", { class: "gridrow top" }, this.farLabels, this.far),
      h("p", { class: "cap" }, "The length of A − B as a share of the length of A; 1 and more is darkest."),
      this.rows,
    );
    readable(this.far, {
      press: (cell) => {
        if (cell) context.set({ i: context.rows().first + cell.row, c: cell.column });
      },
    });
  }

  canvases() {
    return [this.far, ...this.strips];
  }

  /** @param {Run} run @param {Run} other */
  draw(run, other) {
    const { context } = this,
      { place } = context,
      s = place.stack,
      a = run.stacks[s],
      b = other.stacks[Math.min(s, other.stacks.length - 1)];
    const sites = a.columns.filter(({ site }) => !/embedding\.(token|position)$/.test(site)).map(({ site }) => site),
      shared = sites.filter((site) => b.columns.some((column) => column.site === site));
    const rows = context.rows(),
      last = Math.min(rows.last, b.tokens.length - 1),
      count = last - rows.first + 1;
    const part = { rows: `${rows.first}:${last + 1}` };
    if (count <= 0) return fill(this.rows, h("p", { class: "second" }, "B ends before this window."));
    const pairs = shared.map((site) => [context.tensor(run, site, part), context.tensor(other, site, part)]);
    if (pairs.some(([x, y]) => !x || !y)) return;
    const matrices = /** @type {[Matrix, Matrix][]} */ (pairs),
      isSame = matrices.every(([x, y]) => x.columns === y.columns);
    this.far.hidden = !isSame;
    if (isSame) this.drawFar(matrices, shared, rows.first, count, run);
    this.drawStrips(
      matrices[Math.min(place.c, matrices.length - 1)],
      shared[Math.min(place.c, matrices.length - 1)],
      rows.first,
      count,
      isSame,
      run,
    );
  }

  /** @param {[Matrix, Matrix][]} pairs @param {string[]} sites @param {number} first @param {number} count @param {Run} run */
  drawFar(pairs, sites, first, count, run) {
    const { place } = this.context,
      { tokens } = run.stacks[place.stack],
      wide = Math.max(12, Math.min(64, Math.floor((isNarrow() ? 240 : 512) / sites.length)));
    const apart = pairs.map(([a, b]) => range(count).map((r) => distance(a, b, r))),
      pen = fit(this.far, wide * sites.length, count * ROW);
    cells(
      pen,
      {
        x: 0,
        y: 0,
        width: wide * sites.length,
        height: count * ROW,
        rows: count,
        columns: sites.length,
        ramp: "computed-share",
        label: "length of A − B ÷ length of A",
        value: (r, c) => apart[c][r],
        site: (r, c) => `${sites[c]}[${first + r}]`,
        says: (r, c) => `${spoken(tokens[first + r])}: ${exact(apart[c][r])}`,
        note: () => "length of A − B ÷ length of A; a click goes there",
      },
      1,
      { gap: 1 },
    );
    if (place.i >= first && place.i < first + count)
      frame(pen, place.c * wide + 1, (place.i - first) * ROW + 1, wide - 3, ROW - 3);
    fill(
      this.farLabels,
      ...range(count).map((r) =>
        h(
          "div",
          { class: first + r === place.i ? "look" : false, style: { height: `${ROW}px`, "line-height": `${ROW}px` } },
          ...drawn(tokens[first + r]),
        ),
      ),
    );
    fill(
      this.heads,
      sites
        .map((_, c) => (c ? String(c - 1) : "sum"))
        .map((name) => h("span", { style: { display: "inline-block", width: `${wide}px`, "text-align": "center" } }, name)),
    );
    this.far.setAttribute(
      "aria-label",
      `How far A and B lie apart, ${count} tokens by ${sites.length} columns. At the place ${fixed(apart[Math.min(place.c, sites.length - 1)][Math.max(0, place.i - first)] ?? 0)}.`,
    );
  }

  /**
   * @param {[Matrix, Matrix]} pair
   * @param {string} site
   * @param {number} first
   * @param {number} count
   * @param {boolean} isSame
   * @param {Run} run
   */
  drawStrips([a, b], site, first, count, isSame, run) {
    const { tokens } = run.stacks[this.context.place.stack],
      width = Math.max(80, Math.min(512, this.element.clientWidth - (isNarrow() ? 124 : 176))),
      scale = Math.max(reach(a), reach(b));
    this.strips = [];
    const lines = range(count).map((r) => {
      const picture = canvas({ role: "img", "aria-label": `${spoken(tokens[first + r])}: A, B and their difference` }),
        own = (/** @type {Matrix} */ m) => m.data.subarray(r * m.columns, (r + 1) * m.columns);
      const pen = fit(picture, width, (isSame ? 3 : 2) * STRIP),
        [x, y] = [own(a), own(b)],
        order = dimensions(this.context, run, a.columns),
        orderB = a.columns === b.columns ? order : range(b.columns);
      const draw = (
        /** @type {number} */ at,
        /** @type {string} */ name,
        /** @type {(d: number) => number} */ value,
        /** @type {number[]} */ ds,
      ) =>
        cells(
          pen,
          {
            x: 0,
            y: at * STRIP,
            width,
            height: STRIP - (at === 2 ? 0 : 1),
            rows: 1,
            columns: ds.length,
            ramp: "computed-signed",
            label: `${name} ${site}[${first + r}]`,
            value: (_, d) => value(ds[d]),
            site: (_, d) => `${name}: ${site}[${first + r}, ${ds[d]}]`,
          },
          scale,
        );
      draw(0, "A", (d) => x[d], order);
      draw(1, "B", (d) => y[d], orderB);
      if (isSame) draw(2, "A − B", (d) => x[d] - y[d], order);
      readable(picture);
      this.strips.push(picture);
      return h(
        "div",
        { class: "gridrow" },
        h("span", {}, ...drawn(tokens[first + r])),
        picture,
        h("span", { class: "num" }, isSame ? fixed(distance(a, b, r)) : ""),
      );
    });
    fill(this.rows, h("h3", {}, site), ...lines);
  }
}

/** @param {Matrix} a @param {Matrix} b @param {number} row */
function distance(a, b, row) {
  let apart = 0,
    own = 0;
  for (let d = row * a.columns; d < (row + 1) * a.columns; d++) {
    apart += (a.data[d] - b.data[d]) ** 2;
    own += a.data[d] ** 2;
  }
  return Math.sqrt(apart / (own || 1));
}
