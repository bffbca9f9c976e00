// Memory: the bytes moved for each token, and what cache, precision and batching change.
// In: a model and settings; the machine's bandwidth, measured. Out: a sentence, bars on one axis of time, a curve.

import { get } from "../core/api.js";
import { css, tone } from "../core/colour.js";
import { canvas, closest, fill, h, isNarrow, range, svg } from "../core/dom.js";
import { fit, line, remember, write } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { count, duration, figures, many, size } from "../core/text.js";
import { Speed } from "./speed.js";

/**
 * @typedef {{weights: number, cache: number, activations: number, per_token: number, bandwidth: number, tokens_per_second:
 *   number,
 *   parts: {name: string, bytes: number}[], held: {weights: number, cache: number}, context: number, num_layers?: number,
 *   operations?: number, peak?: number, fits_cache?: boolean, processor_cache?: number | null}} Cost
 * @typedef {{bits: number, cache: boolean, batch: number, context: number}} Asked
 */

const BITS = [32, 16, 8, 4],
  BATCHES = range(9).map((k) => 2 ** k),
  TALL = 150;

export class Memory {
  /** @param {import("../core/context.js").Context} context @param {HTMLElement} element */
  constructor(context, element) {
    this.context = context;
    this.models = h("div", { class: "seg", role: "radiogroup", "aria-label": "model" });
    this.bits = h("div", { class: "seg", role: "radiogroup", "aria-label": "bits for each weight" });
    this.batch = slider("texts at once", 8, (k) => context.set({ batch: 2 ** k }));
    this.length = slider("tokens so far", 12, (k) => context.set({ context: 2 ** k }));
    this.cache = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox" }));
    this.cache.addEventListener("change", () => context.set({ cache: this.cache.checked }));
    this.says = h("p", { class: "big" });
    this.figure = h("div", { class: "memfig" });
    this.bytes = canvas({ role: "img" });
    this.curve = canvas({ role: "img" });
    this.bytesSay = h("p", { class: "cap" });
    const measured = h("div", { class: "memfig" });
    this.speed = new Speed(context, measured);
    fill(
      element,
      h("div", { class: "prompt" }, h("h1", { class: "viewtitle" }, "Memory")),
      h(
        "div",
        { class: "ctls" },
        h("div", {}, h("span", { class: "cap" }, "model"), this.models),
        h("div", {}, h("span", { class: "cap" }, "bits for each weight"), this.bits),
        this.batch.element,
        h("div", {}, this.length.element, h("label", { class: "tick" }, this.cache, "keep keys and values (cache)")),
      ),
      this.says,
      this.figure,
      measured,
      h(
        "div",
        { class: "side memtwo" },
        h(
          "div",
          {},
          h("h2", {}, "Bytes read for one pass, along the way"),
          this.bytes,
          this.bytesSay,
          h(
            "p",
            { class: "cap" },
            "Blue is learned: read once, however many texts. Green is each text’s own: its keys and values, and what layers hand on.",
          ),
        ),
        h("div", {}, h("h2", {}, "More texts at once"), this.curve),
      ),
    );
    readable(this.bytes);
    readable(this.curve);
    element.addEventListener("click", (event) => {
      const button = closest(event.target, "[role=radio]");
      if (button?.dataset.bits) context.set({ bits: Number(button.dataset.bits) });
      if (button?.dataset.model) context.set({ memory: button.dataset.model });
    });
  }

  /** @param {number} batch @returns {Cost | undefined} */
  cost(batch) {
    const { context } = this,
      { bits, cache, context: length } = context.place,
      model = this.model();
    return context.want(`memory ${JSON.stringify([model, bits, cache, batch, length])}`, (signal) =>
      get("/api/memory", { model, bits, cache, batch, context: length }, signal),
    );
  }

  model() {
    return this.context.place.memory || this.context.place.model;
  }

  draw() {
    const { context } = this,
      { place } = context;
    context.refused = null;
    if (!this.model()) return;
    const cost = this.cost(place.batch),
      models = context.want("models", (signal) => get("/api/models", {}, signal));
    this.drawControls(models?.models ?? []);
    if (context.refused && !cost) fill(this.says, context.refused);
    if (!cost) return;
    this.say(cost);
    this.drawTime(cost);
    this.speed.draw(this.model(), cost);
    this.drawBytes(cost);
    const all = BATCHES.map((batch) => this.cost(batch));
    if (all.every((each) => each)) this.drawCurve(/** @type {Cost[]} */ (all));
  }

  /** @param {{name: string, kind: string}[]} models */
  drawControls(models) {
    const { place } = this.context,
      radio = (/** @type {string} */ text, /** @type {boolean} */ isOn, /** @type {Record<string, any>} */ data) =>
        h("button", { role: "radio", "aria-checked": String(isOn), data: { ...data, key: text } }, text);
    fill(
      this.models,
      ...models
        .filter(({ kind }) => kind !== "encoder")
        .slice(0, 6)
        .map(({ name }) => radio(name, name === this.model(), { model: name })),
    );
    fill(this.bits, ...BITS.map((bits) => radio(String(bits), bits === place.bits, { bits })));
    this.batch.show(Math.log2(place.batch), count(place.batch));
    this.length.show(Math.log2(place.context), count(place.context));
    this.cache.checked = place.cache;
  }

  /** Seconds of a pass: reading, and arithmetic where it is known. @param {Cost} cost */
  times(cost, batch = this.context.place.batch) {
    return {
      read: (cost.per_token * batch) / cost.bandwidth,
      compute: cost.operations && cost.peak ? (cost.operations * batch) / cost.peak : 0,
    };
  }

  /** @param {Cost} cost */
  say(cost) {
    const { batch, cache } = this.context.place,
      { read, compute } = this.times(cost),
      strong = (/** @type {string} */ text) => h("b", {}, text),
      rate = batch / Math.max(read, compute);
    const what = batch > 1 ? `one token for each of ${count(batch)} texts` : "one token";
    const ends = !compute
      ? ["At most ", strong(`${figures(rate)} tokens/s`), "."]
      : read >= compute
        ? [
            `So the processor waits ${Math.round(100 * (1 - compute / read))} % of the time: `,
            strong(`${figures(rate)} tokens/s`),
            ".",
          ]
        : ["Now the arithmetic is the longer of the two: ", strong(`${figures(rate)} tokens/s`), "."];
    fill(
      this.says,
      `To write ${what}, all the weights are read once${cache ? ", and the keys and values so far" : "; without a cache, the whole text is run again"}: `,
      strong(size(cost.per_token * batch)),
      `. At ${size(cost.bandwidth, "B/s")}, measured on this machine, that takes `,
      strong(duration(read)),
      compute ? `; the arithmetic takes ${duration(compute)}. ` : ". ",
      ...ends,
    );
  }

  /** @param {Cost} cost */
  drawTime(cost) {
    const width = this.figure.clientWidth,
      left = isNarrow() ? 76 : 112,
      room = width - left - 76,
      { batch } = this.context.place,
      { read, compute } = this.times(cost);
    const scale = room / Math.max(read, compute),
      x = (/** @type {number} */ bytes) => (bytes / cost.bandwidth) * scale,
      out = [];
    const parts = /** @type {[string, number, string][]} */ ([
      ["weights", cost.weights, tone("learned-share", 0.78)],
      ["cache", cost.cache * batch, tone("computed-share", 0.7)],
      ["activations", cost.activations * batch, tone("computed-share", 0.4)],
    ]);
    let at = left;
    out.push(svg("text", { x: 0, y: 18, fill: css("ink") }, "reading"));
    for (const [name, bytes, colour] of parts) {
      const wide = x(bytes);
      if (wide < 0.5) continue;
      out.push(
        svg("rect", { x: at, y: 4, width: Math.max(1, wide - 1), height: 20, fill: colour }),
        wide > 110
          ? svg(
              "text",
              { x: at + 8, y: 18, "font-size": 11, fill: css(name === "activations" ? "ink" : "page") },
              `${name} ${size(bytes)}`,
            )
          : null,
      );
      at += wide;
    }
    out.push(svg("text", { x: at + 8, y: 18, fill: css("ink") }, duration(read)));
    if (compute) {
      const wide = Math.max(1, compute * scale);
      out.push(
        svg("text", { x: 0, y: 50, fill: css("ink") }, "arithmetic"),
        svg("rect", { x: left + 0.5, y: 36.5, width: wide, height: 19, fill: "none", stroke: css("ink") }),
        svg("text", { x: left + wide + 8, y: 50, fill: css("ink") }, duration(compute)),
      );
    }
    const bottom = compute ? 64.5 : 34.5;
    out.push(svg("path", { d: `M${left + 0.5} 0V${bottom}M${left} ${bottom}H${left + room}`, stroke: css("rule-2") }));
    fill(
      this.figure,
      svg(
        "svg",
        {
          width,
          height: bottom + 6,
          role: "img",
          "font-size": 13,
          "aria-label": `reading ${duration(read)}${compute ? `, arithmetic ${duration(compute)}` : ""}`,
        },
        ...out,
      ),
      h(
        "p",
        { class: "cap" },
        compute
          ? "Time on one axis. Both go on at once; the longer one sets the pace."
          : "Time on one axis: what is read sets the pace.",
      ),
    );
  }

  /** @param {Cost} cost */
  drawBytes(cost) {
    const box = /** @type {HTMLElement} */ (this.bytes.parentElement),
      width = box.clientWidth,
      { batch } = this.context.place,
      run = this.context.run;
    const named = (/** @type {string} */ name) =>
      cost.parts.filter((part) => part.name === `weights: ${name}`).reduce((sum, { bytes }) => sum + bytes * batch, 0);
    const layers = cost.num_layers ?? (run && run.model.name === this.model() ? run.model.num_layers : 1),
      attention = named("attention") / layers,
      hidden = named("feedforward") / layers,
      cache = (cost.cache * batch) / layers;
    const bars = [
      ...range(layers).flatMap((l) => [
        ...(cost.cache ? [{ bytes: cache, ramp: "computed-share", name: `layer ${l}: cache` }] : []),
        { bytes: attention, ramp: "learned-share", name: `layer ${l}: attention` },
        { bytes: hidden, ramp: "learned-share", name: `layer ${l}: feed-forward` },
      ]),
      { bytes: named("head"), ramp: "learned-share", name: "output table" },
      { bytes: cost.activations * batch, ramp: "computed-share", name: "activations" },
    ];
    const each = cost.cache ? 3 : 2,
      pen = fit(this.bytes, width, TALL),
      base = TALL - 22,
      most = Math.max(...bars.map(({ bytes }) => bytes)),
      gap = layers > 12 ? 1 : 2;
    const wide = Math.max(1.5, Math.min(26, (width - 20 - layers * gap * 1.5) / bars.length - gap));
    let x = 0;
    bars.forEach(({ bytes, ramp, name }, k) => {
      if (k === layers * each) x += 8;
      const high = Math.max(1, ((base - 16) * bytes) / most);
      pen.fillStyle = tone(ramp, ramp === "learned-share" ? 0.78 : 0.7);
      pen.fillRect(x, base - high, wide, high);
      remember(this.bytes, {
        x,
        y: 0,
        width: wide,
        height: base,
        rows: 1,
        columns: 1,
        ramp,
        label: name,
        value: () => bytes,
        site: () => "bytes of one pass",
        says: () => `${name}: ${size(bytes)}`,
      });
      x += wide + gap + ((k + 1) % each === 0 && k < layers * each ? gap * 1.5 : 0);
    });
    pen.fillStyle = css("rule-2");
    pen.fillRect(0, base, x, 1);
    const table = `output table ${size(named("head"))}, activations ${size(cost.activations * batch)}`;
    if (named("head")) write(pen, table, Math.max(0, Math.min(width, x) - 6.2 * table.length), 11, { colour: css("ink-2") });
    this.bytesSay.textContent = `${many(layers, "layer")}, each: ${cost.cache ? `cache ${size(cache)}, ` : ""}attention ${size(attention)}, feed-forward ${size(hidden)}`;
    this.bytes.setAttribute("aria-label", this.bytesSay.textContent);
  }

  /** @param {Cost[]} all */
  drawCurve(all) {
    const box = /** @type {HTMLElement} */ (this.curve.parentElement),
      width = box.clientWidth,
      pen = fit(this.curve, width, TALL),
      rates = all.map((cost, k) => {
        const { read, compute } = this.times(cost, BATCHES[k]);
        return BATCHES[k] / Math.max(read, compute);
      });
    const low = Math.log(Math.min(...rates)) - 0.8,
      high = Math.log(Math.max(...rates)) + 0.2,
      x = (/** @type {number} */ k) => 8 + ((width - 60) * k) / 8,
      y = (/** @type {number} */ v) => TALL - 34 - ((TALL - 50) * (Math.log(v) - low)) / (high - low);
    line(
      pen,
      rates.map((rate, k) => [x(k), y(rate)]),
      css("ink"),
      1.5,
    );
    line(
      pen,
      [
        [0, TALL - 29.5],
        [width - 44, TALL - 29.5],
      ],
      css("rule-2"),
    );
    BATCHES.forEach((batch, k) => {
      if (k % 2 === 0) write(pen, String(batch), x(k) - 4, TALL - 16);
    });
    write(pen, "texts at once", 0, TALL - 2);
    const at = Math.log2(this.context.place.batch);
    pen.fillStyle = css("look");
    pen.beginPath();
    pen.arc(x(at), y(rates[at]), 3.5, 0, 7);
    pen.fill();
    write(pen, `${figures(rates[at])} tokens/s`, x(at) + (at > 4 ? -96 : 6), y(rates[at]) + 20, { colour: css("ink") });
    remember(this.curve, {
      x: x(0) - (x(1) - x(0)) / 2,
      y: 0,
      width: (x(1) - x(0)) * 9,
      height: TALL,
      rows: 1,
      columns: 9,
      ramp: "computed-share",
      label: "tokens a second",
      value: (_, k) => rates[k],
      site: () => "tokens a second, all texts together",
      says: (_, k) => `${many(BATCHES[k], "text")}: ${figures(rates[k])} tokens/s`,
    });
    this.curve.setAttribute(
      "aria-label",
      `tokens a second by texts at once: ${rates.map((rate, k) => `${BATCHES[k]}: ${figures(rate)}`).join(", ")}`,
    );
  }
}

/** @param {string} name @param {number} most @param {(step: number) => void} set */
function slider(name, most, set) {
  const value = h("b"),
    input = /** @type {HTMLInputElement} */ (h("input", { type: "range", min: 0, max: most, "aria-label": name }));
  input.addEventListener("input", () => set(Number(input.value)));
  return {
    element: h("div", {}, h("span", { class: "cap" }, name, " ", value), input),
    show: (/** @type {number} */ step, /** @type {string} */ text) => {
      input.value = String(step);
      value.textContent = text;
      input.setAttribute("aria-valuetext", text);
    },
  };
}
