// Why a logit is what it is: a plain sum of parts, in the order of the way (direct logit attribution, Elhage et al. 2021).
// In: a token, a word, another word to subtract. Out: bars that lead to their causes.

import { closest, fill, h, isNarrow, svg } from "../core/dom.js";
import { readableAll } from "../core/reading.js";
import { tableLink } from "../core/table.js";
import { exact, fixed, spoken, token as drawn } from "../core/text.js";
import { across, down, nameOf } from "./why_bars.js";
import { askWhy, distributionAt, vocabulary } from "./sampling.js";

/** @typedef {import("../core/types.js").Part} Part */
/** @typedef {import("../core/types.js").Why} WhyAnswer */

export class Why {
  id = "why";
  title = "Why";

  /**
   * @param {import("../core/context.js").Context} context
   * @param {(stack: number, block: "attention" | "cross", layer: number, head: number) => void} unfold
   */
  constructor(context, unfold) {
    this.context = context;
    this.unfold = unfold;
    this.rail = h("div");
    this.against = h("div", { class: "ctl seg", role: "group", "aria-label": "Compare with" });
    this.picture = svg("svg", { class: "fall", role: "img", tabindex: "0" });
    this.figure = h(
      "div",
      {},
      this.picture,
      tableLink(() => [this.table()], "the parts"),
    );
    this.against.addEventListener("click", (event) => {
      const button = closest(event.target, "button");
      if (button) context.set({ against: Number(button.dataset.id) });
    });
    this.picture.addEventListener("click", (event) => this.follow(event.target));
    this.picture.addEventListener("keydown", (event) => {
      const key = /** @type {KeyboardEvent} */ (event);
      if (key.key === "Enter") this.follow(event.target);
      if (key.key !== "ArrowLeft" && key.key !== "ArrowRight") return;
      key.preventDefault();
      key.stopPropagation();
      const parts = /** @type {SVGElement[]} */ ([...this.picture.querySelectorAll("[data-part]")]),
        at = parts.indexOf(/** @type {any} */ (document.activeElement));
      parts[Math.max(0, Math.min(parts.length - 1, at + (key.key === "ArrowRight" ? 1 : -1)))]?.focus();
    });
    readableAll(this.picture, "[data-part]", (part) => this.read(Number(part.dataset.part)));
    /** @type {Part[]} */
    this.parts = [];
    this.total = 0;
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.stack, place.i, place.word, place.against, place.l, place.h];
  }

  draw() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      { place } = context,
      token = this.context.predicting;
    if (!run.stacks[run.stacks.length - 1].next.length) return fill(this.rail, h("p", {}, "This model predicts no words."));
    const found = distributionAt(context, token),
      texts = vocabulary(context);
    if (!found || !texts) return;
    const word = place.word >= 0 && place.word < texts.length ? place.word : found.order[0],
      against = place.against === word || place.against >= texts.length ? -1 : place.against;
    const why = /** @type {WhyAnswer | undefined} */ (
      context.of(
        run,
        `why ${token} ${word} ${against}`,
        (signal) => askWhy(run.run, { token, word, against: against < 0 ? null : against }, signal),
        "why",
      )
    );
    if (!why) return;
    this.parts = why.parts;
    this.total = why.total - (why.against_total ?? 0);
    this.drawRail(texts, word, against, [...found.order.slice(0, 3)]);
    const width = this.figure.clientWidth,
      bars = { parts: this.parts, total: this.total, isPlace: (/** @type {Part} */ part) => this.isPlace(part) };
    const { shapes, height } = isNarrow() ? down(bars, width) : across(bars, width);
    this.show(shapes, width, height);
    this.picture.setAttribute(
      "aria-label",
      `${why.parts.length} parts add up to ${fixed(this.total)}. Arrow keys move between them, Enter leads to the cause.`,
    );
  }

  /** @param {string[]} texts @param {number} word @param {number} against @param {number[]} best */
  drawRail(texts, word, against, best) {
    const ranked = [...this.parts]
        .sort((a, b) => b.value - a.value)
        .slice(0, 2)
        .map(nameOf),
      others = best.filter((id) => id !== word).slice(0, 2);
    if (against >= 0 && !others.includes(against)) others.push(against);
    fill(
      this.against,
      h("button", { data: { id: -1, key: "alone" }, "aria-pressed": String(against < 0) }, "alone"),
      ...others.map((id) =>
        h(
          "button",
          { data: { id, key: `against${id}` }, "aria-pressed": String(id === against) },
          "against ",
          ...drawn(texts[id]),
        ),
      ),
    );
    fill(
      this.rail,
      h(
        "p",
        {},
        "The logit of ",
        ...drawn(texts[word]),
        ...(against >= 0 ? [" minus that of ", ...drawn(texts[against])] : []),
        ` is a plain sum. Here are its ${this.parts.length} parts in the order of the way. ${capital(ranked[0] ?? "")} and ${ranked[1] ?? ""} push most.`,
      ),
      this.against,
      h("p", { class: "mono" }, `lm.lens.contributions(text, position=${this.context.predicting})`),
    );
  }

  /** @param {(Element | null)[]} parts @param {number} width @param {number} height */
  show(parts, width, height) {
    this.picture.setAttribute("width", String(width));
    this.picture.setAttribute("height", String(height));
    const at = document.activeElement instanceof SVGElement ? document.activeElement.dataset.part : undefined;
    this.picture.replaceChildren(...parts.filter((part) => part !== null));
    if (at !== undefined) /** @type {SVGElement | null} */ (this.picture.querySelector(`[data-part="${at}"]`))?.focus();
  }

  /** @param {Part} part */
  isPlace(part) {
    const { place } = this.context,
      kind = place.block === "cross" ? "cross" : "head";
    return part.kind === kind && part.layer === place.l && part.head === place.h;
  }

  /** @param {number} k @returns {import("../core/reading.js").Reading | null} */
  read(k) {
    const part = this.parts[k],
      { context } = this,
      run = context.run;
    if (!part || !run) return null;
    const stack = run.stacks[run.stacks.length - 1],
      prefix = stack.name ? `${stack.name}.` : "",
      token = this.context.predicting;
    const block = part.kind === "feedforward" ? "feedforward" : part.kind === "cross" ? "cross" : "attention";
    const isHead = part.kind === "head" || part.kind === "cross",
      name = part.kind === "token" ? `the embedding of ${spoken(stack.tokens[token])}` : nameOf(part);
    const site =
      part.layer === null || part.layer === undefined
        ? `${prefix}embedding.${part.kind}[${token}]`
        : `${prefix}layers.${part.layer}.${block}.${isHead ? `mixed[${part.head}, ${token}]` : `output[${token}]`}`;
    return {
      says: `${name}: ${part.value < 0 ? "" : "+"}${exact(part.value)}`,
      site: part.kind === "bias" ? undefined : site,
      note: isHead ? "times its output weights, the final norm and the row of the word; a click unfolds this head" : "",
    };
  }

  /** A bar leads to its cause. @param {EventTarget | null} target */
  follow(target) {
    const element = target instanceof Element ? /** @type {SVGElement | null} */ (target.closest("[data-part]")) : null,
      part = element && this.parts[Number(element.dataset.part)];
    if (!part) return;
    const last = /** @type {import("../core/types.js").Run} */ (this.context.run).stacks.length - 1;
    if (part.kind === "head" || part.kind === "cross") {
      this.unfold(last, part.kind === "cross" ? "cross" : "attention", part.layer ?? 0, part.head ?? 0);
      location.hash = "layers";
    } else if (part.kind === "feedforward") {
      this.context.set({ stack: last, i: this.context.predicting, l: part.layer ?? 0, u: -1 });
      location.hash = "feedforward";
    } else if (part.kind === "token" || part.kind === "position")
      location.hash = part.kind === "token" ? "embedding" : "position";
  }

  /** @returns {import("../core/table.js").Table} */
  table() {
    return {
      title: `${this.parts.length} parts add up to ${fixed(this.total, 4)}`,
      head: ["part", "value"],
      rows: this.parts.map((part) => [nameOf(part), exact(part.value)]),
    };
  }
}

/** @param {string} text */
function capital(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : text;
}
