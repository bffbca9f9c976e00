// A query meets a key: dimension by dimension, multiplied and added up. In: both vectors. Out: two strips, bars, and the sum.

import { bytes, css } from "../core/colour.js";
import { canvas, fill, h } from "../core/dom.js";
import { cells, fit, reach, remember } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { exact, fixed } from "../core/text.js";

const TALL = 56;

export class Product {
  constructor() {
    this.strips = ["query", "key", "product"].map((name) => canvas({ role: "img", "aria-label": name }));
    this.sum = h("span", { class: "num", style: { "text-align": "right" } });
    this.element = h(
      "div",
      { class: "prod" },
      h("span", {}, "query"),
      this.strips[0],
      h("span", { class: "num wideonly" }),
      h("span", {}, "key"),
      this.strips[1],
      h("span", { class: "num wideonly" }),
      h("span", {}, "product"),
      this.strips[2],
      this.sum,
    );
    for (const strip of this.strips) readable(strip);
  }

  /**
   * @param {import("../core/types.js").Head} head @param {number} at which of its sources @param {string} site
   * @param {{head: number, i: number, j: number}} place @param {boolean} isNarrow
   */
  draw(head, at, site, { head: own, i, j }, isNarrow) {
    const width = Math.max(80, this.element.clientWidth - (isNarrow ? 76 : 176)),
      key = head.keys[at],
      scale = Math.max(reach(head.query), reach(key));
    const products = head.query.map((q, d) => q * key[d]),
      sum = products.reduce((a, b) => a + b, 0);
    for (const [k, numbers] of [head.query, key].entries()) {
      const pen = fit(this.strips[k], width, 14),
        name = k ? `${site}.key` : `${site}.query`,
        index = k ? `${head.kv_head}, ${j}` : `${own}, ${i}`;
      cells(
        pen,
        {
          x: 0,
          y: 0,
          width,
          height: 14,
          rows: 1,
          columns: numbers.length,
          ramp: "computed-signed",
          label: k ? "key" : "query",
          value: (_, d) => numbers[d],
          site: (_, d) => `${name}[${index}, ${d}]`,
        },
        scale,
      );
    }
    this.bars(products, width, head.query, key);
    fill(this.sum, `= ${fixed(sum)}`);
    this.strips[2].setAttribute("aria-label", `the products add up to ${fixed(sum)}`);
  }

  /** @param {number[]} products @param {number} width @param {number[]} query @param {number[]} key */
  bars(products, width, query, key) {
    const pen = fit(this.strips[2], width, TALL),
      wide = width / products.length,
      most = Math.max(1e-9, ...products.map(Math.abs)),
      ramp = bytes("computed-signed");
    const tone = (/** @type {number} */ step) => `rgb(${ramp.slice(3 * step, 3 * step + 3).join()})`;
    pen.fillStyle = css("rule-2");
    pen.fillRect(0, TALL / 2, width, 1);
    products.forEach((v, d) => {
      const high = ((TALL / 2 - 1) * Math.abs(v)) / most;
      pen.fillStyle = tone(v > 0 ? 215 : 128);
      pen.fillRect(d * wide + 1, v > 0 ? TALL / 2 - high : TALL / 2 + 1, Math.max(1, wide - 2), high);
    });
    remember(this.strips[2], {
      x: 0,
      y: 0,
      width,
      height: TALL,
      rows: 1,
      columns: products.length,
      ramp: "computed-signed",
      label: "product",
      value: (_, d) => products[d],
      site: (_, d) => `dimension ${d} of the head`,
      says: (_, d) => `${fixed(query[d], 3)} × ${fixed(key[d], 3)} = ${exact(products[d])}`,
    });
  }
}
