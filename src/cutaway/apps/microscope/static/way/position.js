// How order enters: the table of positions, one row added to the token's own, or a rule that turns or biases inside attention.
// In: the place. Out: positions switched on or off.

import { css } from "../core/colour.js";
import { ask } from "../core/api.js";
import { siteOf } from "../core/context.js";
import { dimensions } from "../core/dimensions.js";
import { canvas, clamp, fill, h } from "../core/dom.js";
import { cells, dashed, fit, line, reach, remember, rowOf, write } from "../core/draw.js";
import { readable } from "../core/reading.js";
import { fromCanvases, tableLink } from "../core/table.js";
import { exact, fixed, spoken, token as drawn } from "../core/text.js";
import { stripWidth, through } from "./embedding.js";

/** @typedef {import("../core/types.js").Places} Places */
/** @typedef {import("../core/types.js").Matrix} Matrix */

const TALL = 192;

export class Position {
  id = "position";
  title = "Position";

  /** @param {import("../core/context.js").Context} context @param {() => void} reorder */
  constructor(context, reorder) {
    this.context = context;
    this.rail = h("div");
    this.turned = h("button", { class: "link" }, "Put the words in another order beside it");
    this.turned.addEventListener("click", reorder);
    this.box = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox" }));
    this.box.addEventListener("change", () => context.set({ positions: this.box.checked }));
    this.labels = h("div", { class: "poslab cap" });
    this.picture = canvas({ role: "img" });
    this.strips = [0, 1, 2].map(() => canvas({ role: "img" }));
    this.names = [0, 1, 2].map(() => h("span"));
    this.lengths = [0, 1, 2].map(() => h("span", { class: "num" }));
    this.similar = canvas({ role: "img" });
    this.similarCaption = h("p", { class: "cap", style: { "margin-top": "6px" } });
    this.top = h(
      "div",
      {},
      h("div", { class: "gridrow top" }, this.labels, this.picture),
      h("div", { style: { height: "16px" } }),
    );
    this.rows = h(
      "div",
      {},
      this.top,
      ...this.strips.map((strip, k) => h("div", { class: "gridrow" }, this.names[k], strip, this.lengths[k])),
      h("div", { class: "gridrow cap" }, h("span"), h("span"), h("span", { class: "num" }, "length")),
    );
    this.other = h("div", {}, this.similar, this.similarCaption);
    this.figure = h(
      "div",
      {},
      h("div", { class: "side" }, this.rows, this.other),
      tableLink(() => fromCanvases([...this.strips, this.picture, this.similar]), "the positions"),
    );
    readable(this.picture);
    readable(this.similar);
    for (const strip of this.strips) {
      readable(strip, {
        over: (cell) => context.hover(cell ? { dimension: this.order()[cell.column] } : {}),
        leave: () => context.hover({}),
      });
    }
  }

  order() {
    const { run } = this.context;
    return run ? dimensions(this.context, run, run.model.d_model) : [];
  }

  depends() {
    const { run, place, seen } = this.context;
    return [run?.run, place.stack, place.i, place.positions, seen.dimension];
  }

  draw() {
    const { context } = this,
      run = /** @type {import("../core/types.js").Run} */ (context.run),
      { stack, place } = context,
      i = place.i;
    const added = run.model.adds_positions,
      token = added ? 0 : i;
    const table = /** @type {Places | undefined} */ (
      context.of(
        run,
        `position ${stack.name} ${token}`,
        (signal) => ask("/api/position", { run: run.run, stack: stack.name, token }, signal),
        "position",
      )
    );
    const parts = ["token", "position", "sum"].map((part) => context.row(run, stack, `embedding.${part}`, i));
    if (!table || parts.some((part) => !part)) return;
    const matrices = /** @type {Matrix[]} */ (parts),
      found = placed(table, matrices);
    this.drawRail(found, matrices[0].columns);
    if (found.table) this.table = found.table;
    this.top.hidden = !added || !this.table;
    this.other.hidden = !found.similarity;
    this.drawStrips(found, matrices);
    if (added && this.table) this.drawTable(this.table, i, !found.table);
    if (found.similarity) this.drawSimilar(found, i);
  }

  /** @param {Places} found @param {number} width */
  drawRail(found, width) {
    const { context } = this,
      { place, stack } = context,
      model = /** @type {import("../core/types.js").Run} */ (context.run).model,
      n = stack.tokens.length;
    this.box.checked = place.positions;
    const how = model.order,
      token = Math.round(100 * (found.word_share ?? 1)),
      position = 100 - token;
    fill(
      this.rail,
      h("p", {}, how),
      h(
        "p",
        {},
        stack.name === "encoder" || model.kind === "encoder"
          ? "Without it, nothing tells the model what came first."
          : "Without it, only the mask tells the model what came first.",
      ),
      model.position_kind === "none"
        ? null
        : h(
            "div",
            { class: "ctl" },
            h(
              "label",
              { class: "tick" },
              this.box,
              model.adds_positions ? "Add positions " : "Use positions ",
              h("kbd", {}, "p"),
            ),
          ),
      model.adds_positions
        ? h(
            "p",
            {},
            place.positions
              ? `By squared length, the two parts are ${token} % token and ${position} % position.`
              : "Positions are off. Two equal tokens now enter as equal vectors.",
          )
        : h("p", {}, "Here positions add nothing to the vector: the input is the token alone."),
      h("p", {}, this.turned),
      h("p", {}, h("a", { class: "link", href: "#lessons?lesson=order" }, "What can it not tell without them?")),
      h(
        "p",
        { class: "mono" },
        `${siteOf(stack, "embedding.position")} [${n}, ${width}]`,
        h("br"),
        `${siteOf(stack, "embedding.sum")} [${n}, ${width}]`,
      ),
    );
  }

  /** @param {Places} found @param {Matrix[]} parts */
  drawStrips(found, parts) {
    const { context } = this,
      { stack, place, seen } = context,
      width = stripWidth(this.rows),
      order = this.order(),
      scale = reach(parts[2]);
    const sites = ["token", "position", "sum"].map((part) => siteOf(stack, `embedding.${part}`)),
      t = place.i;
    const notes = [`row ${stack.tokens[t].id} of the learned table`, `row ${t} of the table of positions`, "token + position"];
    parts.forEach((matrix, k) => {
      const pen = fit(this.strips[k], width, 16),
        numbers = rowOf(matrix, 0),
        isOff = k === 1 && !numbers.some((v) => v !== 0);
      this.strips[k].setAttribute("aria-label", `${sites[k]} of ${spoken(stack.tokens[t])}, length ${fixed(found.lengths[k])}`);
      if (isOff) dashed(pen, 0, 0, width, 16);
      else {
        cells(
          pen,
          {
            x: 0,
            y: 0,
            width,
            height: 16,
            rows: 1,
            columns: numbers.length,
            ramp: k < 2 ? "learned-signed" : "computed-signed",
            label: `${sites[k]}[${t}]`,
            value: (_, d) => numbers[order[d]],
            site: (_, d) => `${sites[k]}[${t}, ${order[d]}]`,
            note: () => notes[k],
          },
          scale,
        );
      }
      through(pen, width, 16, order, seen.dimension);
      this.lengths[k].textContent = isOff ? "off" : fixed(found.lengths[k], found.lengths[k] < 9.95 ? 2 : 1);
    });
    fill(this.names[0], ...drawn(stack.tokens[t]));
    this.names[1].textContent = "+ position";
    this.names[2].textContent = "= input";
  }

  /** @param {number[][]} table @param {number} i @param {boolean} [isOff] */
  drawTable(table, i, isOff = false) {
    const { context } = this,
      { stack } = context,
      width = stripWidth(this.rows),
      order = this.order(),
      rows = table.length,
      high = TALL / rows;
    const pen = fit(this.picture, width, TALL),
      flat = table.flat(),
      most = flat.reduce((found, value) => Math.max(found, Math.abs(value)), 0) || 1; // more values than a call takes arguments
    const isWave = context.run?.model.position_kind === "sinusoidal";
    cells(
      pen,
      {
        x: 0,
        y: 0,
        width,
        height: TALL,
        rows,
        columns: order.length,
        ramp: "learned-signed",
        label: "the table of positions",
        value: (row, d) => table[row][order[d]],
        site: (row, d) =>
          row < stack.tokens.length
            ? `${siteOf(stack, "embedding.position")}[${row}, ${order[d]}]`
            : `weights.position[${row}, ${order[d]}]`,
        note: (row, d) =>
          (isWave ? wave(order, d, row) : `row ${row} of a learned table`) +
          (rows > TALL ? "; the picture shows means of neighbours" : ""),
      },
      isWave ? 1.15 * most : reach(flat),
    );
    this.picture.setAttribute(
      "aria-label",
      `The table of positions, ${rows} rows of ${order.length} numbers; the place is row ${i}.`,
    );
    if (isOff) {
      pen.fillStyle = css("page");
      pen.globalAlpha = 0.82;
      pen.fillRect(0, 0, width, TALL);
      pen.globalAlpha = 1;
    }
    const top = clamp(i * high - 7, 0, TALL - 32);
    fill(
      this.labels,
      h("span", { class: "look", style: { top: `${top}px` } }, `position ${i}`),
      h("span", { class: "tickmark", style: { top: `${i * high}px`, height: `${Math.max(2, high)}px` } }),
      h("span", { style: { top: `${TALL - 16}px` } }, String(rows - 1)),
    );
  }

  /** @param {Places} found @param {number} i */
  drawSimilar(found, i) {
    const similar = found.similarity;
    if (!similar) return;
    const width = this.other.clientWidth,
      pen = fit(this.similar, width, TALL),
      last = similar.length - 1,
      low = Math.min(0, ...similar);
    const x = (/** @type {number} */ k) => 4 + ((width - 8) * k) / Math.max(1, last),
      y = (/** @type {number} */ v) => TALL - 18 - ((TALL - 36) * (v - low)) / (1 - low);
    line(
      pen,
      [
        [0, Math.round(y(0)) + 0.5],
        [width, Math.round(y(0)) + 0.5],
      ],
      css("rule"),
    );
    line(
      pen,
      similar.map((v, k) => [x(k), y(v)]),
      css("learned"),
      1.5,
    );
    pen.fillStyle = css("look");
    pen.beginPath();
    pen.arc(x(i), y(similar[i] ?? 1), 3.5, 0, 7);
    pen.fill();
    write(pen, "1.00 with itself", Math.min(x(i) + 8, width - 84), y(1) + 3);
    write(pen, "position 0", 0, TALL - 3);
    write(pen, String(last), width, TALL - 3, { align: "end" });
    const far = Math.min(last, i + 30);
    if (far > i + 9)
      write(
        pen,
        `${fixed(similar[far])} ${far - i === 30 ? "thirty" : far - i} places on`,
        Math.min(width - 110, x(far) + 4),
        y(similar[far]) - 12,
      );
    remember(this.similar, {
      x: 4,
      y: 0,
      width: width - 8,
      height: TALL,
      rows: 1,
      columns: similar.length,
      ramp: "learned-signed",
      label: `cosine with position ${i}`,
      value: (_, k) => similar[k],
      site: () => "cosine of two rows of the table",
      says: (_, k) => `position ${k}: ${exact(similar[k])} with position ${i}`,
    });
    this.similar.setAttribute("aria-label", `How alike position ${i} is to the others; thirty places on ${fixed(similar[far])}.`);
    this.similarCaption.textContent = this.context.run?.model.adds_positions
      ? `How alike position ${i} is to each of the others: near places look alike.`
      : `How alike position ${i} and each of the others turn a query (cosine of their angles).`;
  }
}

/**
 * What the table and the vectors of one token say about its place: the table is asked for once.
 * @param {Places} table
 * @param {Matrix[]} parts
 * @returns {Places}
 */
function placed(table, parts) {
  const squares = parts.map(({ data }) => data.reduce((sum, v) => sum + v * v, 0)),
    place = parts[1].data,
    word = squares[0] / (squares[0] + squares[1] || 1);
  const similarity =
    table.table && squares[1]
      ? table.table.map((row) => {
          let dot = 0,
            own = 0;
          row.forEach((v, d) => {
            dot += v * place[d];
            own += v * v;
          });
          return dot / Math.sqrt(own * squares[1] || 1);
        })
      : table.similarity;
  return { ...table, similarity, word_share: word, position_share: 1 - word, lengths: squares.map(Math.sqrt) };
}

/** @param {number[]} order @param {number} d @param {number} row */
function wave(order, d, row) {
  const dimension = order[d],
    isCosine = order[1] === 2 ? dimension % 2 === 1 : dimension >= order.length / 2;
  const pair = order[1] === 2 ? dimension - (dimension % 2) : 2 * (dimension % (order.length / 2));
  return `a fixed wave: ${isCosine ? "cos" : "sin"}(${row} / 10000^(${pair}/${order.length})), times the table’s scale`;
}
