// The row of the learned table that a token id picks: its numbers, the rows that point the same way, and a map.
// In: the place. Out: a dimension that is drawn through every strip, a second word to compare.

import { css } from "../core/colour.js";
import { ask } from "../core/api.js";
import { dimensions } from "../core/dimensions.js";
import { siteOf } from "../core/context.js";
import { canvas, closest, fill, h, isNarrow } from "../core/dom.js";
import { cells, fit, reach, rowOf } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { fromCanvases, tableLink } from "../core/table.js";
import { count, exact, fixed, percent, spoken, token as drawn } from "../core/text.js";

/** @typedef {import("../core/types.js").Neighbourhood} Neighbourhood */

const NEIGHBOURS = 8;

/** How wide a strip of the stages is. @param {HTMLElement} box */
export function stripWidth(box) {
  return Math.max(40, Math.min(512, Math.floor(box.clientWidth - (isNarrow() ? 124 : 176))));
}

/**
 * A line of a figure: a label, a strip, a number.
 * @param {(Node | string)[]} label
 * @param {HTMLCanvasElement} strip
 * @param {string} number
 */
export function band(label, strip, number) {
  return h("div", { class: "gridrow" }, h("span", {}, ...label), strip, h("span", { class: "num" }, number));
}

/**
 * A dimension drawn through a strip.
 * @param {CanvasRenderingContext2D} pen
 * @param {number} width
 * @param {number} height
 * @param {number[]} order
 * @param {number} dimension
 */
export function through(pen, width, height, order, dimension) {
  const at = order.indexOf(dimension);
  if (at < 0) return;
  pen.fillStyle = css("look");
  pen.fillRect((width * (at + 0.5)) / order.length - 0.75, 0, 1.5, height);
}

export class Embedding {
  id = "embedding";
  title = "Embedding";

  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.rail = h("div");
    this.rows = h("div");
    this.map = h("div", { class: "map" });
    this.mapCaption = h("p", { class: "cap", style: { "margin-top": "6px" } });
    this.mapBox = h("div", {}, this.map, this.mapCaption);
    this.figure = h(
      "div",
      {},
      h("div", { class: "side" }, this.rows, this.mapBox),
      tableLink(() => fromCanvases(this.strips), "the neighbours"),
    );
    /** @type {HTMLCanvasElement[]} */
    this.strips = [];
    this.rows.addEventListener("click", (event) => {
      const button = closest(event.target, "[data-second]");
      if (button)
        this.context.set({
          second: this.context.place.second === Number(button.dataset.second) ? -1 : Number(button.dataset.second),
        });
    });
  }

  depends() {
    const { run, place, seen } = this.context;
    return [run?.run, place.stack, place.i, seen.dimension, place.second];
  }

  draw() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      { stack, place } = context;
    const site = siteOf(stack, "embedding.token"),
      whole = context.row(run, stack, "embedding.token", place.i),
      word = stack.tokens.findIndex(({ id }) => id === stack.tokens[place.i].id); // its neighbours are the same wherever it stands
    const near = context.of(
      run,
      `embedding ${stack.name} ${word}`,
      (signal) => ask("/api/embedding", { run: run.run, stack: stack.name, token: word, count: NEIGHBOURS }, signal),
      "embedding",
    );
    if (!whole || !near) return;
    this.drawRail(site, whole.columns, near);
    this.drawRows(run, site, whole, near);
    this.drawMap(near);
  }

  /** @param {string} site @param {number} width @param {Neighbourhood} near */
  drawRail(site, width, near) {
    const { stack, place } = this.context,
      second = near.neighbours.find(({ id }) => id === place.second) ?? near.neighbours[0];
    fill(
      this.rail,
      h(
        "p",
        {},
        `A token id picks one row of a learned table: ${count(width)} numbers, the same wherever the token stands. Rows that point the same way belong to words used in the same way.`,
      ),
      second ? h("p", {}, ...drawn(stack.tokens[place.i]), " and ", ...drawn(second.text), ` ${fixed(second.cosine)}`) : null,
      h("p", { class: "mono" }, `${site} [${stack.tokens.length}, ${width}]`),
    );
  }

  /**
   * @param {import("../core/types.js").Run} run @param {string} site @param {import("../core/types.js").Matrix} whole
   * @param {Neighbourhood} near
   */
  drawRows(run, site, whole, near) {
    const { context } = this,
      { stack, place, seen } = context,
      order = dimensions(context, run, whole.columns),
      own = rowOf(whole, 0);
    const width = stripWidth(this.rows),
      scale = reach(whole),
      token = stack.tokens[place.i];
    const make = (
      /** @type {ArrayLike<number>} */ numbers,
      /** @type {number} */ high,
      /** @type {(d: number) => string} */ name,
      /** @type {string} */ label,
    ) => {
      const strip = canvas({ role: "img", "aria-label": `${label}, ${whole.columns} numbers` }),
        pen = fit(strip, width, high);
      cells(
        pen,
        {
          x: 0,
          y: 0,
          width,
          height: high,
          rows: 1,
          columns: numbers.length,
          ramp: "learned-signed",
          label,
          value: (_, d) => numbers[order[d]],
          site: (_, d) => name(order[d]),
          says: (_, d) => `${label}, dimension ${order[d]}: ${exact(numbers[order[d]])}`,
          note: (_, d) => `the looked-at token has ${exact(own[order[d]])} here`,
        },
        scale,
      );
      through(pen, width, high, order, seen.dimension);
      readable(strip, {
        over: (cell) => context.hover(cell ? { dimension: order[cell.column] } : {}),
        leave: () => context.hover({}),
      });
      return strip;
    };
    const ownStrip = make(own, 22, (d) => `${site}[${place.i}, ${d}]`, spoken(token));
    const others = near.neighbours.map(({ id, text, vector }) =>
      make(vector, 14, (d) => `weights.embedding[${id}, ${d}]`, spoken(text)),
    );
    if (this.isUnder(ownStrip, others)) return;
    this.strips = [ownStrip, ...others];
    fill(
      this.rows,
      h(
        "div",
        { class: "gridrow cap" },
        h("span"),
        h("span", {}, `${whole.columns} dimensions`),
        h("span", { class: "num" }, "cosine"),
      ),
      band([h("span", { class: "look" }, ...drawn(token))], ownStrip, ""),
      h("div", { class: "gap" }),
      ...near.neighbours.map(({ id, text, cosine }, k) =>
        band(
          [
            h(
              "button",
              {
                data: { second: id, key: `near${id}` },
                "aria-pressed": String(id === place.second),
                class: id === place.second ? "link" : false,
                title: "compare with this word",
              },
              ...drawn(text),
            ),
          ],
          others[k],
          fixed(cosine),
        ),
      ),
      h(
        "div",
        { class: "gridrow cap" },
        h("span"),
        h("span", {}, `The nearest of ${count(run.model.vocab_size)} rows. Stripes that run on are what the words share.`),
      ),
    );
  }

  /**
   * While the pointer is on a strip the strips stay, and only their pixels change: a new element would not know that it is
   * pointed at.
   * @param {HTMLCanvasElement} own @param {HTMLCanvasElement[]} others
   */
  isUnder(own, others) {
    const fresh = [own, ...others],
      { run, place } = this.context,
      key = `${run?.run} ${place.stack} ${place.i} ${place.second} ${own.width} ${document.documentElement.dataset.theme}`;
    const isSame = key === this.key && this.strips.length === fresh.length;
    this.key = key;
    if (!isSame) return false;
    fresh.forEach((strip, k) => {
      const pen = /** @type {CanvasRenderingContext2D} */ (this.strips[k].getContext("2d"));
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, strip.width, strip.height);
      pen.drawImage(strip, 0, 0);
    });
    return true;
  }

  /** @param {Neighbourhood} near */
  drawMap({ neighbours, map }) {
    this.mapBox.hidden = !map;
    if (!map) return;
    const { stack, place } = this.context,
      own = stack.tokens[place.i].id,
      near = new Set(neighbours.map(({ id }) => id));
    const picture = canvas({
      role: "img",
      "aria-label": `A map of ${count(map.points.length)} words around ${spoken(stack.tokens[place.i])}`,
    });
    fill(this.map, picture);
    const width = this.map.clientWidth - 2,
      height = 254,
      pen = fit(picture, width, height),
      place_ = spread(map.points, width, height);
    const order = (/** @type {number} */ id) => (id === own ? 2 : near.has(id) ? 1 : 0);
    for (const point of [...map.points].sort((a, b) => order(a.id) - order(b.id))) {
      const [x, y] = place_(point),
        rank = order(point.id);
      pen.beginPath();
      pen.arc(x, y, rank === 2 ? 3.5 : 2, 0, 7);
      pen.fillStyle = css(["rule-2", "learned", "look"][rank]);
      pen.fill();
    }
    this.label(
      [...map.points].sort((a, b) => order(b.id) - order(a.id)),
      order,
      place_,
      width,
    );
    readable(picture, { at: (x, y) => nearest(map.points, place_, x, y) });
    fill(this.mapCaption, `The table seen along its two widest directions (${percent(map.share)} of its spread)`);
  }

  /**
   * @param {{id: number, text: string}[]} points @param {(id: number) => number} order
   * @param {(point: any) => [number, number]} where @param {number} width
   */
  label(points, order, where, width) {
    /** @type {[number, number, number][]} */
    const taken = [];
    for (const point of points) {
      const [x, y] = where(point),
        wide = point.text.length * 6 + 8;
      if (x + wide > width || !point.text.trim() || taken.some(([a, b, w]) => Math.abs(b - y) < 11 && x < a + w && a < x + wide))
        continue;
      taken.push([x, y, wide]);
      this.map.append(
        h("span", { class: ["far", "", "on"][order(point.id)], style: { left: `${x}px`, top: `${y}px` } }, point.text.trim()),
      );
      if (taken.length > 30) return;
    }
  }
}

/**
 * @param {{x: number, y: number}[]} points
 * @param {number} width
 * @param {number} height
 * @returns {(point: {x: number, y: number}) => [number, number]}
 */
function spread(points, width, height) {
  const xs = points.map(({ x }) => x),
    ys = points.map(({ y }) => y);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return ({ x, y }) => [22 + ((width - 74) * (x - x0)) / (x1 - x0 || 1), 16 + ((height - 32) * (y - y0)) / (y1 - y0 || 1)];
}

/**
 * @param {{id: number, text: string, x: number, y: number}[]} points @param {(point: any) => [number, number]} where
 * @param {number} x @param {number} y @returns {import("../core/reading.js").Reading | null}
 */
function nearest(points, where, x, y) {
  let best = null,
    far = 12;
  for (const point of points) {
    const [a, b] = where(point),
      d = Math.hypot(a - x, b - y);
    if (d < far) [best, far] = [point, d];
  }
  return (
    best && {
      says: [...drawn(best.text), `: ${fixed(best.x)}, ${fixed(best.y)}`],
      site: `weights.embedding[${best.id}]`,
      note: "its place along the two widest directions",
    }
  );
}
