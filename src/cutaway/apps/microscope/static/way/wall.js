// The wall: layers down, heads across, each a picture of its weights; the feed-forward units stand at the end of each row.
// In: the run and the place. Out: a head opened, or switched off by running the model again.

import { announce, canvas, clamp, closest, fill, h, isNarrow, range } from "../core/dom.js";
import { fit } from "../core/draw.js";
import { cellAt, hide, read, show } from "../core/reading.js";
import { fromCanvases, tableLink } from "../core/table.js";
import { Unfolded } from "./head.js";
import { factsTable, headFacts, labelOf, railOf } from "./wall_facts.js";
import { drawUnits, drawWeights } from "./wall_pictures.js";

/** @typedef {import("../core/types.js").HeadFact} HeadFact */
/**
 * @typedef {{stack: number, block: "attention" | "cross", layers: number, heads: number, title: string, units: boolean}} Block
 */

export class Wall {
  id = "layers";
  title = "Layers";

  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.rail = h("div");
    this.wall = h("div", { class: "wall" });
    this.figure = h(
      "div",
      {},
      this.wall,
      tableLink(() => [...this.facts(), ...fromCanvases(this.chosenCanvas())], "the heads"),
    );
    this.unfolded = new Unfolded(
      context,
      () => this.close(),
      () => this.toggle(context.place),
    );
    this.built = this.railed = "";
    this.isInside = false;
    /** @type {Map<number, number>} how large a picture is where so many stand in a row */
    this.sizes = new Map();
    /** @type {WeakMap<HTMLElement, string>} what is said below the units */
    this.units = new WeakMap();
    /** The unfolded head follows the pointer; the pictures of the wall need not be drawn for that. */
    this.opened = {
      depends: () => {
        const { run, place, seen } = context;
        return [run?.run, place.open, place.stack, place.i, place.l, place.h, place.block, place.off, seen.i, seen.j, this.built];
      },
      draw: () => this.drawOpen(),
    };
    this.listen();
  }

  listen() {
    this.wall.addEventListener("click", (event) => {
      const button = closest(event.target, ".headpic");
      if (!button) return;
      const { stack, layer, head, block } = placeOf(button);
      if (head < 0) {
        this.context.set({ stack, l: layer, u: -1 });
        location.hash = "feedforward";
      } else this.open(stack, block, layer, head);
    });
    this.wall.addEventListener("keydown", (event) => this.key(event));
    this.wall.addEventListener("pointermove", (event) => this.read(event));
    this.wall.addEventListener("pointerleave", hide);
    this.wall.addEventListener("focusin", (event) => {
      const button = closest(event.target, ".headpic");
      if (button) announce(button.getAttribute("aria-label") ?? "");
    });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const button = closest(event.target, ".headpic");
    if (!button || event.metaKey || event.ctrlKey || event.altKey) return;
    const all = /** @type {HTMLElement[]} */ ([...this.wall.querySelectorAll(".headpic")]),
      across = Number(button.dataset.across);
    const at = all.indexOf(button),
      by = { ArrowUp: -across, ArrowDown: across, ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by !== undefined) {
      const next = all[at + by];
      event.preventDefault();
      event.stopPropagation();
      if (!next) return;
      button.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else if (event.key === "x" && button.dataset.head !== "-1") {
      event.stopPropagation();
      const { stack, layer: l, head: h, block } = placeOf(button);
      this.toggle({ stack, l, h, block });
    }
  }

  /** @param {PointerEvent} event */
  read(event) {
    const button = closest(event.target, ".headpic"),
      picture = event.target;
    if (!button || !(picture instanceof HTMLCanvasElement)) return hide();
    const box = picture.getBoundingClientRect(),
      cell = cellAt(picture, event.clientX - box.left, event.clientY - box.top);
    if (cell) show(event.clientX, event.clientY, read(cell));
    else hide();
  }

  /**
   * Open a head under its layer; the same again closes it. @param {number} stack @param {"attention" | "cross"} block @param
   * {number} l
   * @param {number} h @param {boolean} [always] */
  open(stack, block, l, h, always = false) {
    const { place } = this.context,
      isSame = place.open && place.stack === stack && place.block === block && place.l === l && place.h === h;
    const here =
      place.stack === stack
        ? {}
        : { stack, i: /** @type {import("../core/types.js").Run} */ (this.context.run).stacks[stack].tokens.length - 1 };
    this.context.set({ ...here, block, l, h, j: -1, open: always || !isSame });
    announce(isSame && !always ? "head closed" : `layer ${l}, head ${h} unfolded`);
  }

  close() {
    const { stack, block, l, h } = this.context.place;
    this.context.set({ open: false });
    this.picture(stack, block, l, h)?.focus({ preventScroll: true });
  }

  /** @param {number} stack @param {string} block @param {number} l @param {number} h @returns {HTMLElement | null} */
  picture(stack, block, l, h) {
    return this.wall.querySelector(`.headpic[data-stack="${stack}"][data-block="${block}"][data-layer="${l}"][data-head="${h}"]`);
  }

  /** Switch a head off or on: the model is run again. @param {{stack: number, l: number, h: number, block: string}} place */
  toggle({ stack, l, h, block }) {
    const { context } = this,
      name = this.nameOf(stack, block, l, h),
      off = context.place.off,
      isOff = off.includes(name);
    context.set({ off: isOff ? off.filter((each) => each !== name) : [...off, name] });
    announce(isOff ? "switched on" : "switched off");
  }

  /** @param {number} stack @param {string} block @param {number} l @param {number} h */
  nameOf(stack, block, l, h) {
    return `${/** @type {import("../core/types.js").Run} */ (this.context.run).stacks[stack].name}.${l}.${block}.${h}`;
  }

  /** @returns {Block[]} */
  blocks() {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run);
    return run.stacks.flatMap((stack, s) => {
      const layers = stack.columns.filter(({ site }) => site.endsWith("residual.end")).length,
        heads = stack.num_heads ?? run.model.num_heads;
      const units = !run.model.num_experts,
        isPair = run.stacks.length > 1;
      /** @type {Block[]} */
      const blocks = [
        {
          stack: s,
          block: "attention",
          layers,
          heads,
          units,
          title: isPair ? (s ? "Target looks at target" : "Source looks at source") : "",
        },
      ];
      if (isPair && s)
        blocks.push({
          stack: s,
          block: "cross",
          layers,
          heads,
          units: false,
          title: "Target looks at source: rows are the target’s tokens, columns the source’s",
        });
      return blocks;
    });
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.stack, place.i, place.l, place.h, place.block, place.off];
  }

  draw() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run);
    this.drawRail(run);
    this.build();
    const facts = context.maybe(() => headFacts(context));
    this.sizes = new Map(
      this.blocks().map(({ heads, units }) => [heads + (units ? 1 : 0), this.sizeFor(heads + (units ? 1 : 0))]),
    );
    this.wall.classList.toggle("small", [...this.sizes.values()].some((size) => size < 56) && !isNarrow());
    this.isInside = this.wall.contains(document.activeElement) && !!document.activeElement?.classList.contains("headpic");
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (this.wall.querySelectorAll(".headpic")))
      this.drawPicture(button, facts);
  }

  /** @param {import("../core/types.js").Run} run */
  drawRail(run) {
    const n = run.stacks[this.context.place.stack].tokens.length;
    const key = run.run;
    if (key === this.railed) return;
    this.railed = key;
    fill(this.rail, ...railOf(run, n));
  }

  build() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      blocks = this.blocks();
    const key = JSON.stringify([run.model.name, blocks]);
    if (key === this.built) return;
    this.built = key;
    const pic = (/** @type {Block} */ b, /** @type {number} */ layer, /** @type {number} */ head) =>
      h(
        "button",
        {
          class: "headpic",
          tabindex: -1,
          data: {
            stack: b.stack,
            block: b.block,
            layer,
            head,
            across: b.heads + (b.units ? 1 : 0),
            key: `pic${b.stack}${b.block}${layer}.${head}`,
          },
        },
        canvas(),
        h(
          "span",
          { class: "lab" },
          h(
            "b",
            {},
            head < 0 ? h("span", { class: "word" }, "feed-forward") : h("span", { class: "word" }, "head "),
            head < 0 ? "" : String(head),
          ),
          h("span"),
        ),
      );
    fill(
      this.wall,
      ...blocks.map((b) =>
        h(
          "div",
          { class: "block" },
          b.title ? h("p", { class: "title" }, b.title) : null,
          ...range(b.layers).flatMap((layer) => [
            h(
              "div",
              { class: "layer", data: { layer } },
              h("span", { class: "name" }, `layer ${layer}`),
              h(
                "div",
                { class: "pics" },
                ...range(b.heads).map((head) => pic(b, layer, head)),
                b.units ? pic(b, layer, -1) : null,
              ),
            ),
            h("div", { class: "unfold", inert: true, data: { stack: b.stack, block: b.block, layer } }, h("div")),
          ]),
        ),
      ),
    );
  }

  /** @param {number} across */
  sizeFor(across) {
    const wide = this.wall.clientWidth,
      heads = [...this.wall.querySelectorAll(".headpic")].length;
    if (heads > 72 && across > 8) return isNarrow() ? 18 : Math.min(48, Math.floor((wide - 92) / across) - 6);
    if (isNarrow()) return Math.floor((wide - 8 * (across - 1)) / across);
    return Math.min(150, Math.floor((wide - 92 - (across - 1) * (across > 5 ? 16 : 25.5)) / across));
  }

  /** @param {HTMLElement} button @param {HeadFact[] | undefined} facts */
  drawPicture(button, facts) {
    const { stack, block, layer, head } = placeOf(button),
      { context } = this,
      { place } = context,
      run = /** @type {import("../core/types.js").Run} */ (context.run);
    const size = this.sizes.get(Number(button.dataset.across)) ?? 24,
      { tokens } = run.stacks[stack];
    const isOff = head >= 0 && place.off.includes(this.nameOf(stack, block, layer, head)),
      isOn = head >= 0 && place.stack === stack && place.block === block && place.l === layer && place.h === head;
    const row = clamp(place.stack === stack ? place.i : tokens.length - 1, 0, tokens.length - 1),
      share = size / tokens.length;
    button.style.setProperty("--y", `${Math.min(size - 3, row * share)}px`);
    button.style.setProperty("--c", place.stack === stack ? `${Math.max(3, share)}px` : "0px");
    button.classList.toggle("on", isOn);
    button.classList.toggle("off", isOff);
    if (!this.isInside) button.tabIndex = isOn ? 0 : -1;
    this.paint(button, size);
    const said = head < 0 ? (this.units.get(button) ?? "") : this.labelFor(stack, block, layer, head, facts);
    const label = /** @type {HTMLElement} */ (button.querySelector(".lab > span"));
    label.textContent = label.title = said;
    button.setAttribute(
      "aria-label",
      `layer ${layer}, ${head < 0 ? "feed-forward" : `${block === "cross" ? "cross-attention " : ""}head ${head}`}: ` +
        `${said}${isOff ? ", switched off" : ""}`,
    );
  }

  /** The pixels of a picture, unless they are there already. @param {HTMLElement} button @param {number} size */
  paint(button, size) {
    const { stack, block, layer, head } = placeOf(button),
      { context } = this,
      key = `${context.run?.run} ${size} ${devicePixelRatio} ${document.documentElement.dataset.theme}`;
    if (button.dataset.drawn === key) return;
    const picture = /** @type {HTMLCanvasElement} */ (button.querySelector("canvas"));
    button.style.width = `${size}px`;
    if (!button.dataset.drawn) fit(picture, size, size);
    const said =
      head < 0 ? drawUnits(context, picture, stack, layer, size) : drawWeights(context, picture, stack, block, layer, head, size);
    if (said === null) return;
    button.dataset.drawn = key;
    if (head < 0) this.units.set(button, said);
  }

  /**
   * @param {number} stack @param {string} block @param {number} layer @param {number} head @param {HeadFact[] | undefined} facts
   */
  labelFor(stack, block, layer, head, facts) {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run),
      { name } = run.stacks[stack];
    const fact = facts?.find((each) => each.stack === name && each.layer === layer && each.head === head && each.block === block);
    return fact ? labelOf(fact, run, this.context.place.i) : "";
  }

  drawOpen() {
    const { place } = this.context,
      chosen = this.picture(place.stack, place.block, place.l, place.h);
    for (const button of this.wall.querySelectorAll('.headpic:not([data-head="-1"])'))
      button.setAttribute("aria-expanded", String(place.open && button === chosen));
    for (const unfold of /** @type {NodeListOf<HTMLElement>} */ (this.wall.querySelectorAll(".unfold"))) {
      const isOn =
        place.open &&
        unfold.dataset.stack === String(place.stack) &&
        unfold.dataset.block === place.block &&
        unfold.dataset.layer === String(place.l);
      const inside = /** @type {HTMLElement} */ (unfold.firstElementChild);
      if (isOn && !inside.contains(this.unfolded.element)) inside.replaceChildren(this.unfolded.element);
      unfold.classList.toggle("open", isOn);
      unfold.inert = !isOn;
      if (!isOn) continue;
      if (chosen) this.unfolded.draw(chosen.getBoundingClientRect(), unfold.getBoundingClientRect());
    }
  }

  chosenCanvas() {
    const { stack, block, l, h } = this.context.place,
      picture = this.picture(stack, block, l, h)?.querySelector("canvas");
    return picture ? [picture] : [];
  }

  /** @returns {import("../core/table.js").Table[]} */
  facts() {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run);
    return [factsTable(headFacts(this.context) ?? [], run, this.context.place.i)];
  }
}

/** @param {HTMLElement} button */
function placeOf({ dataset }) {
  return {
    stack: Number(dataset.stack),
    layer: Number(dataset.layer),
    head: Number(dataset.head),
    block: /** @type {"attention" | "cross"} */ (dataset.block),
  };
}
