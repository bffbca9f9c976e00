// The loom: one picture of the whole pass. Strips are vectors, threads are attention; heights and widths share one scale.
// In: the run and the place. Out: the place that is pointed at, set or left.

import { css, tone } from "../core/colour.js";
import { siteOf } from "../core/context.js";
import { announce, arrows, canvas, clamp, closest, h, isCalm, range } from "../core/dom.js";
import { dashed, fit, frame, line } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { rowOfToken, tokenOfRow, WHOLE, WINDOW } from "../core/rows.js";
import { fromCanvases, tableLink } from "../core/table.js";
import { many, percent, spoken, token } from "../core/text.js";
import { LoomLabels } from "./loom_labels.js";
import { LoomStrips } from "./loom_strips.js";
import { middle, ribbonAt, ribbons, shape, stripAt, trace } from "./loom_shape.js";
import { between, layersOf, rollout } from "./rollout.js";

/** @typedef {import("../core/context.js").Context} Context */
/** @typedef {import("../core/types.js").Matrix} Matrix */

const THINNEST = 3;
const MOTION = 150;

export class Loom {
  /** @param {Context} context @param {number} stack @param {(layer: number, to: number, from: number) => void} unfold */
  constructor(context, stack, unfold) {
    this.context = context;
    this.index = stack;
    this.unfold = unfold;
    this.canvas = canvas({ tabindex: "0", role: "img" });
    this.labels = new LoomLabels(context, stack);
    this.element = h("figure", { class: "loom" }, this.canvas, this.labels.element);
    this.table = tableLink(() => [...this.shares(), ...fromCanvases([this.canvas])], "the loom");
    /** @type {Float32Array[]} the threads as drawn, on their way to the goal */
    this.drawn = [];
    /** @type {Float32Array[]} */
    this.goal = [];
    /** @type {import("./loom_shape.js").Ribbon[]} */
    this.ribbons = [];
    /** @type {import("./loom_shape.js").Ribbon | null} */
    this.hot = null;
    this.motion = this.aboveRow = 0;
    this.movedFor = this.paintedFor = "";
    this.strips = new LoomStrips(this);
    /** @type {Matrix[] | null} */
    this.columns = null;
    /** @type {import("./rollout.js").Flow | null} */
    this.flow = null;
    this.listen();
  }

  listen() {
    readable(this.canvas, {
      over: (_, x, y) => this.over(x, y),
      at: (x, y) => this.readThread(x, y),
      above: () => this.aboveRow,
      leave: () => {
        this.hot = null;
        this.context.hover({});
        this.paint();
      },
      press: (_, x, y) => this.press(x, y),
    });
    arrows(this.canvas, (down, right) => {
      const { place, run } = this.context;
      if (!run) return;
      const c = place.stack === this.index ? place.c : layersOf(run, this.index);
      this.choose(
        clamp((place.stack === this.index ? place.i : 0) + down, 0, run.stacks[this.index].tokens.length - 1),
        clamp(c + right, 0, layersOf(run, this.index)),
      );
    });
    this.canvas.addEventListener("keydown", (event) => {
      const { run, place } = this.context,
        last = run ? this.stack.tokens.length - 1 : 0,
        i = place.stack === this.index ? place.i : 0;
      const to = { Home: 0, End: last, PageUp: i - WINDOW, PageDown: i + WINDOW }[event.key];
      if (!run || to === undefined || event.metaKey || event.ctrlKey || event.altKey) return;
      event.preventDefault();
      this.choose(clamp(to, 0, last), place.stack === this.index ? place.c : layersOf(run, this.index));
    });
    this.element.addEventListener("click", (event) => {
      const row = closest(event.target, ".row[data-i]"),
        layer = closest(event.target, "[data-layer]");
      if (row) this.choose(Number(row.dataset.i), this.context.place.c);
      if (layer) this.context.set({ l: Number(layer.dataset.layer) });
    });
  }

  /** @param {number} i @param {number} c */
  choose(i, c) {
    const layer = c > 0 ? { l: c - 1 } : {};
    this.context.set({ stack: this.index, i, c, j: -1, u: -1, ...layer });
    announce(`token ${i}, ${spoken(this.stack.tokens[i])}, ${c > 0 ? `after layer ${c - 1}` : "as it enters the first layer"}`);
  }

  /** @param {number} x @param {number} y */
  over(x, y) {
    const s = this.shape,
      rows = this.context.rows(this.index);
    if (!s) return;
    const at = stripAt(s, rows.count, x, y),
      hot = at ? null : ribbonAt(this.ribbons, x, y);
    this.aboveRow = at ? middle(s, at.row) - s.full / 2 - 2 : y;
    this.canvas.style.cursor = at || hot ? "pointer" : "default";
    const t = at ? tokenOfRow(rows, at.row) : -1;
    this.context.hover(at && t >= 0 && at.column >= s.inputs - 1 ? { stack: this.index, i: t, c: at.column - s.inputs + 1 } : {});
    if (hot?.to !== this.hot?.to || hot?.from !== this.hot?.from || hot?.layer !== this.hot?.layer) {
      this.hot = hot;
      this.paint();
    }
  }

  /** @param {number} x @param {number} y @returns {import("../core/reading.js").Reading | null} */
  readThread(x, y) {
    const s = this.shape;
    if (!s || stripAt(s, this.context.rows(this.index).count, x, y)) return null;
    const hot = ribbonAt(this.ribbons, x, y);
    if (!hot) return null;
    const { to, from } = this.ends(hot),
      { tokens } = this.stack,
      best = to >= 0 && from >= 0 ? this.strongest(hot.layer, to, from) : null;
    return {
      says: [...this.name(to), " takes from ", ...this.name(from), `: ${percent(hot.share)} of what is framed`],
      site: siteOf(
        this.stack,
        `layers.${hot.layer}.attention.weights[:, ${to >= 0 ? to : "…"}, ${from >= 0 ? from : `0:${tokens.length - 1}`}]`,
      ),
      note: best
        ? `the largest weight is head ${best.head}’s, ${best.weight.toFixed(2)}; a click unfolds it`
        : "a click unfolds the layer’s head",
    };
  }

  /** @param {import("./loom_shape.js").Ribbon} ribbon */
  ends(ribbon) {
    const rows = this.context.rows(this.index);
    return { to: tokenOfRow(rows, ribbon.to), from: tokenOfRow(rows, ribbon.from) };
  }

  /** @param {number} t */
  name(t) {
    return t < 0 ? ["the tokens before"] : token(this.stack.tokens[t]);
  }

  /**
   * The head whose weight is largest there, among those known already.
   * @param {number} layer
   * @param {number} to
   * @param {number} from
   */
  strongest(layer, to, from) {
    const { context } = this,
      run = context.run;
    if (!run || this.stack.tokens.length > WHOLE) return null;
    let best = null;
    for (const head of range(run.model.num_heads)) {
      const weights = context.maybe(() =>
        context.tensor(run, siteOf(this.stack, `layers.${layer}.attention.weights`), { index: String(head) }),
      );
      const weight = weights ? weights.data[to * weights.columns + from] : -1;
      if (weight > (best?.weight ?? 0)) best = { head, weight };
    }
    return best;
  }

  /** @param {number} x @param {number} y */
  press(x, y) {
    const s = this.shape,
      rows = this.context.rows(this.index);
    if (!s) return;
    const at = stripAt(s, rows.count, x, y),
      hot = at ? null : ribbonAt(this.ribbons, x, y);
    if (at) {
      const t = tokenOfRow(rows, at.row);
      this.choose(t >= 0 ? t : rows.first - 1, Math.max(0, at.column - s.inputs + 1));
    } else if (hot) {
      const { to, from } = this.ends(hot);
      this.context.set({ stack: this.index });
      if (to >= 0) this.unfold(hot.layer, to, from);
    }
  }

  get stack() {
    return /** @type {import("../core/types.js").Run} */ (this.context.run).stacks[this.index];
  }

  depends() {
    const { run, seen } = this.context;
    return [run?.run, seen.stack, seen.i, seen.c, this.context.place.i, this.context.rows(this.index)];
  }

  draw() {
    const { context, stack } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      rows = context.rows(this.index);
    const layers = layersOf(run, this.index),
      inputs = stack.columns.length - layers;
    const columns = stack.columns.map(({ site }) => context.window(run, site, rows));
    const isLong = run.stacks.some(({ tokens }) => tokens.length > WHOLE),
      isFirst = isLong && !this.isPainted(false), // the threads of a long text take seconds: the picture comes before them,
      rolled = isFirst || context.isRunningOn ? undefined : rollout(context); // and a place that runs on does not wait for them
    this.shape = shape(this.element.clientWidth, inputs, layers, rows, true);
    this.labels.draw(this.shape, rolled?.flows[this.index] ?? null, isFirst);
    if (columns.some((matrix) => !matrix) || (!rolled && !isLong)) return;
    [this.columns, this.paintedFor] = [/** @type {Matrix[]} */ (columns), run.run];
    this.element.style.height = `${this.shape.height}px`;
    this.flow = rolled?.flows[this.index] ?? null;
    this.move(this.flow ? this.flow.threads : range(layers).map(() => new Float32Array(rows.count ** 2)));
    this.describe();
    if (isFirst) context.later(0);
  }

  /** Let the threads flow from wherever they are. @param {Float32Array[]} goal */
  move(goal) {
    const key = `${this.context.run?.run} ${JSON.stringify(this.context.rows(this.index))}`,
      from = this.drawn;
    const jumps = key !== this.movedFor || isCalm() || this.context.isRunningOn || !from.length;
    [this.movedFor, this.goal] = [key, goal];
    cancelAnimationFrame(this.motion);
    if (jumps) {
      this.drawn = goal;
      return this.paint();
    }
    const began = performance.now(),
      step = () => {
        const part = clamp((performance.now() - began) / MOTION, 0, 1);
        this.drawn = part < 1 ? between(from, goal, 1 - (1 - part) ** 3) : goal;
        this.paint();
        if (part < 1) this.motion = requestAnimationFrame(step);
      };
    step();
  }

  /** Whether the run that is shown has its picture. rolled: with its threads. @param {boolean} rolled */
  isPainted(rolled) {
    return this.paintedFor === this.context.run?.run && (!rolled || this.flow !== null);
  }

  paint() {
    const s = this.shape,
      flow = this.flow,
      { context } = this,
      rows = context.rows(this.index);
    if (!s || !this.columns || this.paintedFor !== context.run?.run) return;
    const pen = fit(this.canvas, s.width, s.height),
      y = (/** @type {number} */ row) => middle(s, row),
      seen = context.seen;
    for (const row of range(rows.count)) {
      const at = Math.round(y(row)) + 0.5;
      line(
        pen,
        [
          [s.xs[s.inputs - 1] + s.strip, at],
          [s.out - 8, at],
        ],
        css("rule"),
      );
    }
    this.ribbons = this.drawn.flatMap((threads, l) => ribbons(s, l, threads, rows.count, y));
    for (const ribbon of this.ribbons) this.paintThread(pen, ribbon);
    this.paintStrips(pen, s, flow);
    if (seen.stack !== this.index) return;
    const row = rowOfToken(rows, seen.i),
      column = s.inputs - 1 + seen.c;
    if (row >= 0 && column < s.xs.length) frame(pen, s.xs[column], y(row) - s.full / 2, s.strip, s.full);
  }

  /** @param {CanvasRenderingContext2D} pen @param {import("./loom_shape.js").Ribbon} ribbon */
  paintThread(pen, ribbon) {
    const isHot = this.hot?.layer === ribbon.layer && this.hot.to === ribbon.to && this.hot.from === ribbon.from;
    const stays = ribbon.to === ribbon.from;
    trace(pen, ribbon);
    pen.fillStyle = tone("computed-share", isHot ? 0.85 : stays ? 0.2 : 0.54);
    pen.globalAlpha = stays && !isHot ? 0.8 : 0.92;
    pen.fill();
    pen.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {import("./loom_shape.js").Shape} s
   * @param {import("./rollout.js").Flow | null} flow
   */
  paintStrips(pen, s, flow) {
    const columns = /** @type {Matrix[]} */ (this.columns),
      rows = this.context.rows(this.index),
      shares = this.sharesDrawn(flow, rows.count);
    this.strips.ready(s, columns);
    columns.forEach((matrix, c) => {
      const isInput = c < s.inputs - 1,
        isOff = isInput && this.stack.columns[c].site.endsWith("position") && matrix.deviation === 0;
      for (const row of range(rows.count)) {
        const share = shares[Math.max(0, c - s.inputs + 1)][row],
          least = isInput ? 5 : THINNEST,
          high = Math.max(least, share * s.full);
        if (isOff) dashed(pen, s.xs[c], middle(s, row) - 2, s.strip, 4);
        else
          this.strips.paintStrip(
            pen,
            { x: s.xs[c], y: middle(s, row) - high / 2, width: s.strip, height: high },
            c,
            row,
            isInput,
          );
      }
    });
  }

  /**
   * The shares of each column: at rest those of the flow, in motion what the threads leave. @param
   * {import("./rollout.js").Flow | null} flow
   * @param {number} rows */
  sharesDrawn(flow, rows) {
    const none = () => new Float32Array(rows);
    if (!flow) return range(this.drawn.length + 1).map(none);
    if (this.drawn === this.goal) return flow.shares;
    return flow.shares.map((shares, c) => {
      const threads = this.drawn[c],
        out = none();
      if (!threads || c >= this.context.seen.c) return shares;
      threads.forEach((v, k) => {
        out[k % rows] += v;
      });
      return out;
    });
  }

  /** @returns {import("../core/table.js").Table[]} */
  shares() {
    const flow = this.flow,
      { stack, context } = this,
      rows = context.rows(this.index);
    if (!flow) return [];
    return [
      {
        title: "Share of the vector in the frame, column by column",
        head: ["token", "sum", ...range(flow.shares.length - 1).map((l) => `layer ${l}`)],
        rows: range(rows.count).map((row) => {
          const t = tokenOfRow(rows, row);
          return [
            t < 0 ? many(rows.before, "token") : h("span", {}, `${t} `, ...token(stack.tokens[t])),
            ...flow.shares.map((shares) => percent(shares[row])),
          ];
        }),
      },
    ];
  }

  describe() {
    const { stack, context, flow } = this,
      { tokens } = stack,
      seen = context.seen;
    if (!flow || seen.stack !== this.index)
      return this.canvas.setAttribute("aria-label", `The way of ${many(tokens.length, "token")} of the ${stack.name}.`);
    const most = range(tokens.length)
      .sort((a, b) => flow.whole[b] - flow.whole[a])
      .slice(0, 3);
    this.canvas.setAttribute(
      "aria-label",
      `The way of ${many(tokens.length, "token")} through ${many(flow.threads.length, "layer")}. Looking at ` +
        `${spoken(tokens[seen.i])}; most of it comes from ${most.map((t) => `${spoken(tokens[t])} ${Math.round(100 * flow.whole[t])} percent`).join(", ")}. Arrow keys, Home, End and Page keys move.`,
    );
  }
}
