// The way: prompt, looms, and the stages below one another. Each is drawn when it is at most one screen away and what it shows
// changed.
// In: the context. Out: the stages, and the ruler that sticks under the loom's end.

import { MOTION } from "../core/context.js";
import { closest, fill, h } from "../core/dom.js";
import { hide } from "../core/reading.js";
import { STAGES } from "../core/state.js";
import { token as drawn } from "../core/text.js";
import { Beside, isBeside } from "./beside.js";
import { Crossings } from "./crossings.js";
import { Embedding } from "./embedding.js";
import { FeedForward } from "./feedforward.js";
import { Loom } from "./loom.js";
import { Output } from "./output.js";
import { Position } from "./position.js";
import { Prompt } from "./prompt.js";
import { Stream } from "./stream.js";
import { Tokens } from "./tokens.js";
import { Wall } from "./wall.js";
import { Why } from "./why.js";

/** @typedef {import("../core/context.js").Context} Context */
/**
 * @typedef {{id: string, title: string, rail: HTMLElement, figure: HTMLElement, depends: () => any[], draw: () => void}} Stage
 * @typedef {{key: string, whole: boolean, arrived: number, box: HTMLElement, near?: HTMLElement}} Drawn
 */

const NOTE =
  "Rows are tokens, all the way. Strips are vectors, threads are attention. Strip heights and thread widths show how much of the " +
  "vector in the frame came from where; in every column they add up to 1. (This is attention rollout, a sketch; ";

export class Way {
  /** @param {Context} context @param {HTMLElement} element */
  constructor(context, element) {
    this.context = context;
    this.element = element;
    this.rulerText = h("div", { class: "text", role: "group", "aria-label": "The tokens" });
    this.place = h("span", { class: "place" });
    this.nav = h(
      "nav",
      { "aria-label": "Stages of the way" },
      h("a", { href: "#way" }, "text"),
      ...STAGES.map((stage) => h("a", { href: `#${stage}` }, stage === "feedforward" ? "feed-forward" : stage)),
    );
    this.ruler = h("div", { class: "ruler", inert: true }, h("div", {}, this.rulerText, this.place), this.nav);
    this.prompt = new Prompt(context, this.rulerText);
    this.looms = h("div", { class: "looms" });
    this.crossings = new Crossings(context);
    this.wall = new Wall(context);
    this.beside = new Beside(context);
    this.open = h("button", { class: "link" }, "Put another text or model beside it");
    this.open.addEventListener("click", () => this.beside.begin());
    /** @type {Stage[]} */
    this.stages = [
      this.beside,
      new Tokens(context),
      new Embedding(context),
      new Position(context, () => this.beside.reorder()),
      this.wall,
      new FeedForward(context),
      new Stream(context),
      new Output(context),
      new Why(context, (stack, block, layer, head) => this.wall.open(stack, block, layer, head, true)),
    ];
    /** @type {Map<object, Drawn>} */
    this.drawn = new Map();
    /** @type {Map<Drawn, boolean>} */
    this.near = new Map();
    this.isHasty = false;
    /** @type {Loom[]} */
    this.all = [];
    this.build();
  }

  build() {
    document.body.insertBefore(this.ruler, document.querySelector("main"));
    fill(
      this.element,
      this.prompt.element,
      this.looms,
      h("p", { class: "note" }, NOTE, h("a", { class: "link", href: "#why" }, "Why"), " measures.)"),
      h("p", { class: "second" }, this.open),
      ...this.stages.map((stage) => {
        const box = h(
          "section",
          { class: "stage", id: stage.id, "aria-labelledby": `h-${stage.id}` },
          h("div", { class: "rail" }, h("h2", { id: `h-${stage.id}` }, stage.title), stage.rail),
          h("div", { class: "fig" }, stage.figure),
        );
        this.drawn.set(stage, { key: "", whole: false, arrived: -1, box });
        if (stage === this.wall)
          this.drawn.set(this.wall.opened, { key: "", whole: false, arrived: -1, box: this.wall.unfolded.element, near: box });
        return box;
      }),
    );
    addEventListener(
      "scroll",
      () => {
        hide();
        this.follow();
        this.drawNear();
      },
      { passive: true },
    );
    this.element.addEventListener("click", (event) => {
      const leads = closest(event.target, "a[data-layer]");
      if (leads) this.context.set({ l: Number(leads.dataset.layer) });
    });
  }

  draw() {
    const { context } = this,
      run = context.run;
    this.measure();
    this.prompt.draw();
    if (!run) return;
    if (this.all.length !== run.stacks.length) {
      this.all.splice(
        0,
        this.all.length,
        ...run.stacks.map((_, s) => new Loom(context, s, (layer, to, from) => this.unfold(s, layer, to, from))),
      );
      fill(
        this.looms,
        ...this.all.flatMap((loom) => [loom.element, loom.table]),
        run.stacks.length > 1 ? this.crossings.element : null,
      );
      this.crossings.looms = this.all;
      this.drawn.set(this.crossings, { key: "", whole: false, arrived: -1, box: this.looms });
      for (const loom of this.all) this.drawn.set(loom, { key: "", whole: false, arrived: -1, box: loom.element });
    }
    const { place } = context,
      token = run.stacks[place.stack].tokens[place.i];
    fill(this.place, "looking at ", h("span", { class: "look" }, ...drawn(token)), `, layer ${place.l}, head ${place.h}`);
    /** @type {HTMLElement} */ (this.drawn.get(this.beside)?.box).hidden = !isBeside(place);
    this.open.hidden = isBeside(place);
    this.drawMeasured();
    if (!this.isHasty) this.follow();
  }

  /** @param {number} stack @param {number} layer @param {number} to @param {number} from */
  unfold(stack, layer, to, from) {
    const best = this.all[stack].strongest(layer, to, Math.max(0, from));
    this.context.set({ stack, i: to, u: -1 });
    this.wall.open(stack, "attention", layer, best?.head ?? this.context.place.h, true);
    this.context.set({ j: from });
    location.hash = "layers";
  }

  drawNear() {
    this.measure();
    this.drawMeasured();
  }

  /** What is near, measured together and before anything is drawn: each drawing makes the next measure slow. What was never drawn
   * has no height yet, and is measured in turn. */
  measure() {
    this.isHasty = this.context.isRunningOn;
    this.near = new Map([...this.drawn.values()].filter(({ key }) => key).map((state) => [state, this.isNear(boxOf(state))]));
  }

  drawMeasured() {
    const { context } = this;
    if (!context.run || this.element.hidden) return;
    if (this.isHasty) context.later(MOTION);
    const crossings = this.all.length > 1 ? [this.crossings] : [];
    const wasAwaited = this.isLoomAwaited();
    for (const loom of this.all) this.drawPart(loom);
    if (wasAwaited && !this.isLoomAwaited()) return context.redraw(); // so that it is seen before the rest is drawn
    if (this.isLoomAwaited()) {
      // The loom comes first: nothing else is asked for before it has its answers.
      for (const { key, box } of this.drawn.values()) box.classList.toggle("stale", key !== "");
      return;
    }
    for (const part of [
      ...crossings,
      ...this.stages.flatMap((stage) => (stage === this.wall ? [stage, this.wall.opened] : [stage])),
    ])
      this.drawPart(part);
  }

  /** Whether a loom that is near waits for what it draws of a new run. */
  isLoomAwaited() {
    return this.all.some((loom) => {
      const box = loom.element;
      return !loom.isPainted(false) && this.isNear(box) && box.classList.contains("stale");
    });
  }

  /** Whether something is at most one screen away; in haste, whether it is in sight. @param {HTMLElement} element */
  isNear(element) {
    const box = element.getBoundingClientRect(),
      away = this.isHasty ? 0 : innerHeight;
    return box.bottom >= -away && box.top <= innerHeight + away;
  }

  /** @param {{depends: () => any[], draw: () => void}} part */
  drawPart(part) {
    const state = this.drawn.get(part),
      { context } = this;
    if (!state) return;
    if (state.box.hidden || (this.isHasty && !state.key)) return;
    const key = JSON.stringify([...part.depends(), document.documentElement.dataset.theme, innerWidth, devicePixelRatio]);
    if (key === state.key && (state.whole || state.arrived === context.arrived)) return;
    if (!(this.near.get(state) ?? this.isNear(boxOf(state)))) return;
    context.missing = context.hopes = 0;
    context.refused = null;
    part.draw();
    state.key = key;
    state.arrived = context.arrived;
    state.whole = context.missing === 0 && context.hopes === 0 && !this.isHasty;
    state.box.classList.toggle("stale", context.missing > 0 && context.refused === null);
    this.refuse(state.box, context.refused);
  }

  /** @param {HTMLElement} box @param {string | null} words */
  refuse(box, words) {
    const place = box.querySelector(":scope > .fig") ?? box.parentElement ?? box,
      old = place.querySelector(":scope > .trouble");
    if (!words) return old?.remove();
    const line = old ?? h("p", { class: "trouble" });
    line.textContent = words;
    if (!old) place.prepend(line);
  }

  /** The ruler shows itself when the loom is gone, and says which stage is read. */
  follow() {
    const last = this.all[this.all.length - 1],
      isOn = !this.element.hidden && !!last && last.element.getBoundingClientRect().bottom < 60;
    const wasOn = !this.ruler.inert;
    this.ruler.classList.toggle("on", isOn);
    this.ruler.inert = !isOn;
    if (isOn && !wasOn) this.prompt.keepInSight();
    const now = this.now();
    for (const link of this.nav.querySelectorAll("a")) {
      if (link.getAttribute("href") === `#${now || "way"}`) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    }
    const link = /** @type {HTMLElement | null} */ (this.nav.querySelector("[aria-current]"));
    if (isOn && link && this.nav.scrollWidth > this.nav.clientWidth)
      this.nav.scrollLeft = link.offsetLeft - this.nav.offsetLeft - 80;
  }

  /** The stage that is being read, "" above them. */
  now() {
    let now = "";
    for (const stage of STAGES) {
      const box = document.getElementById(stage);
      if (box && box.getBoundingClientRect().top < 200) now = stage;
    }
    return now;
  }

  /** @param {string} stage */
  goTo(stage) {
    if (!stage) scrollTo(0, 0);
    else document.getElementById(stage)?.scrollIntoView({ behavior: "instant" });
    this.drawNear();
  }

  /** One step out: close the head, leave the figure, back to the last token. */
  stepOut() {
    const { context } = this,
      { place, run } = context;
    if (place.open) return this.wall.close();
    if (document.activeElement instanceof HTMLElement && document.activeElement !== document.body)
      return document.activeElement.blur();
    if (run) this.prompt.choose(run.stacks.length - 1, run.stacks[run.stacks.length - 1].tokens.length - 1);
  }
}

/** Whose place decides whether a part is near. @param {Drawn} state */
function boxOf({ near, box }) {
  return near ?? box;
}
