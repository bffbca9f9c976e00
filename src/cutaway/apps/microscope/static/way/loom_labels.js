// The words of a loom: column names, tokens with their shares, what comes next, what each column would say, the whole text
// beside.

import { tone } from "../core/colour.js";
import { ask } from "../core/api.js";
import { canvas, fill, h, range } from "../core/dom.js";
import { fit, frame, line } from "../core/draw.js";
import { css } from "../core/colour.js";
import { readable } from "../core/reading.js";
import { around, rowOfToken, tokenOfRow } from "../core/rows.js";
import { many, percent, spoken, token } from "../core/text.js";
import { middle } from "./loom_shape.js";

/** @typedef {import("../core/context.js").Context} Context */
/** @typedef {import("./loom_shape.js").Shape} Shape */

/**
 * What the rows of the last stack would say at every column.
 * @param {Context} context @param {import("../core/types.js").Run} run @param {import("../core/rows.js").Rows} rows
 * @returns {import("../core/types.js").Says | undefined}
 */
export function saysOf(context, run, rows) {
  const { begin, end } = around(rows.first, rows.last, rows.total);
  const found = context.of(
    run,
    `says ${begin} ${end}`,
    (signal) => ask("/api/says", { run: run.run, rows: [begin, end] }, signal),
    "says",
  );
  return found && { ...found, rows: found.rows.slice(rows.first - begin, rows.last + 1 - begin) };
}

export class LoomLabels {
  /** @param {Context} context @param {number} stack */
  constructor(context, stack) {
    this.context = context;
    this.index = stack;
    this.element = h("div");
    this.overview = canvas({ "aria-hidden": "true" });
    readable(this.overview, { press: (_, __, y) => this.jump(y), at: (_, y) => this.readOverview(y) });
  }

  /** isFirst: what is said comes after the picture. @param {Shape} s @param {import("./rollout.js").Flow | null} flow @param {boolean} isFirst */
  draw(s, flow, isFirst) {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      rows = context.rows(this.index);
    const isLast = this.index === run.stacks.length - 1;
    const says = !isFirst && isLast && run.stacks[this.index].next.length ? context.maybe(() => saysOf(context, run, rows)) : undefined;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.key : undefined;
    fill(
      this.element,
      ...this.heads(s),
      ...this.signs(s, rows),
      ...this.rows(s, flow, rows),
      ...this.outs(s, says, rows),
      ...this.says(s, says, rows),
      ...this.after(s, flow, rows),
      ...this.beside(s, flow, rows),
    );
    if (focused)
      /** @type {HTMLElement | null} */ (this.element.querySelector(`[data-key="${focused}"]`))?.focus({ preventScroll: true });
  }

  get stack() {
    return /** @type {import("../core/types.js").Run} */ (this.context.run).stacks[this.index];
  }

  /** @param {Shape} s */
  heads(s) {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run),
      pair = run.stacks.length > 1,
      layers = s.xs.length - s.inputs;
    const at = (
      /** @type {number} */ x,
      /** @type {string} */ text,
      /** @type {string} */ to,
      /** @type {Record<string, any>} */ data = {},
    ) => h("a", { class: "head", href: to, style: { left: `${x}px` }, data }, text);
    const centre = (/** @type {number} */ c) => s.xs[c] + s.strip / 2,
      out = [];
    if (pair) out.push(h("span", { class: "which" }, this.index ? "target" : "source"));
    if (!s.isNarrow) out.push(h("span", { class: "head right", style: { right: `${s.width - s.label + 10}px` } }, "share"));
    if (s.isNarrow || s.strip < 30) out.push(at((s.xs[0] + s.xs[s.inputs - 1] + s.strip) / 2, "input", "#embedding"));
    else {
      const names = s.inputs === 3 ? ["token", "position", "sum"] : ["token", "sum"],
        stages = ["#embedding", s.inputs === 3 ? "#position" : "#stream", "#stream"];
      names.forEach((name, c) => out.push(at(centre(c), name, stages[c])));
    }
    for (let l = 0; l < layers; l++) {
      if (l % (layers > 8 ? s.every : 1)) continue;
      out.push(
        at(s.xs[s.inputs + l] - s.gap / 2, (s.isNarrow && layers > 4) || layers > 8 ? `${l}` : `layer ${l}`, "#layers", {
          layer: l,
        }),
      );
    }
    if (this.stack.next.length) out.push(at(s.out + (s.isNarrow ? 22 : 31), s.isNarrow ? "next" : "next token", "#output"));
    return out;
  }

  /** @param {Shape} s @param {import("../core/rows.js").Rows} rows */
  signs(s, rows) {
    const seen = this.context.seen,
      row = seen.stack === this.index ? rowOfToken(rows, seen.i) : 0;
    if (s.isNarrow || s.inputs < 3 || seen.stack !== this.index) return [];
    return ["+", "="].map((sign, k) =>
      h("span", { class: "sign", style: { left: `${s.xs[k] + s.strip + s.join / 2}px`, top: `${middle(s, row)}px` } }, sign),
    );
  }

  /** @param {Shape} s @param {import("./rollout.js").Flow | null} flow @param {import("../core/rows.js").Rows} rows */
  rows(s, flow, rows) {
    const { place } = this.context,
      width = s.label - s.lead - (s.isNarrow ? 2 : 10);
    return range(rows.count).map((row) => {
      const t = tokenOfRow(rows, row),
        share = flow?.shares[0][row] ?? 0;
      const box = { style: { left: `${s.lead}px`, top: `${s.top + row * s.row}px`, height: `${s.row}px`, width: `${width}px` } };
      const small = h("small", {}, s.isNarrow || share <= 0.004 ? "" : percent(share));
      if (t < 0)
        return h(
          "span",
          { class: "row folded", ...box },
          h("b", {}, s.isNarrow ? `${rows.before} before` : `${many(rows.before, "token")} before`),
          small,
        );
      const isOn = place.stack === this.index && place.i === t;
      return h(
        "button",
        {
          class: isOn ? "row on" : "row",
          data: { i: t, key: `row${this.index}.${t}` },
          tabindex: -1,
          ...box,
          "aria-label": `token ${t}: ${spoken(this.stack.tokens[t])}`,
        },
        h("b", {}, ...token(this.stack.tokens[t])),
        small,
      );
    });
  }

  /** @param {Shape} s @param {import("../core/types.js").Says | undefined} says @param {import("../core/rows.js").Rows} rows */
  outs(s, says, rows) {
    if (!says) return [];
    const { place } = this.context;
    return says.rows.map((said, k) => {
      const t = rows.first + k,
        last = said[said.length - 1],
        row = rowOfToken(rows, t),
        isOn = place.stack === this.index && place.i === t;
      return h(
        "span",
        {
          class: isOn ? "out on" : "out",
          style: {
            left: `${s.out}px`,
            top: `${s.top + row * s.row}px`,
            height: `${s.row}px`,
            "line-height": `${s.row}px`,
            width: `${s.outWidth}px`,
          },
        },
        h("span", {}, ...token(last.text)),
        s.isNarrow ? null : h("small", {}, percent(last.chance)),
      );
    });
  }

  /** @param {Shape} s @param {import("../core/types.js").Says | undefined} says @param {import("../core/rows.js").Rows} rows */
  says(s, says, rows) {
    const seen = this.context.seen,
      top = `${s.top + rows.count * s.row + (rows.after ? 26 : 16)}px`;
    /** @type {HTMLElement[]} */
    const out = [];
    if (!says || seen.stack !== this.index) return out;
    const said = says.rows[seen.i - rows.first];
    if (!said) return out;
    if (!s.isNarrow) out.push(h("span", { class: "say right second", style: { left: `${s.lead}px`, top } }, "would say"));
    says.columns.forEach((site, k) => {
      const c = this.stack.columns.findIndex((column) => column.site === site) - s.inputs + 1;
      if (c < 0 || (c > 0 && (c - (s.xs.length - s.inputs)) % s.every)) return;
      out.push(
        h(
          "span",
          { class: c > seen.c ? "say dim" : "say", style: { left: `${s.xs[s.inputs - 1 + c] + s.strip / 2}px`, top } },
          ...token(said[k].text),
          h("small", {}, percent(said[k].chance)),
        ),
      );
    });
    return out;
  }

  /** How many tokens stand behind the window, and what comes from them where tokens see ahead.
   * @param {Shape} s @param {import("./rollout.js").Flow | null} flow @param {import("../core/rows.js").Rows} rows */
  after(s, flow, rows) {
    if (!rows.after) return [];
    const share = flow ? flow.whole.subarray(rows.last + 1).reduce((a, b) => a + b, 0) : 0,
      words = `${many(rows.after, "token")} after${share > 0.004 ? `, ${percent(share)}` : ""}`;
    return [
      h("span", { class: "say right cap", style: { left: `${s.lead}px`, top: `${s.top + rows.count * s.row + 2}px` } }, words),
    ];
  }

  /** The whole text as a picture, the strongest share of each pixel, and a bracket for the window.
   * @param {Shape} s @param {import("./rollout.js").Flow | null} flow @param {import("../core/rows.js").Rows} rows */
  beside(s, flow, rows) {
    if (!s.lead) return [];
    const wide = Math.max(10, s.lead - 26),
      high = s.height - s.top - 48,
      pen = fit(this.overview, s.lead, s.height);
    const total = rows.total;
    for (const p of range(high)) {
      const a = Math.floor((p / high) * total),
        b = Math.max(a + 1, Math.floor(((p + 1) / high) * total));
      let share = 0;
      for (let t = a; t < b; t++) share = Math.max(share, flow?.whole[t] ?? 0);
      pen.fillStyle = tone("computed-share", share);
      pen.fillRect(0, s.top + p, wide, 1);
    }
    const y = (/** @type {number} */ t) => s.top + (t / total) * high,
      y0 = y(rows.first),
      y1 = Math.max(y0 + 4, y(rows.last + 1));
    frame(pen, 0.75, y0, wide - 1.5, y1 - y0, css("ink"));
    line(
      pen,
      [
        [wide + 2, y0],
        [s.lead - 4, s.top + (rows.before ? s.row : 0)],
      ],
      css("rule-2"),
    );
    line(
      pen,
      [
        [wide + 2, y1],
        [s.lead - 4, s.top + rows.count * s.row],
      ],
      css("rule-2"),
    );
    this.box = { top: s.top, high };
    return [this.overview, h("span", { class: "head right", style: { left: "0px" } }, "text")];
  }

  /** @param {number} y */
  tokenAt(y) {
    const { top, high } = this.box ?? { top: 0, high: 1 },
      total = this.stack.tokens.length;
    return Math.max(0, Math.min(total - 1, Math.floor(((y - top) / high) * total)));
  }

  /** @param {number} y */
  jump(y) {
    this.context.set({ stack: this.index, i: this.tokenAt(y), j: -1, u: -1 });
  }

  /** @param {number} y @returns {import("../core/reading.js").Reading} */
  readOverview(y) {
    const t = this.tokenAt(y);
    return {
      says: [`token ${t}: `, ...token(this.stack.tokens[t])],
      note: "the whole text, the strongest share of each pixel; a click goes there",
    };
  }
}
