// The text, token by token: the first thing that is seen, and the place where it is edited.
// In: the run. Out: a token chosen, a text written, one more token kept.

import { announce, arrows, assign, clamp, closest, fill, h } from "../core/dom.js";
import { tone } from "../core/colour.js";
import { fit } from "../core/draw.js";
import { count, many, percent, spoken, token } from "../core/text.js";
import { nextToken } from "./sampling.js";

/** @typedef {import("../core/context.js").Context} Context */

/** More tokens than these are shown around the place only. */
const MOST = 400;
const PLAIN_START = "Once upon a time";

export class Prompt {
  /** @param {Context} context @param {HTMLElement} ruler */
  constructor(context, ruler) {
    this.context = context;
    this.ruler = ruler;
    this.lines = h("div");
    this.says = h("span", { class: "says", role: "status" });
    this.edit = /** @type {HTMLTextAreaElement} */ (
      h("textarea", { class: "edit", "aria-label": "Edit the text", spellcheck: "false", rows: 1 })
    );
    this.legend = h(
      "div",
      { class: "legend", "aria-label": "What the colours mean" },
      h("span", {}, "− ", h("canvas", { data: { ramp: "learned-signed" } }), " + learned"),
      h("span", {}, "− ", h("canvas", { data: { ramp: "computed-signed" } }), " + computed from your text"),
      h("span", {}, h("i"), "what you are looking at"),
    );
    this.element = h(
      "div",
      { class: "prompt" },
      h("h1", { class: "hidden" }, "The way of a text through the model"),
      this.lines,
      this.edit,
      h("div", { class: "under" }, this.says, this.legend),
    );
    this.saidOf = this.drawn = this.legendOf = "";
    /** @type {"text" | "target"} which text is being edited */
    this.editing = "text";
    this.listen();
  }

  listen() {
    for (const place of [this.lines, this.ruler]) {
      place.addEventListener("click", (event) => {
        const button = closest(event.target, "[data-i]");
        if (button) this.choose(Number(button.dataset.stack), Number(button.dataset.i));
        if (closest(event.target, ".next")) this.keepNext();
      });
      arrows(place, (down, right, event) => {
        const button = closest(event.target, "[data-i]");
        if (!button) return;
        const stack = Number(button.dataset.stack),
          i = Number(button.dataset.i) + down + right;
        this.choose(stack, i);
        requestAnimationFrame(() =>
          requestAnimationFrame(() => {
            /** @type {HTMLElement | null} */ (
              place.querySelector(`[data-stack="${stack}"][data-i="${this.context.place.i}"]`)
            )?.focus();
          }),
        );
      });
    }
    this.says.addEventListener("click", (event) => {
      const button = closest(event.target, "[data-edit]");
      if (button) this.startEditing(button.dataset.edit === "target" ? "target" : "text");
      if (closest(event.target, "[data-start]")) this.write(PLAIN_START);
    });
    this.edit.addEventListener("input", () => this.sayEditing());
    this.edit.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.stopEditing();
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.write(this.edit.value);
      }
    });
  }

  /** @param {number} stack @param {number} i */
  choose(stack, i) {
    const { context } = this,
      tokens = context.run?.stacks[stack]?.tokens;
    if (!tokens) return;
    const at = clamp(i, 0, tokens.length - 1);
    context.set({ stack, i: at, j: -1, u: -1 });
    announce(`Looking at token ${at}, ${spoken(tokens[at])}`);
  }

  keepNext() {
    const { context } = this,
      run = context.run,
      next = run && nextToken(context);
    if (!run || !next) return;
    const { place } = context;
    if (run.model.kind === "pair" && place.target === null && run.stacks[1].tokens.length > 1) {
      return this.hint("The model has said all that it says. Edit the target to make it say something else.");
    }
    context.set({ more: [...place.more, String(next.id)], stack: -1, i: -1, j: -1 });
    announce(`${spoken(next.text)} kept`);
  }

  /** @param {"text" | "target"} which */
  startEditing(which = "text") {
    this.editing = which;
    this.element.classList.add("editing");
    this.edit.value = which === "target" ? this.spokenTarget() : this.spokenText();
    this.edit.setAttribute("aria-label", which === "target" ? "Edit the target" : "Edit the text");
    this.edit.focus();
    this.edit.select();
    this.sayEditing();
  }

  /** The text with the tokens that were kept behind it. */
  spokenText() {
    const { place, run } = this.context;
    return place.more.length && run && run.model.kind !== "pair" && !run.cut ? run.text : place.text;
  }

  /** What the target says, without the marks at its ends. */
  spokenTarget() {
    const { place, run } = this.context;
    return (
      place.target ??
      run?.stacks[run.stacks.length - 1].tokens
        .slice(1)
        .map((t) => t.text)
        .join("") ??
      ""
    );
  }

  stopEditing() {
    this.element.classList.remove("editing");
    this.saidOf = "";
    this.context.redraw();
  }

  /** @param {string} text */
  write(text) {
    if (!text.trim() && this.editing === "text") return this.sayEditing();
    this.element.classList.remove("editing");
    this.saidOf = "";
    this.context.set(
      this.editing === "target"
        ? { target: text, more: [], i: -1, j: -1 }
        : { text, target: null, more: [], i: -1, j: -1, u: -1, pass: 1e9 },
    );
  }

  sayEditing() {
    const text = this.edit.value,
      run = this.context.run,
      reads = run?.model.context ?? 0;
    if (!text.trim()) {
      fill(
        this.says,
        "Nothing to look at yet. Type a few words, or ",
        h("button", { class: "link", data: { start: "1" } }, `start with “${PLAIN_START}”`),
        ".",
      );
    } else if (reads && text.length > 8 * reads) {
      fill(
        this.says,
        `${count(text.length)} characters, about ${count(Math.round(text.length / 4))} tokens. This model reads ${count(reads)}. ` +
          `The last ${count(reads)} will be shown; the text before is greyed.`,
      );
    } else fill(this.says, h("kbd", {}, "Enter"), " runs the model, ", h("kbd", {}, "Esc"), " leaves the text as it was.");
  }

  /** @param {string} text */
  hint(text) {
    fill(this.says, text);
    this.saidOf = "";
  }

  draw() {
    const run = this.context.run;
    this.paintLegend();
    if (!run) return this.withoutRun();
    const { place } = this.context,
      windows = run.stacks.map((stack, s) => stack.tokens.length > MOST && this.context.rows(s)),
      key = JSON.stringify([run.run, place.stack, nextToken(this.context)?.id, windows]);
    if (key !== this.drawn) {
      this.drawn = key;
      fill(this.lines, ...run.stacks.flatMap((stack, s) => this.line(s)));
      fill(this.ruler, ...this.buttons(place.stack));
    }
    this.mark(place.stack, place.i);
    this.drawSays();
  }

  /** A text that cannot be run can still be edited. */
  withoutRun() {
    if (this.context.isRunning || this.element.classList.contains("editing")) return;
    if (this.context.waiting) return fill(this.says, "The model is being opened.");
    fill(this.says, h("button", { class: "link", data: { edit: "text" } }, "edit the text"), " ", h("kbd", {}, "/"));
  }

  /** Show which token is looked at. The others stay as they are: a long text is not made anew for each step.
   * @param {number} stack @param {number} i */
  mark(stack, i) {
    for (const place of [this.lines, this.ruler]) {
      const old = place.querySelector("[data-i].on"),
        now = place.querySelector(`[data-stack="${stack}"][data-i="${i}"]`);
      if (old === now) continue;
      for (const [button, isOn] of /** @type {[Element | null, boolean][]} */ ([
        [old, false],
        [now, true],
      ]))
        if (button) assign(button, { class: isOn && "on", tabindex: isOn ? 0 : -1, "aria-pressed": String(isOn) });
    }
    this.keepInSight();
  }

  /** The token looked at in the ruler, where that is shown. */
  keepInSight() {
    if (this.ruler.closest("[inert]")) return;
    const on = /** @type {HTMLElement | null} */ (this.ruler.querySelector(".on"));
    if (on && this.ruler.scrollWidth > this.ruler.clientWidth) this.ruler.scrollLeft = on.offsetLeft - this.ruler.clientWidth / 2;
  }

  /** @param {number} s */
  line(s) {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run),
      isPair = run.stacks.length > 1;
    const isLast = s === run.stacks.length - 1,
      next = isLast ? nextToken(this.context) : null;
    const cut =
      run.cut && s === 0 ? h("span", { class: "past" }, `${count(run.cut.tokens - run.cut.kept)} tokens before, not read`) : null;
    const dotted =
      next &&
      h(
        "button",
        {
          class: "next pre",
          title: "keep this token (n)",
          "aria-label": `next token: ${spoken(next.text)}, ${percent(next.chance)}; keep it`,
        },
        ...token(next.text),
      );
    return [
      isPair ? h("p", { class: "who" }, s === 0 ? "source" : "target") : null,
      h(
        "div",
        {
          class: `text${isPair && !isLast ? " of-source" : ""}`,
          role: "group",
          "aria-label": `The ${isPair ? (s ? "target" : "source") : "prompt"}, token by token`,
        },
        cut,
        ...this.buttons(s),
        dotted,
      ),
    ].filter((node) => node !== null);
  }

  /** @param {number} s */
  buttons(s) {
    const { tokens } = /** @type {import("../core/types.js").Run} */ (this.context.run).stacks[s];
    const rows = tokens.length > MOST ? this.context.rows(s) : { first: 0, last: tokens.length - 1, before: 0, after: 0 };
    const out = [];
    if (rows.before) out.push(h("span", { class: "past" }, `${many(rows.before, "token")} before`));
    for (let i = rows.first; i <= rows.last; i++) {
      out.push(
        h(
          "button",
          {
            data: { i, stack: s, key: `${s}.${i}` },
            tabindex: -1,
            "aria-pressed": "false",
            "aria-label": `token ${i}: ${spoken(tokens[i])}`,
          },
          ...token(tokens[i]),
        ),
      );
      if (tokens[i].text.includes("\n")) out.push(h("span", { class: "line" }));
    }
    if (rows.after) out.push(h("span", { class: "past" }, `${many(rows.after, "token")} after`));
    return out;
  }

  drawSays() {
    if (this.element.classList.contains("editing")) return;
    const { run, place, isRunning } = this.context;
    if (!run) return;
    const tokens = run.stacks.reduce((sum, stack) => sum + stack.tokens.length, 0),
      isPair = run.stacks.length > 1;
    const key = `${run.run} ${isRunning} ${place.text.length}`;
    if (key === this.saidOf) return;
    this.saidOf = key;
    if (isRunning) {
      fill(
        this.says,
        `Running the text through ${many(run.model.num_layers, "layer")}. The figures below are still those of the last text.`,
      );
      return;
    }
    const cut = run.cut
      ? `${count(run.cut.characters)} characters, ${count(run.cut.tokens)} tokens. This model reads ${count(run.cut.kept)}. ` +
        `The last ${count(run.cut.kept)} are shown. `
      : `${many(tokens, "token")}. `;
    fill(
      this.says,
      cut,
      "Click one to look at it, or ",
      h("button", { class: "link", data: { edit: "text" } }, isPair ? "edit the source" : "edit the text"),
      " ",
      h("kbd", {}, "/"),
      isPair ? [" or ", h("button", { class: "link", data: { edit: "target" } }, "the target")] : null,
    );
  }

  paintLegend() {
    const key = `${document.documentElement.dataset.theme} ${innerWidth} ${devicePixelRatio}`;
    if (key === this.legendOf) return;
    this.legendOf = key;
    for (const element of this.legend.querySelectorAll("canvas")) {
      const pen = fit(element, innerWidth > 600 ? 40 : 28, 10),
        ramp = element.dataset.ramp ?? "";
      for (let x = 0; x < 40; x++) {
        pen.fillStyle = tone(ramp, (2 * x) / 39 - 1);
        pen.fillRect(x, 0, 1.2, 10);
      }
    }
  }
}
