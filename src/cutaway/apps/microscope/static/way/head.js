// One head unfolded: its matrix, where its query comes from, and the ledger that a person can recompute.
//   weights = softmax(q · k / √d), mixed = Σ weight × value     (Vaswani et al. 2017, eq. 1)
// In: the run and the place. Out: (i, j) previewed or set.

import { ask } from "../core/api.js";
import { siteOf } from "../core/context.js";
import { assign, fill, h, isNarrow, svg } from "../core/dom.js";
import { ALL } from "../core/rows.js";
import { signed, token as drawn } from "../core/text.js";
import { Ledger } from "./ledger.js";
import { Loupe } from "./loupe.js";
import { HeadMatrix } from "./matrix.js";
import { Origin } from "./origin.js";
import { Product } from "./product.js";
import { headFacts, labelOf } from "./wall_facts.js";

/** @typedef {import("../core/types.js").Head} Head */

export class Unfolded {
  /** @param {import("../core/context.js").Context} context @param {() => void} close @param {() => void} toggle */
  constructor(context, close, toggle) {
    this.context = context;
    this.path = svg("path");
    this.title = h("b");
    this.label = h("span", { class: "second" });
    this.off = h("button", { class: "link", data: { key: "off" } });
    const shut = h("button", { class: "link", data: { key: "close" } }, "close");
    this.off.addEventListener("click", toggle);
    shut.addEventListener("click", close);
    this.matrix = new HeadMatrix(context);
    this.loupe = new Loupe(context);
    this.origin = new Origin(context);
    this.question = h("h3");
    this.product = new Product();
    this.ledger = new Ledger(context);
    this.sum = h("p", { class: "onesum" });
    this.panel = h(
      "div",
      { class: "one", role: "region" },
      h(
        "div",
        {},
        h("h3", {}, this.title, " ", this.label),
        h("p", { class: "acts" }, h("span", {}, this.off, " ", h("kbd", {}, "x")), h("span", {}, shut, " ", h("kbd", {}, "Esc"))),
        this.matrix.element,
        this.loupe.element,
        this.origin.element,
      ),
      h("div", {}, this.question, this.product.element, this.ledger.element, this.sum),
    );
    this.element = h("div", {}, svg("svg", { class: "zoomlines", "aria-hidden": "true" }, this.path), this.panel);
  }

  /** @param {DOMRect} picture @param {DOMRect} box */
  draw(picture, box) {
    const { context } = this,
      { place, seen } = context,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      stack = run.stacks[place.stack];
    const from = picture.left - box.left,
      to = picture.right - box.left;
    assign(this.path, { d: `M${from} 0L.5 20M${to} 0L${box.width - 0.5} 20` });
    const isLong = stack.tokens.length > ALL;
    this.panel.classList.toggle("wide", isLong);
    this.matrix.element.hidden = isLong;
    this.loupe.element.hidden = !isLong;
    this.headline(run);
    const found = /** @type {Head | undefined} */ (
      context.of(
        run,
        `head ${stack.name} ${place.block} ${place.l} ${place.h} ${seen.i}`,
        (signal) =>
          ask(
            "/api/head",
            { run: run.run, stack: stack.name, block: place.block, layer: place.l, head: place.h, token: seen.i },
            signal,
          ),
        "head",
      )
    );
    const own = found && this.own(found);
    if (isLong) this.loupe.draw(own?.j ?? 0);
    else this.matrix.draw(own?.j ?? 0);
    if (!found || !own) return;
    this.ask(own.j, found);
    this.product.draw(found, own.at, this.siteFor(), { head: place.h, i: seen.i, j: own.j }, isNarrow());
    this.ledger.draw(found, own.j);
    this.origin.draw(found);
    this.says(run, stack);
  }

  /** The source that is looked at: the chosen one, or the one that the head takes most from. @param {Head} found */
  own(found) {
    const chosen = this.context.seen.j,
      at = Math.max(0, found.sources.indexOf(chosen)),
      isSeen = found.scores[at] !== null;
    const best = chosen >= 0 && found.sources[at] === chosen && isSeen ? at : 0;
    return { at: best, j: found.sources[best] };
  }

  siteFor() {
    const { place } = this.context;
    return siteOf(this.context.stack, `layers.${place.l}.${place.block}`);
  }

  /** @param {import("../core/types.js").Run} run */
  headline(run) {
    const { context } = this,
      { place } = context,
      facts = context.maybe(() => headFacts(context)),
      { name } = run.stacks[place.stack];
    const fact = facts?.find(
      (each) => each.stack === name && each.block === place.block && each.layer === place.l && each.head === place.h,
    );
    const cross = place.block === "cross" ? "cross-attention " : "";
    this.title.textContent = `Layer ${place.l}, ${cross}head ${place.h}`;
    this.label.textContent = fact ? labelOf(fact, run, place.i) : "";
    const isOff = place.off.includes(`${name}.${place.l}.${place.block}.${place.h}`);
    this.off.textContent = isOff ? "switch on" : "switch off";
    this.panel.setAttribute("aria-label", `layer ${place.l}, ${cross}head ${place.h}, unfolded`);
  }

  sources() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run);
    return (context.place.block === "cross" ? run.stacks[0] : context.stack).tokens;
  }

  /** @param {number} j @param {Head} found */
  ask(j, found) {
    const { tokens } = this.context.stack,
      i = this.context.seen.i;
    fill(
      this.question,
      "How well does the query of ",
      h("span", { class: "look" }, ...drawn(tokens[i])),
      " fit the key of ",
      h("b", {}, ...drawn(this.sources()[j])),
      "? Multiply, dimension by dimension, and add up.",
      found.kv_head !== this.context.place.h &&
        this.context.run &&
        this.context.run.model.kv_heads < this.context.run.model.num_heads
        ? ` (Its keys and values are those of group ${found.kv_head}.)`
        : "",
    );
  }

  /** @param {import("../core/types.js").Run} run @param {import("../core/types.js").Stack} stack */
  says(run, stack) {
    const { context } = this,
      { place, seen } = context,
      isLast = place.stack === run.stacks.length - 1;
    const value = isLast && stack.next.length ? context.maybe(() => this.push(run, seen.i)) : undefined;
    fill(
      this.sum,
      "Times the output weights, this is added to the stream of ",
      h("span", { class: "look" }, ...drawn(stack.tokens[seen.i])),
      ".",
      value ? [" It moves the logit of ", ...drawn(value.text), ` by ${signed(value.by)}.`] : "",
    );
  }

  /** How the head moves the logit of the likeliest word. @param {import("../core/types.js").Run} run @param {number} token */
  push(run, token) {
    const { place } = this.context,
      stack = this.context.stack;
    const says = this.context.of(run, `says ${[token, token + 1]}`, (signal) =>
      ask("/api/says", { run: run.run, rows: [token, token + 1] }, signal),
    );
    const said = says?.rows[0][says.rows[0].length - 1];
    if (!said) return undefined;
    const why = this.context.of(run, `why ${token} ${said.id} -1`, (signal) =>
      ask("/api/why", { run: run.run, token, word: said.id, against: null }, signal),
    );
    const kind = place.block === "cross" ? "cross" : "head";
    const part = why?.parts.find(
      (/** @type {import("../core/types.js").Part} */ each) =>
        each.kind === kind && each.layer === place.l && each.head === place.h && (each.stack ?? stack.name) === stack.name,
    );
    return part && { text: said.text, by: part.value };
  }
}
