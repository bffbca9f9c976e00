// Why a logit is what it is: a plain sum of parts, in the order of the way (direct logit attribution, Elhage et al. 2021).
// In: a token, a word, another word to subtract. Out: bars that lead to their causes.

import { css, tone } from "../core/colour.js";
import { closest, fill, h, isNarrow, svg } from "../core/dom.js";
import { readableAll } from "../core/reading.js";
import { tableLink } from "../core/table.js";
import { exact, fixed, signed, spoken, token as drawn } from "../core/text.js";
import { askWhy, distributionAt, vocabulary } from "./sampling.js";

/** @typedef {import("../core/types.js").Part} Part */
/** @typedef {import("../core/types.js").Why} WhyAnswer */

const TALL = 236, LABELLED = .2;

export class Why {
  id = "why";
  title = "Why";

  /** @param {import("../core/context.js").Context} context @param {(stack: number, block: "attention" | "cross", layer: number, head: number) => void} unfold */
  constructor(context, unfold) {
    this.context = context;
    this.unfold = unfold;
    this.rail = h("div");
    this.against = h("div", { class: "ctl seg", role: "group", "aria-label": "Compare with" });
    this.picture = svg("svg", { class: "fall", role: "img", tabindex: "0" });
    this.figure = h("div", {}, this.picture, tableLink(() => [this.table()], "the parts"));
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
      const parts = /** @type {SVGElement[]} */ ([...this.picture.querySelectorAll("[data-part]")]), at = parts.indexOf(/** @type {any} */ (document.activeElement));
      parts[Math.max(0, Math.min(parts.length - 1, at + (key.key === "ArrowRight" ? 1 : -1)))]?.focus();
    });
    readableAll(this.picture, "[data-part]", (part) => this.read(Number(part.dataset.part)));
    /** @type {Part[]} */
    this.parts = [];
  }

  get token() {
    const { run, place } = this.context, last = /** @type {import("../core/types.js").Run} */ (run).stacks.length - 1;
    return place.stack === last ? place.i : /** @type {import("../core/types.js").Run} */ (run).stacks[last].tokens.length - 1;
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.stack, place.i, place.word, place.against, place.l, place.h];
  }

  draw() {
    const { context } = this, run = /** @type {import("../core/types.js").Run} */ (context.run), { place } = context, token = this.token;
    if (!run.stacks[run.stacks.length - 1].next.length) return fill(this.rail, h("p", {}, "This model predicts no words."));
    const found = distributionAt(context, token), texts = vocabulary(context);
    if (!found || !texts) return;
    const word = place.word >= 0 && place.word < texts.length ? place.word : found.order[0], against = place.against === word || place.against >= texts.length ? -1 : place.against;
    const why = /** @type {WhyAnswer | undefined} */ (context.of(run, `why ${token} ${word} ${against}`, (signal) =>
      askWhy(run.run, { token, word, against: against < 0 ? null : against }, signal)));
    if (!why) return;
    this.parts = why.parts;
    this.total = why.total - (why.against_total ?? 0);
    this.drawRail(texts, word, against, [...found.order.slice(0, 3)]);
    if (isNarrow()) this.drawDown();
    else this.drawAcross();
    this.picture.setAttribute("aria-label", `${why.parts.length} parts add up to ${fixed(this.total)}. Arrow keys move between them, Enter leads to the cause.`);
  }

  /** @param {string[]} texts @param {number} word @param {number} against @param {number[]} best */
  drawRail(texts, word, against, best) {
    const ranked = [...this.parts].sort((a, b) => b.value - a.value).slice(0, 2).map(nameOf), others = best.filter((id) => id !== word).slice(0, 2);
    if (against >= 0 && !others.includes(against)) others.push(against);
    fill(this.against, h("button", { data: { id: -1, key: "alone" }, "aria-pressed": String(against < 0) }, "alone"),
      ...others.map((id) => h("button", { data: { id, key: `against${id}` }, "aria-pressed": String(id === against) }, "against ", ...drawn(texts[id]))));
    fill(this.rail, h("p", {}, "The logit of ", ...drawn(texts[word]), ...(against >= 0 ? [" minus that of ", ...drawn(texts[against])] : []),
      ` is a plain sum. Here are its ${this.parts.length} parts in the order of the way. ${capital(ranked[0] ?? "")} and ${ranked[1] ?? ""} push most.`),
    this.against, h("p", { class: "mono" }, `lm.attribute(position=${this.token})`));
  }

  /** Where each bar begins and ends. */
  steps() {
    let sum = 0;
    return this.parts.map(({ value }) => { const from = sum; sum += value; return [from, sum]; });
  }

  bounds() {
    const ends = this.steps().flat(), total = /** @type {number} */ (this.total);
    return [Math.min(0, total, ...ends), Math.max(1e-9, total, ...ends)];
  }

  drawAcross() {
    const width = this.figure.clientWidth, [low, high] = this.bounds(), y = (/** @type {number} */ v) => 24 + (TALL - 64) * (high - v) / (high - low);
    const groups = grouped(this.parts), spaces = groups.length, unit = width / (this.parts.length + 2.4 + .28 * spaces), out = [], steps = this.steps(), total = /** @type {number} */ (this.total);
    /** @type {number[]} */
    const left = [];
    let x = 0;
    for (const [g, group] of groups.entries()) {
      if (g) x += .28 * unit;
      for (const part of group.parts) { left[part] = x; x += unit; }
      if (group.name) out.push(svg("text", { x: left[group.parts[0]], y: TALL - 2, "font-size": 11, fill: css("ink-2") }, unit * group.parts.length > 44 ? group.name : group.short),
        svg("path", { d: `M${left[group.parts[0]]} ${TALL - 15.5}H${x - 3}`, stroke: css("rule-2") }));
    }
    out.unshift(svg("path", { d: `M0 ${y(0)}H${width}`, stroke: css("rule") }));
    this.parts.forEach((part, k) => out.push(this.bar(part, k, { x: left[k], next: left[k + 1] ?? x, wide: Math.max(1, unit - 3), a: y(steps[k][0]), b: y(steps[k][1]), unit })));
    const at = x + unit * .5, top = Math.min(y(total), y(0)), wide = unit * .9;
    out.push(svg("rect", { x: at, y: top, width: wide, height: Math.abs(y(0) - y(total)), fill: "none", stroke: css("ink") }),
      svg("text", { x: at + wide / 2, y: top - 5, "font-size": 13, "text-anchor": "middle", fill: css("ink") }, fixed(total)),
      svg("text", { x: at + wide / 2, y: TALL - 22, "font-size": 11, "text-anchor": "middle", fill: css("ink-2") }, "sum"));
    this.show(out, width, TALL);
  }

  /** @param {Part} part @param {number} k @param {{x: number, next: number, wide: number, a: number, b: number, unit: number}} box */
  bar(part, k, { x, next, wide, a, b, unit }) {
    const { value } = part, top = Math.min(a, b), up = tone("computed-share", .58), down = tone("computed-share", .12), isPlace = this.isPlace(part);
    const isNamed = unit > 13 && (unit > 34 || part.layer !== null && part.layer !== undefined), label = shortOf(part);
    return svg("g", { "data-part": k, tabindex: -1 },
      svg("rect", { x, y: 0, width: unit, height: TALL - 16, fill: "transparent" }),
      svg("rect", { x, y: top, width: wide, height: Math.max(1, Math.abs(a - b)), fill: value >= 0 ? up : down, stroke: value < 0 ? up : null }),
      svg("path", { d: `M${x + wide} ${b}H${next}`, stroke: css("rule-2") }),
      isNamed || isPlace ? svg("text", { x: x + wide / 2, y: TALL - 22, "font-size": 11, "text-anchor": "middle", fill: css(isPlace ? "look" : "ink-3") }, label) : null,
      Math.abs(value) >= LABELLED && (unit > 30 || Math.abs(value) > this.large()) ? svg("text", { x: x + wide / 2, y: top - 5, "font-size": 11, "text-anchor": "middle", fill: css("ink-2") }, signed(value)) : null);
  }

  /** Where bars are thin, only the largest are written. */
  large() {
    return [...this.parts].map(({ value }) => Math.abs(value)).sort((a, b) => b - a)[Math.min(7, this.parts.length - 1)] ?? 0;
  }

  drawDown() {
    const width = this.figure.clientWidth, row = 17, left = 124, wide = width - left - 44, [low, high] = this.bounds(), out = [], steps = this.steps();
    const x = (/** @type {number} */ v) => left + wide * (v - low) / (high - low), total = /** @type {number} */ (this.total);
    let y = 0;
    for (const group of grouped(this.parts)) {
      for (const k of group.parts) {
        const part = this.parts[k], [a, b] = steps[k], start = Math.min(x(a), x(b));
        out.push(svg("g", { "data-part": k, tabindex: -1 },
          svg("rect", { x: 0, y, width, height: row, fill: "transparent" }),
          svg("text", { x: 0, y: y + 12, "font-size": 11, fill: css(this.isPlace(part) ? "look" : "ink-2") }, nameOf(part)),
          svg("rect", { x: start, y: y + 2, width: Math.max(1, Math.abs(x(a) - x(b))), height: row - 5, fill: tone("computed-share", part.value >= 0 ? .58 : .12), stroke: part.value < 0 ? tone("computed-share", .58) : null }),
          Math.abs(part.value) >= LABELLED ? svg("text", { x: Math.max(x(a), x(b)) + 5, y: y + 12, "font-size": 11, fill: css("ink-3") }, signed(part.value)) : null));
        y += row;
      }
      y += 5;
    }
    out.push(svg("text", { x: 0, y: y + 12, "font-size": 11, fill: css("ink") }, "sum"),
      svg("rect", { x: Math.min(x(0), x(total)), y: y + 2, width: Math.abs(x(total) - x(0)), height: row - 5, fill: "none", stroke: css("ink") }),
      svg("text", { x: Math.max(x(0), x(total)) + 5, y: y + 12, "font-size": 11, fill: css("ink") }, fixed(total)));
    this.show(out, width, y + 24);
  }

  /** @param {Element[]} parts @param {number} width @param {number} height */
  show(parts, width, height) {
    this.picture.setAttribute("width", String(width));
    this.picture.setAttribute("height", String(height));
    const at = document.activeElement instanceof SVGElement ? document.activeElement.dataset.part : undefined;
    this.picture.replaceChildren(...parts);
    if (at !== undefined) /** @type {SVGElement | null} */ (this.picture.querySelector(`[data-part="${at}"]`))?.focus();
  }

  /** @param {Part} part */
  isPlace(part) {
    const { place } = this.context, kind = place.block === "cross" ? "cross" : "head";
    return part.kind === kind && part.layer === place.l && part.head === place.h;
  }

  /** @param {number} k @returns {import("../core/reading.js").Reading | null} */
  read(k) {
    const part = this.parts[k], { context } = this, run = context.run;
    if (!part || !run) return null;
    const stack = run.stacks[run.stacks.length - 1], prefix = stack.name ? `${stack.name}.` : "", token = this.token;
    const block = part.kind === "feedforward" ? "feedforward" : part.kind === "cross" ? "cross" : "attention";
    const isHead = part.kind === "head" || part.kind === "cross", name = part.kind === "token" ? `the embedding of ${spoken(stack.tokens[token])}` : nameOf(part);
    const site = part.layer === null || part.layer === undefined ? `${prefix}embedding.${part.kind}[${token}]` : `${prefix}layers.${part.layer}.${block}.${isHead ? `mixed[${part.head}, ${token}]` : `output[${token}]`}`;
    return { says: `${name}: ${part.value < 0 ? "" : "+"}${exact(part.value)}`, site: part.kind === "bias" ? undefined : site, note: isHead ? "times its output weights, the final norm and the row of the word; a click unfolds this head" : "" };
  }

  /** A bar leads to its cause. @param {EventTarget | null} target */
  follow(target) {
    const element = target instanceof Element ? /** @type {SVGElement | null} */ (target.closest("[data-part]")) : null, part = element && this.parts[Number(element.dataset.part)];
    if (!part) return;
    const last = /** @type {import("../core/types.js").Run} */ (this.context.run).stacks.length - 1;
    if (part.kind === "head" || part.kind === "cross") {
      this.unfold(last, part.kind === "cross" ? "cross" : "attention", part.layer ?? 0, part.head ?? 0);
      location.hash = "layers";
    } else if (part.kind === "feedforward") {
      this.context.set({ stack: last, i: this.token, l: part.layer ?? 0, u: -1 });
      location.hash = "feedforward";
    } else if (part.kind === "token" || part.kind === "position") location.hash = part.kind === "token" ? "embedding" : "position";
  }

  /** @returns {import("../core/table.js").Table} */
  table() {
    return { title: `${this.parts.length} parts add up to ${fixed(this.total ?? 0, 4)}`, head: ["part", "value"], rows: this.parts.map((part) => [nameOf(part), exact(part.value)]) };
  }
}

/** @param {Part} part */
function nameOf(part) {
  if (part.layer === null || part.layer === undefined) return part.kind === "bias" ? "biases" : part.kind;
  const what = part.kind === "head" ? `head ${part.head}` : part.kind === "cross" ? `cross head ${part.head}` : part.kind === "feedforward" ? "feed-forward" : part.kind;
  return `layer ${part.layer} ${what}`;
}

/** @param {Part} part */
function shortOf(part) {
  if (part.kind === "feedforward") return "ff";
  return part.kind === "head" ? String(part.head) : part.kind === "cross" ? `×${part.head}` : part.kind;
}

/** Parts by layer, in their order. @param {Part[]} parts */
function grouped(parts) {
  /** @type {{layer: number | null, name: string, short: string, parts: number[]}[]} */
  const groups = [];
  parts.forEach((part, k) => {
    const layer = part.layer ?? null, last = groups[groups.length - 1];
    if (last && last.layer === layer) last.parts.push(k);
    else groups.push({ layer, name: layer === null ? "" : `layer ${layer}`, short: layer === null ? "" : String(layer), parts: [k] });
  });
  return groups;
}

/** @param {string} text */
function capital(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : text;
}
