// Side by side: two texts, two models, or two checkpoints of one. Every row and picture splits in A over B, with A − B as a
// third.
// In: the run and a second one. Out: where and how far they lie apart.

import { askRun } from "../core/api.js";
import { closest, fill, h } from "../core/dom.js";
import { tableLink, fromCanvases } from "../core/table.js";
import { token as drawn } from "../core/text.js";
import { BesideHeads } from "./beside_heads.js";
import { BesideStreams } from "./beside_streams.js";
import { lensTable, partsTable, wordsTable } from "./beside_tables.js";

/** @typedef {import("../core/context.js").Context} Context */
/** @typedef {import("../core/types.js").Run} Run */

/** Whether a second run is wanted. @param {import("../core/types.js").Place} place */
export function isBeside(place) {
  return place.b !== "" || place.bmodel !== "";
}

/** The words backwards, but for the last one, whose next token is asked for. @param {string} text */
export function reordered(text) {
  const words = text.split(/(\s+)/),
    last = words.findLastIndex((word) => word.trim() !== ""),
    places = words.flatMap((word, k) => (word.trim() && k !== last ? [k] : []));
  const turned = [...words];
  places.forEach((k, n) => (turned[k] = words[places[places.length - 1 - n]]));
  return turned.join("");
}

export class Beside {
  id = "beside";
  title = "Side by side";

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.rail = h("div");
    this.text = /** @type {HTMLInputElement} */ (
      h("input", { class: "field", type: "text", "aria-label": "Text B", spellcheck: "false" })
    );
    this.model = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": "Model B" }));
    this.close = h("button", { class: "link" }, "close");
    this.controls = h(
      "div",
      { class: "beside" },
      h("label", {}, "B reads ", this.text),
      h("label", {}, "in ", this.model),
      this.close,
    );
    this.words = h("div");
    this.streams = new BesideStreams(context);
    this.heads = new BesideHeads(context);
    this.tables = h("div");
    this.says = h("p", { class: "second" });
    this.figure = h(
      "div",
      {},
      this.controls,
      this.says,
      this.words,
      this.streams.element,
      this.heads.element,
      this.tables,
      tableLink(() => fromCanvases([...this.streams.canvases(), ...this.heads.canvases()]), "both sides"),
    );
    /** @type {{name: string, kind: string}[]} */
    this.models = [];
    this.listen();
  }

  listen() {
    const { context } = this;
    this.text.addEventListener("change", () =>
      context.set({ b: this.text.value === context.place.text ? "" : this.text.value, bmodel: this.model.value }),
    );
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.text.blur();
    });
    this.model.addEventListener("change", () => context.set({ bmodel: this.model.value }));
    this.close.addEventListener("click", () => context.set({ b: "", bmodel: "" }));
    this.figure.addEventListener("click", (event) => {
      const head = closest(event.target, "[data-besidehead]");
      if (!head) return;
      const [l, number] = (head.dataset.besidehead ?? "0.0").split(".").map(Number);
      context.set({ l, h: number });
    });
  }

  /** Begin with the same text and the same model: what differs is then chosen, or is what was switched off. */
  begin() {
    this.context.set({ bmodel: this.context.place.model });
  }

  /** The same words in another order, the last one in its place; positions are as on the other side. */
  reorder() {
    this.context.set({ b: reordered(this.context.place.text), bmodel: "" });
    requestAnimationFrame(() => document.getElementById(this.id)?.scrollIntoView());
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.b, place.bmodel, place.stack, place.i, place.c, place.l, place.h, place.word, this.context.rows()];
  }

  draw() {
    const { context } = this,
      { place } = context,
      run = /** @type {Run} */ (context.run);
    if (!isBeside(place)) return;
    this.drawControls();
    const asked = {
      model: place.bmodel || place.model,
      text: place.b || place.text,
      target: null,
      positions: place.b === "" || place.positions, // another text is read as this one is
      edits: [],
      more: [],
    };
    const other = /** @type {Run | undefined} */ (
      context.want(`beside ${JSON.stringify(asked)}`, (signal) => askRun(asked, signal))
    );
    if (!other) return;
    context.other = other;
    if (other.model.kind !== run.model.kind) {
      this.says.textContent =
        "One of them has two stacks and the other has one: their rows are not of a kind. Choose another model.";
      return;
    }
    const isSame = other.model.d_model === run.model.d_model && other.model.num_layers === run.model.num_layers;
    this.says.textContent =
      other.run === run.run
        ? "A and B are the same run. Write another text for B, choose another model, or switch a head off above."
        : isSame
          ? ""
          : "The two models differ in size, so there is no difference to draw: A stands over B.";
    this.drawWords(run, other);
    this.drawRail(run, other);
    this.streams.draw(run, other);
    this.heads.draw(run, other);
    fill(this.tables, lensTable(context, run, other), wordsTable(context, run, other), partsTable(context, run, other));
  }

  drawControls() {
    const { place } = this.context,
      models = this.context.maybe(() => this.context.answers.get("models")?.value?.models ?? []);
    if (document.activeElement !== this.text) this.text.value = place.b || place.text;
    const names = [
      ...new Set([place.model, place.bmodel || place.model, ...models.map((/** @type {{name: string}} */ each) => each.name)]),
    ];
    fill(this.model, ...names.map((name) => h("option", { value: name }, name)));
    this.model.value = place.bmodel || place.model;
  }

  /** @param {Run} run @param {Run} other */
  drawWords(run, other) {
    const { place } = this.context,
      line = (/** @type {Run} */ each, /** @type {string} */ name) => {
        const { tokens } = each.stacks[Math.min(place.stack, each.stacks.length - 1)];
        return h(
          "p",
          {},
          h("span", { class: "quiet" }, `${name} `),
          ...tokens
            .slice(-80)
            .map((token, k) =>
              h("span", { class: k + Math.max(0, tokens.length - 80) === place.i ? "look" : false }, ...drawn(token)),
            ),
        );
      };
    fill(this.words, line(run, "A"), line(other, "B"));
  }

  /** @param {Run} run @param {Run} other */
  drawRail(run, other) {
    fill(
      this.rail,
      h(
        "p",
        {},
        `A is ${run.model.name}, B is ${other.model.name}. Rows are matched by position: token ${this.context.place.i} of A stands over token ${this.context.place.i} of B.`,
      ),
      this.context.place.positions || !this.context.place.b ? null : h("p", {}, "Positions are off in both."),
      h("p", {}, "In each row and picture A stands over B; below them the difference A − B, where 0 is the middle of the ramp."),
    );
  }
}
