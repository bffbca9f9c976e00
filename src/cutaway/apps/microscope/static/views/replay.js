// Replay: how a text was written, pass by pass, forward and back, from the events that decoders write.
// In: the run, a way of writing. Out: a proof sheet; a pass that is looked into.

import { generate } from "../core/api.js";
import { css, tone } from "../core/colour.js";
import { announce, arrows, canvas, clamp, closest, fill, h, range } from "../core/dom.js";
import { fit } from "../core/draw.js";
import { duration, fixed, percent, spoken, token as drawn } from "../core/text.js";
import { modesOf } from "./modes.js";
import { idsAfter, sheet } from "./sheet.js";

/** @typedef {{num_passes: number, num_tokens: number, tokens_per_pass: number, seconds: number, text: string}} Figures */
/** @typedef {{events: import("../core/types.js").Happening[], figures: Figures | null}} Log */
const STEP = 700;
/** @type {Record<string, [string, string]>} */
const KINDS = {
  commit: ["e-commit", "written by the model"],
  accept: ["e-accept", "draft accepted"],
  draft: ["e-draft", "draft"],
  reject: ["e-reject", "rejected, or masked again"],
  kept: ["e-kept", "kept from earlier passes"],
  mask: ["e-mask", "not written yet"],
};

export class Replay {
  /** @param {import("../core/context.js").Context} context @param {HTMLElement} element */
  constructor(context, element) {
    this.context = context;
    this.modes = h("div", { class: "modes", role: "tablist", "aria-label": "How it was written" });
    this.back = /** @type {HTMLButtonElement} */ (h("button", { "aria-label": "One pass back" }, "◂"));
    this.play = h("button", { class: "play" }, "play");
    this.forth = /** @type {HTMLButtonElement} */ (h("button", { "aria-label": "One pass forward" }, "▸"));
    this.slider = /** @type {HTMLInputElement} */ (h("input", { type: "range", min: 1, max: 1, "aria-label": "Pass" }));
    this.says = h("span", { class: "second" });
    this.after = h("p", { class: "after" });
    this.proof = h("table", { class: "proof" });
    this.key = h("div", { class: "proofkey" });
    this.inside = h("a", { class: "link", href: "#way" });
    this.seed = h("button", { class: "link" }, "another seed");
    this.trouble = h("p", { class: "second" });
    fill(
      element,
      h(
        "div",
        { class: "prompt" },
        h("h1", { class: "viewtitle" }, "Replay"),
        h(
          "p",
          { class: "lead" },
          "The next tokens, written in several ways. Each line is one pass through the model; time runs down, text runs right.",
        ),
      ),
      this.modes,
      h(
        "div",
        { class: "transport", role: "group", "aria-label": "Transport" },
        this.back,
        this.play,
        this.forth,
        this.slider,
        this.says,
      ),
      this.trouble,
      this.after,
      h("div", { class: "proofbox" }, this.proof),
      this.key,
      h("p", { class: "ways" }, this.inside, this.seed),
    );
    /** @type {Map<string, Log>} */
    this.logs = new Map();
    this.followed = 0;
    this.playing = 0;
    this.listen();
  }

  listen() {
    const { context } = this;
    this.modes.addEventListener("click", (event) => {
      const tab = closest(event.target, "[data-mode]");
      if (tab) context.set({ mode: Number(tab.dataset.mode), pass: 1e9 });
    });
    arrows(this.modes, (down, right) => {
      const { length } = this.ways(),
        mode = (context.place.mode + down + right + length) % length;
      context.set({ mode, pass: 1e9 });
      /** @type {HTMLElement} */ (this.modes.children[mode]).focus();
    });
    this.back.addEventListener("click", () => this.step(-1));
    this.forth.addEventListener("click", () => this.step(1));
    this.play.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
    this.proof.addEventListener("click", (event) => {
      const row = closest(event.target, "tr[data-line]");
      if (row) this.goTo(Number(row.dataset.line));
    });
    this.seed.addEventListener("click", () => {
      const mode = this.ways().findIndex((way) => way.isSeeded);
      context.set({ seed: context.place.seed + 1, mode, pass: 1e9 });
    });
    this.inside.addEventListener("click", () => {
      const found = this.shown();
      if (found)
        context.set({
          more: [...context.place.more, ...this.idsAfter(found, this.at(found)).map(String)],
          stack: -1,
          i: -1,
          j: -1,
          c: -1,
          u: -1,
        });
    });
  }

  /** @param {number} m */
  keyOf(m) {
    const { run, place } = this.context;
    return JSON.stringify([run?.run, m, this.ways()[m].sampling(place)]);
  }

  /** The ways of writing that the model was trained for. */
  ways() {
    return modesOf(/** @type {import("../core/types.js").Run} */ (this.context.run));
  }

  /** The log of a way of writing; it grows while the model writes. @param {number} m @returns {Log} */
  log(m) {
    const key = this.keyOf(m),
      known = this.logs.get(key),
      { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run);
    if (known) return known;
    /** @type {Log & {error?: string}} */
    const log = { events: [], figures: null };
    this.logs.set(key, log);
    context.waiting++;
    const { decoder, sampling, settings, length } = this.ways()[m];
    generate(
      { run: run.run, decoder, sampling: sampling(context.place), settings, max_tokens: length },
      (event) => {
        if (event.figures) log.figures = event.figures;
        else log.events.push(event);
        context.redraw();
      },
    )
      .catch((error) => {
        log.error = error.message;
      })
      .finally(() => {
        context.waiting--;
        context.redraw();
      });
    return log;
  }

  shown() {
    return this.context.run ? this.sheetOf(this.log(this.context.place.mode)) : null;
  }

  /** @param {Log} log */
  sheetOf(log) {
    return sheet(log.events, this.text(), this.context.run?.model.predicts?.startsWith("masked"));
  }

  /** The tokens that are written on: what a pair says by itself is written from its start. */
  text() {
    const run = /** @type {import("../core/types.js").Run} */ (this.context.run),
      { tokens } = run.stacks[run.stacks.length - 1],
      { target, more } = this.context.place;
    return run.model.kind === "pair" && target === null && !more.length ? tokens.slice(0, 1) : tokens;
  }

  /** What stands behind the text after a pass. @param {import("./sheet.js").Sheet} found @param {number} at */
  idsAfter(found, at) {
    return idsAfter(found, at, this.text().length, this.context.run?.model.mask);
  }

  /** @param {import("./sheet.js").Sheet} found */
  at(found) {
    return clamp(this.context.place.pass, 1, Math.max(1, found.lines.length));
  }

  /** @param {number} by */
  step(by) {
    const found = this.shown();
    if (found) this.goTo(this.at(found) + by);
  }

  /** @param {number} pass */
  goTo(pass) {
    const found = this.shown(),
      to = clamp(pass, 1, Math.max(1, found?.lines.length ?? 1));
    this.context.set({ pass: to });
    announce(
      `pass ${passOf(found, to)}: ${(found?.lines[to - 1]?.cells ?? [])
        .filter((cell) => cell && ["commit", "accept"].includes(cell.kind))
        .map((cell) => spoken(cell?.text ?? ""))
        .join(", ")}`,
    );
  }

  toggle() {
    const stop = () => {
      clearInterval(this.playing);
      this.playing = 0;
      this.play.textContent = "play";
    };
    if (this.playing) return stop();
    const found = this.shown();
    if (!found) return;
    if (this.at(found) >= found.lines.length) this.goTo(1);
    this.play.textContent = "pause";
    this.playing = window.setInterval(() => {
      const now = this.shown();
      if (!now || this.at(now) >= now.lines.length) return stop();
      this.step(1);
    }, STEP);
  }

  draw() {
    const { run, place } = this.context;
    if (!run) return;
    const logs = this.ways().map((_, m) => this.log(m)),
      found = this.sheetOf(logs[place.mode]),
      at = this.at(found);
    this.drawModes(logs);
    this.drawTransport(found, at);
    const error = /** @type {Log & {error?: string}} */ (logs[place.mode]).error;
    this.trouble.textContent = error ?? "";
    fill(this.after, h("span", { class: "quiet" }, "after "), ...this.text().slice(-60).flatMap((token) => drawn(token)));
    this.drawProof(found, at);
    fill(this.inside, `Look inside pass ${passOf(found, at)}`);
    this.inside.hidden = !this.idsAfter(found, at).length;
  }

  /** @param {Log[]} logs */
  drawModes(logs) {
    const { place } = this.context;
    fill(
      this.modes,
      ...this.ways().map(({ name, says }, m) => {
        const picture = canvas({ "aria-hidden": "true" }),
          { figures } = logs[m],
          found = this.sheetOf(logs[m]);
        thumbnail(picture, found);
        const facts = /** @type {[string, string][]} */ (
          figures
            ? [
                ["passes", String(figures.num_passes)],
                ["tokens per pass", figures.tokens_per_pass.toFixed(1)],
                ["wall time", duration(figures.seconds)],
              ]
            : [
                ["passes", String(found.lines.length)],
                ["tokens per pass", "…"],
                ["wall time", "…"],
              ]
        );
        return h(
          "button",
          {
            role: "tab",
            data: { mode: m, key: `mode${m}` },
            "aria-selected": String(m === place.mode),
            tabindex: m === place.mode ? 0 : -1,
          },
          picture,
          h("div", {}, h("b", {}, name), h("p", {}, says)),
          h("dl", {}, ...facts.flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
        );
      }),
    );
  }

  /** @param {import("./sheet.js").Sheet} found @param {number} at */
  drawTransport(found, at) {
    const n = Math.max(1, found.lines.length);
    this.slider.max = String(n);
    this.slider.value = String(at);
    this.says.textContent = `pass ${passOf(found, at)} of ${passOf(found, n)}`;
    this.back.disabled = at <= 1;
    this.forth.disabled = at >= n;
  }

  /** @param {import("./sheet.js").Sheet} found @param {number} at */
  drawProof(found, at) {
    const head = h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, "pass"),
        ...range(found.length).map((k) => h("th", { scope: "col" }, String(found.first + k))),
        h("th", { scope: "col" }, "new"),
      ),
    );
    const rows = found.lines.map((line, k) => {
      const number = k + 1,
        kind = [number === at ? "now" : number > at ? "yet" : "", number === found.lines.length || number === at ? "last" : ""]
          .join(" ")
          .trim();
      return h(
        "tr",
        { class: kind || false, data: { line: number } },
        h("th", { scope: "row" }, String(line.pass)),
        ...line.cells.map((cell) => h("td", {}, ...shownCell(cell))),
        h("td", {}, h("span", {}, `${line.fresh}${line.lost ? ` − ${line.lost}` : ""}`)),
      );
    });
    fill(this.proof, head, h("tbody", {}, ...rows));
    if (this.followed !== at) reveal(this.proof);
    this.followed = at;
    const used = new Set(
      found.lines.flatMap(({ cells }) =>
        cells.flatMap((cell) =>
          cell ? [cell.kind === "remask" ? "reject" : cell.kind, cell.was ? "reject" : cell.kind === "remask" ? "mask" : ""] : [],
        ),
      ),
    );
    fill(
      this.key,
      ...Object.entries(KINDS)
        .filter(([kind]) => used.has(kind))
        .map(([kind, [style, words]]) =>
          h("span", {}, h("span", { class: style }, kind === "mask" ? "" : "word"), `\u2002${words}`),
        ),
      h("span", { class: "quiet" }, "small number: its chance in this pass"),
    );
  }
}

/** The number of the pass that a line shows; a pass that wrote nothing has none. @param {import("./sheet.js").Sheet | null} found @param {number} line */
function passOf(found, line) {
  return found?.lines[line - 1]?.pass ?? line;
}

/** Bring what the chosen pass wrote into sight, where the sheet is wider than the page. @param {HTMLElement} proof */
function reveal(proof) {
  const box = /** @type {HTMLElement} */ (proof.parentElement),
    written = [...proof.querySelectorAll("tr.now :is(.e-commit, .e-accept)")].pop()?.closest("td");
  if (!written) return;
  const right = written.offsetLeft + written.offsetWidth,
    left = written.offsetLeft - box.clientWidth / 4;
  if (right > box.scrollLeft + box.clientWidth) box.scrollLeft = right - (box.clientWidth * 3) / 4;
  else if (left < box.scrollLeft) box.scrollLeft = Math.max(0, left);
}

/** @param {import("./sheet.js").Cell | null} cell @returns {Node[]} */
function shownCell(cell) {
  if (!cell) return [];
  if (cell.kind === "mask") return [h("span", { class: "e-mask", title: "not written yet" })];
  const chance =
    cell.probability === null ? null : cell.probability < 0.005 ? percent(cell.probability) : fixed(cell.probability);
  const isGone = cell.kind === "remask",
    was = isGone ? (cell.was ?? cell.text) : cell.was;
  const word = isGone
    ? h("span", { class: "e-mask" })
    : h("span", { class: KINDS[cell.kind]?.[0] ?? "e-kept" }, ...drawn(cell.text));
  return [
    word,
    ...(was ? [h("small", {}, h("span", { class: "e-reject" }, ...drawn(was)))] : []),
    ...(chance === null ? [] : [h("small", {}, chance)]),
  ];
}

/**
 * The sheet in small: a square for each place and pass.
 * @param {HTMLCanvasElement} picture
 * @param {import("./sheet.js").Sheet} found
 */
function thumbnail(picture, found) {
  const high = 6,
    wide = Math.max(2, Math.min(10, Math.floor(100 / Math.max(1, found.length)))),
    pen = fit(picture, 100, Math.max(62, found.lines.length * high + 2));
  found.lines.forEach(({ cells }, r) =>
    cells.forEach((cell, c) => {
      const [x, y] = [c * wide, r * high];
      if (!cell || cell.kind === "mask") {
        pen.fillStyle = css("rule");
        pen.fillRect(x, y + high - 2, wide - 1, 1);
      } else if (cell.kind === "draft" || cell.kind === "remask" || cell.kind === "reject") {
        pen.strokeStyle = tone("computed-share", 0.6);
        pen.strokeRect(x + 0.5, y + 0.5, wide - 2, high - 2);
      } else {
        pen.fillStyle = tone("computed-share", cell.kind === "kept" ? 0.14 : cell.was ? 0.45 : 0.85);
        pen.fillRect(x, y, wide - 1, high - 1);
      }
    }),
  );
}
