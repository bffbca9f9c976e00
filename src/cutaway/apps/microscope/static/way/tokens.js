// How the text falls into tokens: the joins as a tree whose height is the order in which they were learned. A line cuts it.
// In: each token's symbols and joins (Sennrich et al. 2016). Out: the tokens of a smaller vocabulary, where the line is drawn.

import { css } from "../core/colour.js";
import { announce, arrows, canvas, clamp, closest, fill, h, svg } from "../core/dom.js";
import { fit, line } from "../core/draw.js";
import { readableAll } from "../core/reading.js";
import { ALL } from "../core/rows.js";
import { tableLink } from "../core/table.js";
import { count, many, plain, spoken, token as drawn } from "../core/text.js";
import { cutAt, grouped, last, lettersOf, ordinal, treeOf } from "./tree.js";

/** @typedef {import("../core/types.js").Token} Token */
/** @typedef {import("./tree.js").Node_} Node_ */

const TOP = 8,
  DEEP = 118,
  TALL = 132;
/** Milliseconds between windows of a long text: trees are slow to draw, and who walks fast looks at the loom. */
const PAUSE = 120;

export class Tokens {
  id = "tokens";
  title = "Tokens";

  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.rail = h("div");
    this.chunks = h("div", { class: "chunks" });
    this.cut = h("div", {
      id: "cut",
      data: { key: "cut" },
      tabindex: "0",
      role: "slider",
      "aria-label": "Joins learned",
      "aria-orientation": "vertical",
    });
    this.drawn = "";
    this.drawnAt = -Infinity;
    this.caption = h("p", { class: "cap", style: { "margin-top": "8px" } });
    this.figure = h(
      "div",
      {},
      this.chunks,
      this.caption,
      tableLink(() => [this.table()], "the tokens"),
    );
    this.listen();
  }

  listen() {
    this.chunks.addEventListener("click", (event) => {
      const button = closest(event.target, "[data-i]");
      if (button) this.context.set({ i: Number(button.dataset.i), j: -1, u: -1 });
    });
    readableAll(this.chunks, "[data-i]", (element) => {
      const token = this.context.stack.tokens[Number(element.dataset.i)];
      return {
        says: [...drawn(token), `, id ${token.id}`],
        site: `tokens[${element.dataset.i}]`,
        note: token.joins.length
          ? `bytes ${token.bytes}; ${many(token.joins.length, "join")}, the last learned ${ordinal(last(token) + 1)}`
          : `bytes ${token.bytes || "none"}`,
      };
    });
    let isDragged = false;
    const follow = (/** @type {PointerEvent} */ event) => {
      const top = /** @type {HTMLElement} */ (this.chunks.querySelector(".chunk")).getBoundingClientRect().top + 20 + TOP;
      this.setCut(Math.round(this.joins ** clamp((event.clientY - top) / DEEP, 0, 1)));
    };
    this.cut.addEventListener("pointerdown", (event) => {
      isDragged = true;
      this.cut.setPointerCapture(event.pointerId);
      event.preventDefault();
      this.cut.focus();
    });
    this.cut.addEventListener("pointermove", (event) => {
      if (isDragged) follow(event);
    });
    this.cut.addEventListener("pointerup", () => {
      isDragged = false;
    });
    arrows(this.cut, (down, right) => this.step(down || right));
  }

  /** Join by join: only those that this text uses. @param {number} by */
  step(by) {
    const ranks = [
      ...new Set([1, ...this.shown().flatMap(({ token }) => token.joins.map(({ rank }) => rank + 1)), this.joins]),
    ].sort((a, b) => a - b);
    const now = this.now,
      at = ranks.findIndex((rank) => rank >= now);
    const to = by > 0 && ranks[at] > now ? at : at + by;
    this.setCut(ranks[clamp(to, 0, ranks.length - 1)]);
    announce(`${count(this.now)} joins`);
  }

  /** @param {number} joins */
  setCut(joins) {
    this.context.set({ cut: joins >= this.joins ? 0 : Math.max(1, joins) });
  }

  get joins() {
    return this.context.run?.model.num_joins || 1;
  }

  get now() {
    return this.context.place.cut || this.joins;
  }

  shown() {
    const rows = this.context.rows();
    return this.context.stack.tokens.map((token, i) => ({ token, i })).slice(rows.first, rows.last + 1);
  }

  depends() {
    const { run, place } = this.context;
    return [run?.run, place.stack, place.i, place.cut, this.context.rows()];
  }

  draw() {
    const { stack, run, place } = this.context,
      theme = document.documentElement.dataset.theme,
      key = JSON.stringify([run?.run, place.stack, place.cut, this.context.rows(), innerWidth, devicePixelRatio, theme]);
    if (key === this.drawn) return this.mark();
    const since = performance.now() - this.drawnAt;
    if (since < PAUSE && stack.tokens.length > ALL) return this.context.later(PAUSE - since);
    [this.drawn, this.drawnAt] = [key, performance.now()];
    const width = this.chunks.clientWidth,
      chunks = grouped(this.shown());
    const letters = chunks.reduce(
      (sum, chunk) => sum + chunk.reduce((n, { token }) => n + lettersOf(token).reduce((wide, each) => wide + each.wide, 0), 0),
      0,
    );
    const cell = width > 600 ? clamp(Math.floor(width / letters), 22, 26) : Math.floor(width / 19.2),
      isOneLine = letters * cell <= width;
    this.drawRail();
    fill(this.chunks, ...chunks.map((chunk) => this.chunk(chunk, cell, isOneLine)), this.joins > 1 ? this.cut : null);
    this.placeCut(isOneLine ? letters * cell + 12 : width - 8);
    const isAll = this.now >= this.joins,
      pieces = this.chunks.querySelectorAll(".toks button").length;
    fill(
      this.caption,
      h(
        "span",
        { class: "ink" },
        this.joins > 1 ? `${isAll ? "All " : ""}${many(this.now, "join")}${isAll ? "" : " learned"}, ` : "",
        `${many(pieces, "token")}. `,
      ),
      this.joins > 1 ? "Height shows when a join was learned, the first at the top (log scale). " : `${stack.rule} `,
      ...this.unjoined(chunks),
    );
    this.mark();
  }

  /** Show which token is looked at. */
  mark() {
    this.chunks.querySelector(".toks .on")?.classList.remove("on");
    this.chunks.querySelector(`.toks [data-i="${this.context.place.i}"]`)?.classList.add("on");
  }

  drawRail() {
    const { stack } = this.context;
    fill(
      this.rail,
      h("p", {}, "The model reads pieces of text, each with a number of its own."),
      this.joins > 1
        ? h(
            "p",
            {},
            "Each piece starts as single characters or bytes; pairs are joined in the order in which they were learned, common ones first.",
          )
        : h("p", {}, stack.rule),
      this.joins > 1 ? h("p", {}, "Drag the line. With fewer joins learned, the same text falls into more pieces.") : null,
    );
  }

  /** @param {{token: Token, i: number}[]} chunk @param {number} cell @param {boolean} isOneLine */
  chunk(chunk, cell, isOneLine) {
    const letters = chunk.flatMap(({ token }) => lettersOf(token)),
      width = cell * letters.reduce((sum, { wide }) => sum + wide, 0);
    const picture = canvas({ "aria-hidden": "true" }),
      pen = fit(picture, width, TALL),
      buttons = [];
    let at = 0;
    for (const { token, i } of chunk) {
      for (const node of treeOf(token)) {
        this.drawTree(pen, node, at, cell);
        for (const piece of cutAt(node, this.now)) buttons.push(this.piece(piece, node, i, cell));
        at += node.length;
      }
    }
    if (!isOneLine && this.joins > 1) this.dotted(pen, width);
    return h(
      "div",
      { class: "chunk" },
      h(
        "div",
        { class: "chars" },
        ...letters.map(({ text, wide }) => h("span", { style: { width: `${wide * cell}px` } }, ...drawn(text))),
      ),
      picture,
      h("div", { class: "toks" }, ...buttons),
    );
  }

  /** @param {Node_} piece @param {Node_} whole @param {number} i @param {number} cell */
  piece(piece, whole, i, cell) {
    const { context } = this,
      isWhole = piece === whole,
      token = context.stack.tokens[i];
    const isTight = piece.length * cell < 8 * piece.text.length + 8;
    return h(
      "button",
      {
        class: isTight && "tight",
        style: { width: `${piece.length * cell - 2}px` },
        data: isWhole ? { i } : {},
        tabindex: -1,
        "aria-label": isWhole ? `token ${i}: ${spoken(token)}, id ${token.id}` : spoken(piece.text),
      },
      ...drawn(isWhole ? token : piece.text),
      h("small", {}, isWhole ? String(token.id) : ""),
    );
  }

  /** @param {CanvasRenderingContext2D} pen @param {Node_} root @param {number} from @param {number} cell */
  drawTree(pen, root, from, cell) {
    const stroke = (/** @type {boolean} */ isOn, /** @type {[number, number][]} */ points) => {
      if (!isOn) pen.setLineDash([1, 2]);
      line(
        pen,
        points.map(([x, y]) => [Math.round(x) + 0.5, Math.round(y) + 0.5]),
        css(isOn ? "ink-2" : "rule-2"),
      );
      pen.setLineDash([]);
    };
    /** @type {(node: Node_, at: number) => {x: number, y: number}} */
    const walk = (node, at) => {
      if (!node.left || !node.right) return this.end(node, (at + node.length / 2) * cell, 0, stroke);
      const a = walk(node.left, at),
        b = walk(node.right, at + node.left.length),
        y = this.depth(node.rank + 1);
      stroke(node.rank < this.now, [
        [a.x, a.y],
        [a.x, y],
        [b.x, y],
        [b.x, b.y],
      ]);
      return this.end(node, (a.x + b.x) / 2, y, stroke);
    };
    this.ends = new Set(cutAt(root, this.now));
    walk(root, from);
  }

  /**
   * @param {Node_} node
   * @param {number} x
   * @param {number} y
   * @param {(isOn: boolean, points: [number, number][]) => void} stroke
   */
  end(node, x, y, stroke) {
    if (this.ends?.has(node))
      stroke(true, [
        [x, y],
        [x, TALL - 1],
      ]);
    return { x, y };
  }

  /** @param {number} rank */
  depth(rank) {
    return TOP + (DEEP * Math.log(Math.max(1, rank))) / Math.log(Math.max(2, this.joins));
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} width */
  dotted(pen, width) {
    const y = Math.round(this.depth(this.now)) + 0.5;
    pen.setLineDash([1, 3]);
    line(
      pen,
      [
        [0, y],
        [width, y],
      ],
      css("ink"),
    );
    pen.setLineDash([]);
  }

  /** @param {number} width */
  placeCut(width) {
    const first = /** @type {HTMLElement | null} */ (this.chunks.querySelector(".chunk"));
    if (!first || this.joins <= 1) return;
    this.cut.style.top = `${first.offsetTop + 20 + this.depth(this.now) - 7}px`;
    this.cut.style.width = `${width}px`;
    for (const [name, value] of [
      ["aria-valuemin", 1],
      ["aria-valuemax", this.joins],
      ["aria-valuenow", this.now],
    ])
      this.cut.setAttribute(String(name), String(value));
    fill(
      this.cut,
      svg(
        "svg",
        { width: "100%", height: 24 },
        svg("line", { x1: 0, x2: "100%", y1: 12, y2: 12, stroke: css("ink"), "stroke-dasharray": "1 3" }),
        svg("circle", { cx: "100%", cy: 12, r: 6, fill: css("page"), stroke: css("ink"), "stroke-width": 1.5 }),
      ),
    );
  }

  /** @param {{token: Token, i: number}[][]} chunks */
  unjoined(chunks) {
    const broken = chunks.find((chunk) => chunk.length > 1 && chunk.every(({ token }) => token.symbols.length));
    if (!broken || this.joins <= 1) return [];
    const [a, b] = broken.map(({ token }) => token),
      word = broken
        .map(({ token }) => token.text)
        .join("")
        .trim();
    return [
      "Nothing that was learned joins ",
      ...drawn(a),
      " and ",
      ...drawn(b),
      `, so ${plain(word)} takes ${many(broken.length, "token")}.`,
    ];
  }

  /** @returns {import("../core/table.js").Table} */
  table() {
    return {
      title: "Tokens",
      head: ["token", "text", "id", "bytes", "from", "to", "joins"],
      rows: this.context.stack.tokens.map((token, i) => [
        String(i),
        h("span", {}, ...drawn(token)),
        String(token.id),
        token.bytes,
        String(token.start),
        String(token.end),
        token.joins.map(({ left, right, rank }) => `${plain(left)}+${plain(right)} (${rank + 1})`).join(", "),
      ]),
    };
  }
}
