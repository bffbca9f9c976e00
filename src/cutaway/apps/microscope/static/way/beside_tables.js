// Words and parts of two runs beside one another. In: two runs and the place. Out: three tables of numbers.

import { ask, logits } from "../core/api.js";
import { h, range } from "../core/dom.js";
import { exact, fixed, percent, signed, token as drawn } from "../core/text.js";
import { softmax, vocabulary } from "./sampling.js";
import { columnOf } from "./stream.js";

/** @typedef {import("../core/context.js").Context} Context */
/** @typedef {import("../core/types.js").Run} Run */

const LISTED = 12;

/** The row of the last stack that is compared, in either run. @param {Context} context @param {Run} run */
function rowOf(context, run) {
  const last = run.stacks.length - 1,
    most = run.stacks[last].tokens.length - 1;
  return context.place.stack === last ? Math.min(context.place.i, most) : most;
}

/** What each column would say, A over B. @param {Context} context @param {Run} run @param {Run} other */
export function lensTable(context, run, other) {
  if (!run.stacks[run.stacks.length - 1].next.length || !other.stacks[other.stacks.length - 1].next.length) return null;
  const says = [run, other].map((each) => {
    const row = rowOf(context, each);
    return /** @type {import("../core/types.js").Says | undefined} */ (
      context.of(each, `says ${[row, row + 1]}`, (signal) => ask("/api/says", { run: each.run, rows: [row, row + 1] }, signal))
    );
  });
  if (says.some((each) => !each)) return null;
  const [a, b] = /** @type {import("../core/types.js").Says[]} */ (says),
    line = (/** @type {string} */ name, /** @type {import("../core/types.js").Says} */ each) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, name),
        ...each.rows[0].map(({ text, chance }) =>
          h("td", {}, ...drawn(text), h("small", { class: "quiet" }, ` ${percent(chance)}`)),
        ),
      );
  return h(
    "div",
    {},
    h("h3", {}, "What each column would say"),
    h(
      "div",
      { class: "tablebox" },
      h(
        "table",
        { class: "numbers" },
        h("tr", {}, h("th"), ...a.columns.map((site) => h("th", { scope: "col" }, columnOf(site).name))),
        line("A", a),
        line("B", b),
      ),
    ),
  );
}

/** The likeliest words of both. @param {Context} context @param {Run} run @param {Run} other */
export function wordsTable(context, run, other) {
  const found = [run, other].map((each) => {
      const row = rowOf(context, each);
      return context.of(each, `logits ${row}`, (signal) => logits(each.run, row, signal).then((data) => ({ data })));
    }),
    texts = vocabulary(context);
  if (!found[0] || !found[1] || !texts || found[0].data.length !== found[1].data.length) return null;
  const [p, q] = found.map((each) => softmax(/** @type {{data: Float32Array}} */ (each).data, 1)),
    ids = range(p.length)
      .sort((a, b) => p[b] + q[b] - p[a] - q[a])
      .slice(0, LISTED);
  let apart = 0;
  for (let k = 0; k < p.length; k++) apart += Math.abs(p[k] - q[k]) / 2;
  return h(
    "div",
    {},
    h("h3", {}, "The likeliest words of both"),
    h(
      "table",
      { class: "numbers" },
      h("tr", {}, h("th"), ...["A", "B", "A − B"].map((name) => h("th", { scope: "col", class: "num" }, name))),
      ...ids.map((id) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, ...drawn(texts[id])),
          h("td", { class: "num" }, percent(p[id])),
          h("td", { class: "num" }, percent(q[id])),
          h("td", { class: "num" }, `${signed(100 * (p[id] - q[id]), 1)} %`),
        ),
      ),
    ),
    h("p", { class: "cap" }, `Half of all differences of chances: ${percent(apart)} of what A would say is said otherwise by B.`),
  );
}

/** Which parts push the word of A, in both runs. @param {Context} context @param {Run} run @param {Run} other */
export function partsTable(context, run, other) {
  const rows = [run, other].map((each) => rowOf(context, each)),
    texts = vocabulary(context);
  const z = context.of(run, `logits ${rows[0]}`, (signal) => logits(run.run, rows[0], signal).then((data) => ({ data })));
  if (!z || !texts || run.model.vocab_size !== other.model.vocab_size) return null;
  const word = context.place.word >= 0 ? context.place.word : z.data.indexOf(Math.max(...z.data));
  const whys = [run, other].map(
    (each, k) =>
      /** @type {import("../core/types.js").Why | undefined} */ (
        context.of(each, `why ${rows[k]} ${word} -1`, (signal) =>
          ask("/api/why", { run: each.run, token: rows[k], word, against: null }, signal),
        )
      ),
  );
  if (!whys[0] || !whys[1]) return null;
  const name = (/** @type {import("../core/types.js").Part} */ part) =>
    [
      part.layer === null || part.layer === undefined ? "" : `layer ${part.layer}`,
      part.kind === "feedforward" ? "feed-forward" : part.kind,
      part.head ?? "",
    ]
      .join(" ")
      .trim();
  const b = new Map(whys[1].parts.map((part) => [name(part), part.value])),
    parts = whys[0].parts.map((part) => ({ name: name(part), a: part.value, b: b.get(name(part)) ?? 0 }));
  const largest = [...parts].sort((x, y) => Math.abs(y.a - y.b) - Math.abs(x.a - x.b)).slice(0, LISTED);
  return h(
    "div",
    {},
    h("h3", {}, "Parts of the logit of ", ...drawn(texts[word]), " that differ most"),
    h(
      "table",
      { class: "numbers" },
      h("tr", {}, h("th"), ...["A", "B", "A − B"].map((each) => h("th", { scope: "col", class: "num" }, each))),
      ...largest.map((part) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, part.name),
          h("td", { class: "num" }, fixed(part.a)),
          h("td", { class: "num" }, fixed(part.b)),
          h("td", { class: "num" }, signed(part.a - part.b)),
        ),
      ),
      h(
        "tr",
        {},
        h("th", { scope: "row" }, "sum of all"),
        h("td", { class: "num" }, fixed(whys[0].total)),
        h("td", { class: "num" }, fixed(whys[1].total)),
        h("td", { class: "num" }, exact(whys[0].total - whys[1].total)),
      ),
    ),
  );
}
