// The feed-forward network: which units fire for which token, and what the chosen one writes.
//   output = Σ_u active_u × direction_u     (Geva et al. 2021)
// In: the run and the place. Out: a layer, a token, a unit.

import { ask } from "../core/api.js";
import { css } from "../core/colour.js";
import { siteOf } from "../core/context.js";
import { dimensions } from "../core/dimensions.js";
import { announce, arrows, canvas, clamp, closest, fill, h, isNarrow, range } from "../core/dom.js";
import { cells, fit, frame, reach } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { fromCanvases, tableLink } from "../core/table.js";
import { count, exact, fixed, percent, spoken, token as drawn } from "../core/text.js";

/** @typedef {import("../core/types.js").Unit} Unit */

const ROW = 22,
  UNIT_REACH = 6,
  FIRING = 0.1,
  REACH = 3;

export class FeedForward {
  id = "feedforward";
  title = "Feed-forward";

  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.rail = h("div");
    this.labels = h("div", { class: "fflabs" });
    this.canvas = canvas({ tabindex: "0", role: "img" });
    this.caption = h("span");
    this.card = h("div", { class: "unitcard" });
    this.direction = canvas({ role: "img", "aria-label": "the direction that the unit adds" });
    this.layers = h("div", { class: "ctl seg", role: "group", "aria-label": "Layer" });
    this.picture = h(
      "div",
      {},
      h("div", { class: "gridrow top" }, this.labels, this.canvas),
      h("div", { class: "gridrow cap" }, h("span"), this.caption),
    );
    this.figure = h(
      "div",
      {},
      h("div", { class: "side" }, this.picture, this.card),
      tableLink(() => fromCanvases([this.canvas, this.direction]), "the units"),
    );
    readable(this.canvas, {
      press: (cell, x) => {
        if (cell) this.choose(cell.row, x);
      },
    });
    readable(this.direction);
    arrows(this.canvas, (down, right) => this.step(down, right));
    this.layers.addEventListener("click", (event) => {
      const button = closest(event.target, "button");
      if (button) this.context.set({ l: Number(button.dataset.layer), u: -1 });
    });
    this.chosen = 0;
    this.width = 512;
  }

  /** The strongest unit within 3 px. @param {number} row @param {number} x */
  choose(row, x) {
    const { active } = this;
    if (!active) return;
    const rows = this.context.rows(),
      per = active.columns / this.width,
      low = clamp(Math.floor((x - REACH) * per), 0, active.columns - 1);
    const high = clamp(Math.ceil((x + REACH) * per), low, active.columns - 1),
      at = row * active.columns;
    let best = low;
    for (let u = low; u <= high; u++) if (Math.abs(active.data[at + u]) > Math.abs(active.data[at + best])) best = u;
    this.context.set({ i: rows.first + row, u: best, j: -1 });
  }

  /** @param {number} down @param {number} right */
  step(down, right) {
    const { context, active } = this,
      { place, stack } = context,
      rows = context.rows();
    if (!active) return;
    if (down) return context.set({ i: clamp(place.i + down, 0, stack.tokens.length - 1), u: -1, j: -1 });
    const row = active.data.subarray((place.i - rows.first) * active.columns, (place.i - rows.first + 1) * active.columns);
    const firing = range(active.columns).filter((u) => row[u] > FIRING),
      after = firing.findIndex((u) => (right > 0 ? u > this.chosen : u >= this.chosen));
    const u =
      firing[
        clamp(right > 0 ? (after < 0 ? firing.length - 1 : after) : (after < 0 ? firing.length : after) - 1, 0, firing.length - 1)
      ];
    if (u === undefined) return;
    context.set({ u });
    announce(`unit ${u}, ${fixed(row[u])}`);
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.stack, place.i, place.l, place.u, this.context.rows()];
  }

  draw() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      { stack, place } = context,
      rows = context.rows();
    const site = siteOf(stack, `layers.${place.l}.feedforward.active`);
    this.drawRail(run, site);
    if (run.model.num_experts) return this.experts();
    const active = context.window(run, site, rows);
    const unit = /** @type {(Unit & {unit: number}) | undefined} */ (
      context.of(
        run,
        `unit ${stack.name} ${place.l} ${place.i} ${place.u}`,
        (signal) =>
          ask(
            "/api/unit",
            { run: run.run, stack: stack.name, layer: place.l, token: place.i, unit: place.u < 0 ? null : place.u },
            signal,
          ),
        "unit",
      )
    );
    if (!active) return;
    this.active = active;
    const row = place.i - rows.first,
      numbers = active.data.subarray(row * active.columns, (row + 1) * active.columns);
    this.chosen = place.u >= 0 ? place.u : (unit?.unit ?? numbers.indexOf(Math.max(...numbers)));
    this.paint(active, site, rows, row);
    const firing = numbers.reduce((n, v) => n + (v > FIRING ? 1 : 0), 0);
    fill(this.caption, `${count(firing)} of ${count(active.columns)} units fire for `, ...drawn(stack.tokens[place.i]));
    this.canvas.setAttribute(
      "aria-label",
      `units of layer ${place.l} by token. ${firing} of ${active.columns} fire for ${spoken(stack.tokens[place.i])}; unit ${this.chosen} is chosen. Arrow keys move.`,
    );
    if (unit) this.drawCard(unit, run);
  }

  experts() {
    this.picture.hidden = true;
    fill(
      this.card,
      h(
        "p",
        { class: "second" },
        "This layer is a mixture of experts: each token is sent to some of several networks, so no unit sees every token.",
      ),
    );
  }

  /** @param {import("../core/types.js").Run} run @param {string} site */
  drawRail(run, site) {
    const { place, stack } = this.context,
      layers = stack.columns.filter((column) => column.site.endsWith("residual.end")).length,
      { d_hidden } = run.model;
    fill(
      this.layers,
      ...range(layers).map((l) =>
        h(
          "button",
          { data: { layer: l, key: `ff${l}` }, "aria-pressed": String(l === place.l), "aria-label": `layer ${l}` },
          layers > 4 ? String(l) : `layer ${l}`,
        ),
      ),
    );
    fill(
      this.rail,
      h(
        "p",
        {},
        `${count(d_hidden)} units look at each token alone. Most stay near zero. A unit that fires adds its own learned direction to the stream.`,
      ),
      layers > 4 ? h("p", { class: "cap" }, "layer") : null,
      this.layers,
      h("p", { class: "mono" }, `${site} [${stack.tokens.length}, ${d_hidden}]`),
    );
  }

  /**
   * @param {import("../core/types.js").Matrix} active
   * @param {string} site
   * @param {import("../core/rows.js").Rows} rows
   * @param {number} at
   */
  paint(active, site, rows, at) {
    const { stack } = this.context,
      width = Math.max(80, Math.min(512, Math.floor(this.picture.clientWidth - (isNarrow() ? 72 : 176)))),
      high = active.rows * ROW;
    const pen = fit(this.canvas, width, high),
      scale = UNIT_REACH * active.deviation || 1;
    this.width = width;
    for (const r of range(active.rows)) {
      const own = active.data.subarray(r * active.columns, (r + 1) * active.columns),
        t = rows.first + r;
      cells(
        pen,
        {
          x: 0,
          y: r * ROW + 3,
          width,
          height: ROW - 6,
          rows: 1,
          columns: active.columns,
          ramp: "computed-share",
          label: `${site}[${t}] ${spoken(stack.tokens[t])}`,
          value: (_, u) => own[u],
          site: (_, u) => `${site}[${t}, ${u}]`,
          says: (_, u) => `${spoken(stack.tokens[t])}, unit ${u}: ${exact(own[u])}`,
          note: () => (active.columns > width ? "the picture keeps the strongest of each pixel" : ""),
        },
        scale,
      );
      pen.fillStyle = css("rule");
      pen.fillRect(0, r * ROW + ROW - 1, width, 1);
    }
    const x = Math.round(((this.chosen + 0.5) / active.columns) * width);
    frame(pen, x - 2, at * ROW + 3, 5, ROW - 7);
    pen.fillStyle = css("look");
    pen.globalAlpha = 0.35;
    pen.fillRect(x, 0, 1, high);
    pen.globalAlpha = 1;
    fill(
      this.labels,
      ...range(active.rows).map((r) => h("div", { class: r === at ? "look" : false }, ...drawn(stack.tokens[rows.first + r]))),
    );
  }

  /** @param {Unit} unit @param {import("../core/types.js").Run} run */
  drawCard(unit, run) {
    const { stack, place } = this.context,
      words = (/** @type {string[]} */ list) => list.flatMap((text, k) => [k ? h("br") : null, ...drawn(text)]);
    const width = Math.min(256, this.card.clientWidth || 224),
      order = dimensions(this.context, run, unit.direction.length);
    const table =
      unit.toward.length || unit.away.length
        ? h(
            "table",
            {},
            h(
              "tbody",
              {},
              h("tr", {}, h("td", {}, "writes toward"), h("td", {}, ...words(unit.toward.slice(0, 4)))),
              h("tr", {}, h("td", {}, "away from"), h("td", {}, ...words(unit.away.slice(0, 4)))),
            ),
          )
        : null;
    fill(
      this.card,
      h("h3", {}, `Unit ${this.chosen}`),
      h(
        "p",
        { class: "second" },
        `fires ${fixed(unit.value)} for `,
        ...drawn(stack.tokens[place.i]),
        unit.before === null || unit.before === undefined ? "" : `, from ${fixed(unit.before)}`,
      ),
      table,
      h("p", { class: "cap" }, `the direction it adds (learned)`),
      this.direction,
      h("p", { class: "cap" }, `it fires for ${percent(unit.firing)} of these tokens`),
    );
    cells(
      fit(this.direction, width, 12),
      {
        x: 0,
        y: 0,
        width,
        height: 12,
        rows: 1,
        columns: order.length,
        ramp: "learned-signed",
        label: `direction of unit ${this.chosen}`,
        value: (_, d) => unit.direction[order[d]],
        site: (_, d) => `weights.${siteOf(stack, `layers.${place.l}.feedforward.down`)}[${order[d]}, ${this.chosen}]`,
      },
      reach(unit.direction),
    );
  }
}
