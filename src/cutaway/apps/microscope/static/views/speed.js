// Measured: how fast the model writes on this machine, beside what its memory would allow.
// In: a model, bits, tokens before; the server measures when asked to. Out: sentences, a bar of where a token's time goes.

import { ask } from "../core/api.js";
import { css, tone } from "../core/colour.js";
import { fill, h, isNarrow, svg } from "../core/dom.js";
import { isSaved } from "../core/saved.js";
import { count, duration, figures, percent, size } from "../core/text.js";

/**
 * @typedef {{bits: number, context: number, seconds: number, tokens_per_second: number, per_token: number, rate: number,
 *   bandwidth: number, share: number, limit: string, fits_cache: boolean, parts: {name: string, seconds: number}[]}} Measured
 */

/** @type {Record<string, [string, number]>} */
const TONES = {
  weights: ["learned-share", 0.78],
  cache: ["computed-share", 0.55],
  attention: ["computed-share", 0.7],
  norms: ["computed-share", 0.4],
  sampling: ["computed-share", 0.25],
};

export class Speed {
  /** @param {import("../core/context.js").Context} context @param {HTMLElement} element */
  constructor(context, element) {
    this.context = context;
    this.element = element;
    /** @type {Set<string>} what was asked to be measured */
    this.wanted = new Set();
    element.addEventListener("click", (event) => {
      if (!(event.target instanceof HTMLElement) || !event.target.closest("[data-measure]")) return;
      this.wanted.add(this.key);
      context.redraw();
    });
    this.key = "";
  }

  /** @param {string} model @param {{fits_cache?: boolean, processor_cache?: number | null}} cost */
  draw(model, cost) {
    const { context } = this,
      { bits, context: before } = context.place;
    this.key = `speed ${JSON.stringify([model, bits, before])}`;
    const cached =
      cost.fits_cache && cost.processor_cache
        ? `All that a pass reads fits into the processor’s cache (${size(cost.processor_cache)}): it does not wait for memory, and may be faster than memory allows.`
        : "";
    /** @type {(HTMLElement | SVGElement)[]} */
    const paragraphs = [];
    if (this.wanted.has(this.key)) {
      context.refused = null;
      const found = /** @type {Measured | undefined} */ (
        context.want(this.key, (signal) => ask("/api/speed", { model, bits, context: before }, signal))
      );
      if (found) paragraphs.push(...this.show(found));
      else paragraphs.push(h("p", { class: "second" }, context.refused ?? "The model writes, and the clock runs."));
    } else if (!isSaved())
      paragraphs.push(h("p", {}, h("button", { class: "link", data: { measure: "1", key: "measure" } }, "Measure one text")));
    fill(this.element, h("h2", {}, "Measured on this machine"), ...paragraphs, h("p", { class: "cap" }, cached));
  }

  /** @param {Measured} found */
  show(found) {
    return [
      h(
        "p",
        { class: "measured" },
        `One text with its cache, in ${found.bits} bits, ${count(found.context)} tokens before: `,
        h("b", {}, `${figures(found.tokens_per_second)} tokens/s`),
        `. That is ${size(found.per_token)} a token, ${size(found.rate, "B/s")} of the ${size(found.bandwidth, "B/s")} that memory gives, `,
        `and ${percent(found.share)} of what ${found.limit} allows.`,
      ),
      this.bar(found),
      h(
        "p",
        { class: "cap" },
        found.parts.map(({ name, seconds }) => `${name} ${duration(seconds)}`).join(" · "),
        ". Dispatch is the rest: activations, rotations, calls.",
      ),
    ];
  }

  /** Where the time of a token goes. @param {Measured} found */
  bar(found) {
    const left = isNarrow() ? 76 : 112,
      room = Math.max(80, this.element.clientWidth - left - 76),
      out = [svg("text", { x: 0, y: 18, fill: css("ink") }, "a token")];
    let at = left;
    for (const { name, seconds } of found.parts) {
      const wide = (room * seconds) / found.seconds,
        [ramp, value] = TONES[name] ?? ["", 0];
      if (wide < 0.5) continue;
      out.push(
        svg("rect", {
          x: at + 0.5,
          y: 4.5,
          width: Math.max(1, wide - 1),
          height: 19,
          fill: ramp ? tone(ramp, value) : "none",
          stroke: ramp ? "none" : css("ink"),
        }),
      );
      if (wide > 70)
        out.push(
          svg(
            "text",
            { x: at + 8, y: 18, "font-size": 11, fill: css(name === "weights" || name === "attention" ? "page" : "ink") },
            name,
          ),
        );
      at += wide;
    }
    out.push(svg("text", { x: at + 8, y: 18, fill: css("ink") }, duration(found.seconds)));
    const label = found.parts.map(({ name, seconds }) => `${name} ${duration(seconds)}`).join(", ");
    return svg(
      "svg",
      { width: left + room + 76, height: 30, role: "img", "font-size": 13, "aria-label": `a token: ${label}` },
      ...out,
    );
  }
}
