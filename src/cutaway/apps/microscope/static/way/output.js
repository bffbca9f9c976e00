// From the last vector to one token: chances over the whole vocabulary, cut and sharpened by the sliders, and one throw on a
// line.
// In: the logits behind the place. Out: temperature, top-k, top-p, the throw; a word whose reasons are asked for.

import { css, tone } from "../core/colour.js";
import { arrows, clamp, closest, fill, h, svg } from "../core/dom.js";
import { readableAll } from "../core/reading.js";
import { tableLink } from "../core/table.js";
import { count, fixed, percent, plain, spoken, token as drawn } from "../core/text.js";
import { distributionAt, land, vocabulary } from "./sampling.js";

/** @typedef {import("./sampling.js").Distribution} Distribution */

const LISTED = 14;

export class Output {
  id = "output";
  title = "Output";

  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.rail = h("div");
    this.line = h("div", { class: "throwline" });
    this.dist = h("table", { class: "dist" });
    this.sliders = h("div");
    this.figure = h(
      "div",
      {},
      this.line,
      h("div", { class: "side" }, this.dist, this.sliders),
      tableLink(() => [this.table()], "the chances"),
    );
    /** @type {Distribution | null} */
    this.found = null;
    /** @type {string[]} */
    this.texts = [];
    this.makeSliders();
    this.dist.addEventListener("click", (event) => {
      const row = closest(event.target, "[data-id]");
      if (!row) return;
      context.set({ word: Number(row.dataset.id) });
      location.hash = "why";
    });
    arrows(this.dist, (down) => {
      const buttons = /** @type {HTMLElement[]} */ ([...this.dist.querySelectorAll("button")]),
        at = buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement));
      buttons[clamp(at + down, 0, buttons.length - 1)]?.focus();
    });
    readableAll(this.dist, "[data-id]", (row) => this.read(Number(row.dataset.id)));
  }

  makeSliders() {
    const { context } = this,
      set = (/** @type {keyof import("../core/types.js").Place} */ name) => (/** @type {number} */ value) =>
        context.set({ [name]: value });
    this.temperature = slider(
      "temperature",
      { min: 0.1, max: 2, step: 0.05 },
      "divides the logits: lower is surer",
      set("temperature"),
    );
    this.topk = slider("top-k", { min: 0, max: 100, step: 1 }, "keep the k likeliest", set("topk"));
    this.topp = slider("top-p", { min: 0.1, max: 1, step: 0.01 }, "keep the likeliest until they add up to p", set("topp"));
    this.thrown = h("span", { class: "second" });
    const button = h("button", { class: "link" }, "throw again");
    button.addEventListener("click", () => context.set({ thrown: Math.round(Math.random() * 1e6) / 1e6 }));
    fill(
      this.sliders,
      this.temperature.element,
      this.topk.element,
      this.topp.element,
      h("p", { style: { "margin-top": "20px" } }, button, " ", this.thrown),
    );
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.stack, place.i, place.temperature, place.topk, place.topp, place.thrown];
  }

  draw() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      { place } = context,
      stack = run.stacks[run.stacks.length - 1];
    this.drawRail(run, stack);
    if (!stack.next.length) return fill(this.line, "This model predicts no words.");
    const found = distributionAt(context, this.context.predicting),
      texts = vocabulary(context);
    if (!found || !texts) return;
    [this.found, this.texts] = [found, texts];
    const landed = land(found, place.thrown);
    this.drawLine(found, texts, landed);
    this.drawRows(found, texts, landed);
    this.temperature?.show(place.temperature, fixed(place.temperature));
    this.topk?.show(place.topk, place.topk ? String(place.topk) : "off");
    this.topp?.show(place.topp, place.topp < 1 ? fixed(place.topp) : "off");
    fill(
      /** @type {HTMLElement} */ (this.thrown),
      `${place.thrown.toFixed(3)} lands on `,
      h("span", { class: "ink" }, ...drawn(texts[landed])),
    );
  }

  /** @param {import("../core/types.js").Run} run @param {import("../core/types.js").Stack} stack */
  drawRail(run, stack) {
    const n = stack.tokens.length,
      v = run.model.vocab_size;
    fill(
      this.rail,
      h(
        "p",
        {},
        `The last vector of `,
        h("span", { class: "look" }, ...drawn(stack.tokens[this.context.predicting])),
        ` is compared with all ${count(v)} rows of the table. The logits become chances, and one throw on a line of length 1 picks the token.`,
      ),
      h("p", {}, "Click a word to see which parts made its logit."),
      h("p", { class: "mono" }, `output.logits [${n}, ${v}]`),
    );
  }

  /** @param {Distribution} found @param {string[]} texts @param {number} landed */
  drawLine(found, texts, landed) {
    const width = this.line.clientWidth,
      { thrown } = this.context.place,
      parts = [];
    let at = 0,
      rank = 0;
    for (; rank < Math.min(found.number, 24); rank++) {
      const id = found.order[rank],
        share = found.kept[id],
        x = at * width,
        wide = share * width,
        word = plain(texts[id].trim() || texts[id]);
      at += share;
      if (wide < 1.2) continue;
      parts.push(
        svg("rect", {
          x: x.toFixed(1),
          y: 0,
          width: Math.max(0.6, wide - 1).toFixed(1),
          height: 14,
          fill: tone("computed-share", id === landed ? 0.6 : 0.16),
        }),
      );
      if (wide > word.length * 7 + 10)
        parts.push(
          svg("text", { x: (x + 5).toFixed(1), y: 30, "font-size": 11, fill: css(id === landed ? "ink" : "ink-3") }, word),
        );
    }
    const rest = width - at * width;
    if (rank < found.number && rest > 2)
      parts.push(
        svg("rect", { x: at * width, y: 0, width: rest, height: 14, fill: tone("computed-share", 0.07) }),
        rest > 60
          ? svg(
              "text",
              { x: at * width + 5, y: 30, "font-size": 11, fill: css("ink-3") },
              rest > 110 ? "all the others" : "others",
            )
          : null,
      );
    const x = clamp(thrown * width, 1, width - 1);
    parts.push(
      svg("path", { d: `M${x} -4V18`, stroke: css("look"), "stroke-width": 1.5 }),
      svg("circle", { cx: x, cy: -4, r: 3, fill: css("look") }),
    );
    fill(
      this.line,
      svg(
        "svg",
        { width, height: 44, role: "img", "aria-label": `The throw ${thrown.toFixed(3)} lands on ${spoken(texts[landed])}` },
        ...parts,
      ),
    );
  }

  /** @param {Distribution} found @param {string[]} texts @param {number} landed */
  drawRows(found, texts, landed) {
    const { place } = this.context,
      rows = [...found.order.slice(0, LISTED)],
      isMoved = place.temperature !== 1 || place.topk > 0 || place.topp < 1;
    const most = Math.max(...rows.slice(0, 12).map((id) => Math.max(found.kept[id], found.plain[id])));
    const share = (/** @type {number} */ v) => ({ width: `${(100 * v) / most}%` }),
      rest = found.order.length - rows.length,
      left = Math.max(0, found.number - rows.length);
    const kept = 1 - rows.reduce((sum, id) => sum + found.kept[id], 0);
    fill(
      this.dist,
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th"),
          h("th", { class: "num logit", scope: "col" }, "logit"),
          h("th", { class: "of", scope: "col" }, `chance${isMoved ? " (outline: before the sliders)" : ""}`),
          h("th", { class: "pc" }),
        ),
      ),
      h(
        "tbody",
        {},
        ...rows.map((id, rank) =>
          h(
            "tr",
            { class: [found.kept[id] ? "" : "cut", id === landed ? "on" : ""].join(" ").trim() || false, data: { id } },
            h(
              "td",
              {},
              h(
                "button",
                {
                  tabindex: rank ? -1 : 0,
                  data: { key: `word${id}` },
                  "aria-label": `${spoken(texts[id])}, ${percent(found.kept[id])}: show which parts made its logit`,
                },
                ...drawn(texts[id]),
              ),
            ),
            h("td", { class: "num" }, fixed(found.logits[id])),
            h(
              "td",
              { class: "of" },
              h(
                "div",
                { class: "bar" },
                h("i", { style: share(found.kept[id]) }),
                isMoved ? h("u", { style: share(found.plain[id]) }) : null,
              ),
            ),
            h("td", { class: "num" }, found.kept[id] ? percent(found.kept[id]) : "cut"),
          ),
        ),
        rest > 0
          ? h(
              "tr",
              { class: "quiet" },
              h("td", { colspan: 2 }, `${count(rest)} others`),
              h("td", { class: "of" }, left ? `${count(left)} kept` : "all cut"),
              h("td", { class: "num" }, percent(left ? Math.max(0, kept) : 0)),
            )
          : null,
      ),
    );
  }

  /** @param {number} id @returns {import("../core/reading.js").Reading | null} */
  read(id) {
    const { found, context } = this;
    if (!found) return null;
    const whole = found.whole[id],
      kept = found.kept[id],
      isSame = Math.abs(whole - kept) < 1e-12;
    return {
      says: `logit ${fixed(found.logits[id], 4)} ÷ ${fixed(context.place.temperature)}, exp, ÷ sum = ${percent(whole)}${isSame ? "" : kept ? `, ÷ kept = ${percent(kept)}` : ", then cut"}`,
      site: `output.logits[${this.context.predicting}, ${id}]`,
      note: "a click shows which parts made this logit",
    };
  }

  /** @returns {import("../core/table.js").Table} */
  table() {
    const { found, texts } = this;
    if (!found) return { title: "Chances", head: [], rows: [] };
    return {
      title: `The ${Math.min(200, found.order.length)} likeliest of ${count(found.order.length)}`,
      head: ["word", "id", "logit", "chance at temperature 1", "chance kept"],
      rows: [...found.order.slice(0, 200)].map((id) => [
        h("span", {}, ...drawn(texts[id])),
        String(id),
        fixed(found.logits[id], 4),
        found.plain[id].toFixed(6),
        found.kept[id].toFixed(6),
      ]),
    };
  }
}

/**
 * @param {string} name
 * @param {{min: number, max: number, step: number}} reach
 * @param {string} note
 * @param {(value: number) => void} set
 */
function slider(name, reach, note, set) {
  const input = /** @type {HTMLInputElement} */ (h("input", { type: "range", id: `slide-${name}`, ...reach })),
    value = h("span");
  input.addEventListener("input", () => set(Number(input.value)));
  return {
    element: h("div", { class: "sl" }, h("span", {}, h("label", { for: input.id }, name), value), input, h("small", {}, note)),
    show: (/** @type {number} */ number, /** @type {string} */ text) => {
      input.value = String(number);
      value.textContent = text;
      input.setAttribute("aria-valuetext", text);
    },
  };
}
