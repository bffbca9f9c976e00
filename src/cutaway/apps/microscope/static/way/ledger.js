// The ledger of one query: from, key, q · k, ÷ √d, softmax, value as thick as its weight; and their sum.
// In: one answer of the server. Out: a table whose numbers can be recomputed; a row sets the source.

import { siteOf } from "../core/context.js";
import { canvas, closest, fill, h, isNarrow } from "../core/dom.js";
import { cells, fit, reach } from "../core/draw.js";
import { cellAt, hide, read, show } from "../core/reading.js";
import { count, exact, fixed, spoken, token as drawn } from "../core/text.js";

/** @typedef {import("../core/types.js").Head} Head */

/** Of a long text, so many of the strongest sources. */
const STRONGEST = 12;
const FULL = 84;

export class Ledger {
  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.element = h("table", { class: "ledger" });
    this.element.addEventListener("click", (event) => {
      const row = closest(event.target, "tr.past");
      if (row) context.set({ j: Number(row.dataset.j) });
    });
    this.element.addEventListener("pointermove", (event) => {
      const picture = event.target instanceof HTMLCanvasElement ? event.target : null,
        box = picture?.getBoundingClientRect();
      const cell = picture && box && cellAt(picture, event.clientX - box.left, event.clientY - box.top);
      if (cell) show(event.clientX, event.clientY, read(cell));
      else this.readRow(event);
    });
    this.element.addEventListener("pointerleave", hide);
  }

  /** @param {PointerEvent} event */
  readRow(event) {
    const row = closest(event.target, "tr.past"),
      { found } = this;
    if (!row || !found) return hide();
    const at = found.sources.indexOf(Number(row.dataset.j)),
      { place, seen } = this.context,
      shown = found.scores.filter((score) => score !== null).length;
    show(event.clientX, event.clientY, {
      says: exact(found.weights[at]),
      site: siteOf(this.context.stack, `layers.${place.l}.${place.block}.weights[${place.h}, ${seen.i}, ${found.sources[at]}]`),
      note: `softmax of ${fixed(found.scores[at] ?? 0, 4)} among ${shown + found.others.count} scores`,
    });
  }

  /** @param {Head} found @param {number} j */
  draw(found, j) {
    this.found = found;
    const isWide = !isNarrow(),
      hasMore = found.softcap !== null || found.has_bias,
      long = found.others.count > 0 || found.sources.length > 40;
    this.element.classList.toggle("extra", hasMore);
    const shown = (long ? found.sources.slice(0, STRONGEST) : [...found.sources].sort((a, b) => a - b)).map((source) =>
      found.sources.indexOf(source),
    );
    if (long && !shown.some((at) => found.sources[at] === j)) shown.push(found.sources.indexOf(j));
    this.scales = { key: reach(found.keys.flat()), value: reach(found.values.flat()) };
    fill(
      this.element,
      this.header(found, isWide, hasMore),
      h(
        "tbody",
        {},
        ...shown.map((at) => this.row(found, at, j, isWide, hasMore)),
        long ? this.rest(found, shown, isWide, hasMore) : null,
        this.sum(found, isWide, hasMore),
      ),
    );
    this.paint(found);
  }

  /** @param {Head} found @param {boolean} isWide @param {boolean} hasMore */
  header(found, isWide, hasMore) {
    const d = found.query.length,
      usual = Math.abs(found.scale * Math.sqrt(d) - 1) < 1e-6;
    const th = (/** @type {string} */ kind, /** @type {string} */ text) => h("th", { class: kind, scope: "col" }, text);
    const more = found.softcap !== null ? (found.has_bias ? "capped + bias" : `capped at ${found.softcap}`) : "+ bias";
    return h(
      "thead",
      {},
      h(
        "tr",
        {},
        th("from", "from"),
        isWide ? th("key", "key") : null,
        th("num dot", "q · k"),
        th("num scaled", usual ? `÷ √${d}` : `× ${fixed(found.scale, 3)}`),
        hasMore ? th("num scaled", more) : null,
        th("soft", "softmax"),
        th("", isWide ? "value, as thick as its weight" : "value"),
      ),
    );
  }

  /** @param {Head} found @param {number} at @param {number} j @param {boolean} isWide @param {boolean} hasMore */
  row(found, at, j, isWide, hasMore) {
    const source = found.sources[at],
      score = found.scores[at],
      isMasked = score === null,
      weight = found.weights[at],
      full = isWide ? (hasMore ? 60 : FULL) : 40;
    const token = this.sources()[source],
      minus = "−∞";
    return h(
      "tr",
      { class: `${isMasked ? "future" : "past"}${source === j ? " source" : ""}`, data: { j: source } },
      h(
        "td",
        {},
        isMasked
          ? drawn(token)
          : h(
              "button",
              {
                class: "rowpick",
                data: { key: `from${source}` },
                tabindex: source === j ? 0 : -1,
                "aria-label": `${spoken(token)}, position ${source}, weight ${fixed(weight)}`,
              },
              ...drawn(token),
              found.others.count || found.sources.length > 40 ? h("small", { class: "quiet" }, ` ${count(source)}`) : "",
            ),
      ),
      isWide ? h("td", {}, canvas({ data: { keyAt: at } })) : null,
      h("td", { class: "num" }, fixed(found.products[at])),
      h("td", { class: "num" }, isMasked && !hasMore ? minus : fixed(found.scaled[at])),
      hasMore ? h("td", { class: "num" }, isMasked ? minus : fixed(score)) : null,
      h(
        "td",
        { class: "soft" },
        isMasked
          ? "masked"
          : h(
              "span",
              { class: "bar" },
              h("span", {}, h("i", { style: { width: `${Math.max(1, Math.round(full * weight))}px` } })),
              fixed(weight),
            ),
      ),
      h("td", {}, isMasked ? "" : canvas({ data: { valueAt: at } })),
    );
  }

  /** @param {Head} found @param {number[]} shown @param {boolean} isWide @param {boolean} hasMore */
  rest(found, shown, isWide, hasMore) {
    const listed = shown.reduce((sum, at) => sum + found.weights[at], 0),
      number = found.others.count + found.sources.length - shown.length;
    if (number <= 0) return null;
    return h(
      "tr",
      { class: "future" },
      h("td", { colspan: (isWide ? 4 : 3) + (hasMore ? 1 : 0) }, `${count(number)} others`),
      h("td", { class: "soft" }, h("span", { class: "bar" }, h("span"), fixed(Math.max(0, 1 - listed)))),
      h("td"),
    );
  }

  /** @param {Head} found @param {boolean} isWide @param {boolean} hasMore */
  sum(found, isWide, hasMore) {
    const total = found.weights.reduce((a, b) => a + b, 0) + found.others.weight;
    return h(
      "tr",
      { class: "sum" },
      h("td", { colspan: (isWide ? 4 : 3) + (hasMore ? 1 : 0), class: "second" }, "weighted sum of the values"),
      h("td", { class: "soft" }, h("span", { class: "bar" }, h("span"), fixed(total))),
      h("td", {}, canvas({ data: { mixed: "" } })),
    );
  }

  sources() {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run);
    return (this.context.place.block === "cross" ? run.stacks[0] : this.context.stack).tokens;
  }

  /** @param {Head} found */
  paint(found) {
    const { place, seen } = this.context,
      site = siteOf(this.context.stack, `layers.${place.l}.${place.block}`),
      { key, value } = /** @type {{key: number, value: number}} */ (this.scales);
    const cell = this.element.querySelector("td:last-child"),
      width = Math.max(24, (cell?.clientWidth ?? 190) - 4);
    const draw = (
      /** @type {HTMLCanvasElement} */ picture,
      /** @type {number[]} */ numbers,
      /** @type {[number, number, number]} */ [wide, tall, high],
      /** @type {number} */ scale,
      /** @type {string} */ name,
      /** @type {string} */ index,
    ) => {
      const pen = fit(picture, wide, tall);
      cells(
        pen,
        {
          x: 0,
          y: (tall - high) / 2,
          width: wide,
          height: high,
          rows: 1,
          columns: numbers.length,
          ramp: "computed-signed",
          label: `${name}[${index}]`,
          value: (_, d) => numbers[d],
          site: (_, d) => `${name}[${index}, ${d}]`,
        },
        scale,
      );
    };
    for (const picture of this.element.querySelectorAll("canvas")) {
      const { keyAt, valueAt } = picture.dataset,
        at = Number(keyAt ?? valueAt);
      if (keyAt !== undefined)
        draw(picture, found.keys[at], [64, 10, 10], key, `${site}.key`, `${found.kv_head}, ${found.sources[at]}`);
      else if (valueAt !== undefined)
        draw(
          picture,
          found.values[at],
          [width, 20, Math.max(1, 20 * found.weights[at])],
          value,
          `${site}.value`,
          `${found.kv_head}, ${found.sources[at]}`,
        );
      else draw(picture, found.mixed, [width, 14, 14], reach(found.mixed), `${site}.mixed`, `${place.h}, ${seen.i}`);
    }
  }
}
