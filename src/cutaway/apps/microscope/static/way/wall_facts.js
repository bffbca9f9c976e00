// What the heads of a run do, measured on its text. In: the server's measures. Out: a label of a few words and one number.

import { ask } from "../core/api.js";
import { h } from "../core/dom.js";
import { fixed, spoken } from "../core/text.js";

/** @typedef {import("../core/types.js").HeadFact} HeadFact */

/** How coarse a picture of so many cells is in so many pixels. @param {number} cells @param {number} pixels */
export function levelFor(cells, pixels) {
  return Math.max(0, Math.ceil(Math.log2(cells / pixels)));
}

/** @param {import("../core/context.js").Context} context @returns {HeadFact[] | undefined} */
export function headFacts(context) {
  const run = /** @type {import("../core/types.js").Run} */ (context.run),
    last = run.stacks.length - 1;
  const token = context.place.stack === last ? context.place.i : 0;
  return context.of(
    run,
    `heads ${token}`,
    (signal) => ask("/api/heads", { run: run.run, token }, signal).then(({ heads }) => heads),
    "heads",
  );
}

/**
 * What a head does, said only by numbers measured on this text.
 * @param {HeadFact} fact
 * @param {import("../core/types.js").Run} run
 * @param {number} i
 */
export function labelOf(fact, run, i) {
  const { first, itself, previous, spread, source, weight } = fact.measured;
  if (fact.label === "previous") return `one back ${fixed(previous)}`;
  if (fact.label === "first") return `first token ${fixed(first)}`;
  if (fact.label === "itself") return `itself ${fixed(itself)}`;
  const here = run.stacks.findIndex(({ name }) => name === fact.stack),
    tokens = run.stacks[here].tokens;
  const sources = fact.block === "cross" ? run.stacks[0].tokens : tokens;
  if (fact.label === "mixed" && source !== null && weight !== null && tokens[i] && sources[source]) {
    return `${spoken(tokens[i])} → ${spoken(sources[source])} ${fixed(weight)}`;
  }
  return `spread ${fixed(spread)}`;
}

/** Whether a token of a stack sees only what came before it. @param {import("../core/types.js").Run} run @param {string} stack */
export function isCausal(run, stack) {
  return run.model.kind !== "encoder" && stack !== "encoder" && !(run.model.predicts ?? "").startsWith("masked");
}

/** What the wall says of itself. @param {import("../core/types.js").Run} run @param {number} n tokens @returns {HTMLElement[]} */
export function railOf({ model }, n) {
  const last = model.num_layers - 1;
  return [
    h(
      "p",
      {},
      "Attention moves information between tokens; nothing else does. In each picture a row is the token that looks, a column the token that is looked at. The stronger the tone, the more is taken.",
    ),
    h(
      "p",
      {},
      `Next to the ${model.num_heads} heads, the ${model.d_hidden} units of the feed-forward network, which sees one token at a time.`,
    ),
    h(
      "p",
      {},
      "Labels are measured on this text. Open a head with a click or ",
      h("kbd", {}, "Enter"),
      "; ",
      h("kbd", {}, "x"),
      " switches it off.",
    ),
    h(
      "p",
      { class: "mono" },
      `layers.0–${last}.attention.weights [${model.num_heads}, ${n}, ${n}]`,
      h("br"),
      `layers.0–${last}.feedforward.active [${n}, ${model.d_hidden}]`,
    ),
  ];
}

/** @param {HeadFact[]} facts @param {import("../core/types.js").Run} run @param {number} i @returns {import("../core/table.js").Table} */
export function factsTable(facts, run, i) {
  const number = (/** @type {number | null} */ v) => (v === null ? "" : fixed(v));
  return {
    title: "What the heads do on this text, measured",
    head: ["head", "label", "first token", "itself", "one back", "spread"],
    rows: facts.map((fact) => [
      `${fact.stack ? `${fact.stack} ` : ""}${fact.block === "cross" ? "cross " : ""}${fact.layer}.${fact.head}`,
      labelOf(fact, run, i),
      number(fact.measured.first),
      number(fact.measured.itself),
      number(fact.measured.previous),
      number(fact.measured.spread),
    ]),
  };
}
