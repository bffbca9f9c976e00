// The stream read out early: what the model would say if it had to answer at this point (the logit lens, nostalgebraist 2020).
// In: the run. Out: the token and the column of the cell that is chosen.

import { css, isDark, tone } from "../core/colour.js";
import { arrows, clamp, closest, fill, h, isNarrow, range } from "../core/dom.js";
import { readableAll } from "../core/reading.js";
import { tableLink } from "../core/table.js";
import { percent, spoken, token as drawn } from "../core/text.js";
import { saysOf } from "./loom_labels.js";

export class Stream {
  id = "stream";
  title = "Stream";

  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.rail = h("div");
    this.table = h("table", { class: "lens" });
    this.figure = h(
      "div",
      {},
      this.table,
      tableLink(() => [this.numbers()], "the stream"),
    );
    this.table.addEventListener("click", (event) => {
      const cell = closest(event.target, "td[data-c]");
      if (cell) this.choose(Number(cell.dataset.i), Number(cell.dataset.c));
    });
    arrows(this.table, (down, right, event) => this.step(down, right, closest(event.target, "td[data-c]")));
    readableAll(this.table, "td[data-c]", (cell) => {
      const said = this.said(Number(cell.dataset.i), Number(cell.dataset.k));
      return (
        said && {
          says: [...drawn(said.text), ` ${percent(said.chance)}`],
          site: `${this.columns[Number(cell.dataset.k)]}[${cell.dataset.i}]`,
          note: "read through the final norm and the output table",
        }
      );
    });
    /** @type {string[]} */
    this.columns = [];
    /** @type {import("../core/types.js").Says | null} */
    this.says = null;
  }

  /** The last stack speaks. */
  get index() {
    return /** @type {import("../core/types.js").Run} */ (this.context.run).stacks.length - 1;
  }

  get stack() {
    return /** @type {import("../core/types.js").Run} */ (this.context.run).stacks[this.index];
  }

  /** @param {number} i @param {number} c */
  choose(i, c) {
    this.context.set({ stack: this.index, i, c, j: -1, u: -1, ...(c > 0 ? { l: Math.ceil(c) - 1 } : {}) });
  }

  /** @param {number} down @param {number} right @param {HTMLElement | null} cell */
  step(down, right, cell) {
    if (!cell) return;
    const all = /** @type {HTMLElement[]} */ ([...this.table.querySelectorAll("td[data-c]")]),
      wide = all.filter((each) => each.dataset.i === cell.dataset.i).length;
    const at = all.indexOf(cell),
      row = clamp(Math.floor(at / wide) + down, 0, Math.floor(all.length / wide) - 1),
      column = clamp((at % wide) + right, 0, wide - 1);
    const next = all[row * wide + column],
      button = /** @type {HTMLElement} */ (next.firstElementChild);
    /** @type {HTMLElement} */ (cell.firstElementChild).tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
    this.choose(Number(next.dataset.i), Number(next.dataset.c));
  }

  /** @param {number} i @param {number} k */
  said(i, k) {
    return this.says?.rows[i - this.context.rows(this.index).first]?.[k];
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.stack, place.i, place.c, this.context.rows(this.index)];
  }

  draw() {
    const { context, stack } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      rows = context.rows(this.index);
    this.drawRail(run);
    if (!stack.next.length)
      return fill(this.table, h("caption", { class: "second" }, "This model predicts no words, so its stream is not read out."));
    const says = saysOf(context, run, rows);
    if (!says) return;
    [this.says, this.columns] = [says, says.columns];
    const shown = this.shown(says.columns),
      { place } = context,
      dark = isDark();
    const head = h("thead", {}, h("tr", {}, h("th"), ...shown.map(({ name }) => h("th", { scope: "col" }, name))));
    const body = h(
      "tbody",
      {},
      ...says.rows.map((said, r) => {
        const i = rows.first + r,
          isRow = place.stack === this.index && i === place.i;
        return h(
          "tr",
          { class: isRow ? "on" : false },
          h("th", { scope: "row" }, ...drawn(stack.tokens[i])),
          ...shown.map(({ k, c, name }) => {
            const { text, chance } = said[k],
              isOn = isRow && c === place.c;
            return h(
              "td",
              { class: isOn ? "on" : false, data: { i, c, k } },
              h(
                "button",
                {
                  tabindex: isOn ? 0 : -1,
                  data: { key: `lens${i}.${k}` },
                  style: {
                    background: tone("computed-share", chance),
                    color: css(chance > (dark ? 0.55 : 0.72) ? "page" : "ink"),
                  },
                  "aria-label": `${spoken(stack.tokens[i])}, ${name}: ${spoken(text)}, ${percent(chance)}`,
                },
                ...drawn(text),
              ),
            );
          }),
        );
      }),
    );
    fill(this.table, head, body);
    if (!this.table.querySelector('button[tabindex="0"]')) this.table.querySelector("td button")?.setAttribute("tabindex", "0");
  }

  /** @param {string[]} columns */
  shown(columns) {
    const all = columns.map((site, k) => ({ k, ...columnOf(site) })),
      narrow = isNarrow(),
      whole = all.filter(({ c }) => Number.isInteger(c));
    const room = narrow ? 5 : 10,
      kept = all.length <= room ? all : whole,
      every = Math.max(1, Math.ceil((kept.length - 1) / (room - 1)));
    return kept
      .filter((_, k) => (kept.length - 1 - k) % every === 0)
      .map((each) => ({ ...each, name: narrow && each.c ? `L${Math.ceil(each.c) - 1}` : each.name }));
  }

  /** @param {import("../core/types.js").Run} run */
  drawRail(run) {
    const n = this.stack.tokens.length,
      last = run.model.num_layers - 1;
    fill(
      this.rail,
      h(
        "p",
        {},
        "Each token carries one vector through all layers; every part reads it and adds to it. Here it is read out early: what would the model say if it had to answer at this point?",
      ),
      h("p", {}, "Stronger tone: more certain."),
      h(
        "p",
        { class: "mono" },
        `${this.stack.name ? `${this.stack.name}.` : ""}layers.0–${last}.residual.end [${n}, ${run.model.d_model}]`,
      ),
    );
  }

  /** @returns {import("../core/table.js").Table} */
  numbers() {
    const rows = this.context.rows(this.index),
      { says, stack } = this;
    return {
      title: "What each column would say",
      head: ["token", ...this.columns],
      rows: range(says?.rows.length ?? 0).map((r) => [
        `${rows.first + r} ${spoken(stack.tokens[rows.first + r])}`,
        ...(says?.rows[r] ?? []).map(({ text, chance }) => h("span", {}, ...drawn(text), ` ${percent(chance)}`)),
      ]),
    };
  }
}

/** Where a site stands: 0 is the sum, l + 1 the end of layer l, halves lie between. @param {string} site */
export function columnOf(site) {
  const layer = Number(/layers\.(\d+)\./.exec(site)?.[1] ?? -1);
  if (layer < 0 || site.endsWith("start")) return { c: Math.max(0, layer), name: layer > 0 ? `layer ${layer} start` : "start" };
  const part = site.endsWith("end") ? 1 : site.endsWith("crossed") ? 0.75 : 0.5;
  return { c: layer + part, name: `layer ${layer} ${site.slice(site.lastIndexOf(".") + 1)}` };
}
