// How the vector in the frame divides over the tokens: attention rollout (Abnar & Zuidema 2020), heads weighted by what they
// write.
// In: one matrix a layer, whose rows say what a vector keeps and takes. Out: shares of every column, and threads, by the rows
// shown.

import { ask } from "../core/api.js";
import { siteOf } from "../core/context.js";
import { range } from "../core/dom.js";
import { rowOfToken, WHOLE } from "../core/rows.js";

/** @typedef {import("../core/context.js").Context} Context */
/** @typedef {import("../core/rows.js").Rows} Rows */

/**
 * Of one stack. shares[c][row] of column c (0: the sum); threads[l][to * rows + from] between columns l and l + 1; whole: the
 * shares of
 * column 0 by token.
 * @typedef {{shares: Float32Array[], threads: Float32Array[], whole: Float32Array, rows: number}} Flow
 * @typedef {{flows: (Flow | null)[], cross: {threads: Float32Array, from: number}[] }} Rolled cross[l][to * from + source row]
 */

/** @param {Context} context @returns {Rolled | undefined} */
export function rollout(context) {
  const run = /** @type {import("../core/types.js").Run} */ (context.run),
    { stack, i, c } = context.seen;
  const long = run.stacks.some((each) => each.tokens.length > WHOLE);
  return long ? asked(context, run, stack, i, c) : rolled(context, run, stack, i, c);
}

/** @param {number} layers @param {number} rows @param {number} tokens @returns {Flow} */
function empty(layers, rows, tokens) {
  return {
    shares: range(layers + 1).map(() => new Float32Array(rows)),
    threads: range(layers).map(() => new Float32Array(rows * rows)),
    whole: new Float32Array(tokens),
    rows,
  };
}

/**
 * @param {Context} context
 * @param {import("../core/types.js").Run} run
 * @param {number} stack
 * @param {number} i
 * @param {number} c
 */
function rolled(context, run, stack, i, c) {
  /** @type {(Flow | null)[]} */
  const flows = run.stacks.map(() => null);
  /** @type {Rolled["cross"]} */
  const cross = [];
  const start = new Float64Array(run.stacks[stack].tokens.length);
  start[i] = 1;
  const source = new Float64Array(run.stacks[0].tokens.length);
  const main = down(context, run, stack, start, c, stack > 0 ? { source, cross } : null);
  if (!main) return undefined;
  flows[stack] = main;
  if (stack > 0) {
    const below = down(context, run, 0, source, layersOf(run, 0), null);
    if (!below) return undefined;
    flows[0] = below;
  }
  return { flows, cross };
}

/** @param {import("../core/types.js").Run} run @param {number} stack */
export function layersOf(run, stack) {
  return run.stacks[stack].columns.filter(({ site }) => site.endsWith("residual.end")).length;
}

/**
 * From the column looked at down to the sum.
 * @param {Context} context @param {import("../core/types.js").Run} run @param {number} stack @param {Float64Array} start
 * @param {number} column @param {{source: Float64Array, cross: Rolled["cross"]} | null} memory @returns {Flow | undefined}
 */
function down(context, run, stack, start, column, memory) {
  const each = run.stacks[stack],
    tokens = each.tokens.length,
    rows = context.rows(stack),
    layers = layersOf(run, stack);
  const mixes = range(column).map((l) => context.tensor(run, siteOf(each, `layers.${l}.mix`)));
  const crossed = memory ? range(column).map((l) => context.tensor(run, siteOf(each, `layers.${l}.cross.mix`))) : [];
  if (mixes.some((mix) => !mix) || crossed.some((mix) => !mix)) return undefined;
  const flow = empty(layers, rows.count, tokens),
    place = range(tokens).map((t) => rowOfToken(rows, t));
  const into = (/** @type {Float32Array} */ shares, /** @type {Float64Array} */ whole) =>
    whole.forEach((v, t) => {
      if (place[t] >= 0) shares[place[t]] += v;
    });
  let whole = start;
  into(flow.shares[column], whole);
  for (let l = column - 1; l >= 0; l--) {
    const mix = /** @type {import("../core/types.js").Matrix} */ (mixes[l]);
    if (memory)
      memory.cross[l] = taken(
        whole,
        /** @type {import("../core/types.js").Matrix} */ (crossed[l]),
        place,
        rows.count,
        context.rows(0),
        memory.source,
      );
    whole = before(whole, mix, flow.threads[l], place, rows.count);
    into(flow.shares[l], whole);
  }
  flow.whole.set(whole);
  return flow;
}

/**
 * @param {Float64Array} whole
 * @param {import("../core/types.js").Matrix} mix
 * @param {Float32Array} threads
 * @param {number[]} place
 * @param {number} rows
 */
function before(whole, mix, threads, place, rows) {
  const next = new Float64Array(whole.length);
  whole.forEach((share, to) => {
    if (share === 0) return;
    for (let from = 0; from < whole.length; from++) {
      const v = share * mix.data[to * mix.columns + from];
      if (v === 0) continue;
      next[from] += v;
      if (place[to] >= 0 && place[from] >= 0) threads[place[to] * rows + place[from]] += v;
    }
  });
  return next;
}

/**
 * What cross-attention takes from the source in one layer.
 * @param {Float64Array} whole @param {import("../core/types.js").Matrix} mix @param {number[]} place @param {number} rows
 * @param {Rows} sources @param {Float64Array} total
 */
function taken(whole, mix, place, rows, sources, total) {
  const threads = new Float32Array(rows * sources.count);
  whole.forEach((share, to) => {
    for (let from = 0; from < mix.columns; from++) {
      const v = share * mix.data[to * mix.columns + from],
        row = rowOfToken(sources, from);
      total[from] += v;
      if (v && place[to] >= 0 && row >= 0) threads[place[to] * sources.count + row] += v;
    }
  });
  return { threads, from: sources.count };
}

/**
 * For long texts the server rolls out; the page folds.
 * @param {Context} context @param {import("../core/types.js").Run} run @param {number} stack @param {number} i @param {number} c
 * @returns {Rolled | undefined}
 */
function asked(context, run, stack, i, c) {
  const each = run.stacks[stack],
    last = run.stacks.length - 1;
  const found = context.of(
    run,
    `rollout ${stack} ${i} ${c}`,
    (signal) => ask("/api/rollout", { run: run.run, stack: each.name, token: i, column: c }, signal),
    "rollout",
  );
  if (!found) return undefined;
  /** @type {(Flow | null)[]} */
  const flows = run.stacks.map((_, s) => {
    const answer = s === stack ? found : s < stack ? found.source : null;
    return answer ? folded(context, run, s, answer) : null;
  });
  const sources = context.rows(0),
    rows = context.rows(stack);
  return {
    flows,
    cross:
      stack < last || last === 0
        ? []
        : found.cross.map((/** @type {[number, number, number][]} */ threads) => ({
            from: sources.count,
            threads: laid(threads, rows, sources),
          })),
  };
}

/**
 * @param {Context} context @param {import("../core/types.js").Run} run @param {number} stack
 * @param {{shares: number[][], threads: [number, number, number][][]}} answer @returns {Flow}
 */
function folded(context, run, stack, answer) {
  const tokens = run.stacks[stack].tokens.length,
    rows = context.rows(stack),
    flow = empty(layersOf(run, stack), rows.count, tokens);
  answer.shares.forEach((shares, k) =>
    shares.forEach((share, t) => {
      const row = rowOfToken(rows, t);
      if (row >= 0) flow.shares[k][row] += share;
    }),
  );
  answer.threads.forEach((threads, l) => {
    flow.threads[l] = laid(threads, rows, rows);
  });
  flow.whole.set(answer.shares[0]);
  return flow;
}

/**
 * Threads by rows: [to * sources + from].
 * @param {[number, number, number][]} threads
 * @param {Rows} rows
 * @param {Rows} sources
 */
function laid(threads, rows, sources) {
  const out = new Float32Array(rows.count * sources.count);
  for (const [from, to, share] of threads) {
    const a = rowOfToken(sources, from),
      b = rowOfToken(rows, to);
    if (a >= 0 && b >= 0) out[b * sources.count + a] += share;
  }
  return out;
}

/** Between two states of the threads, part 0 … 1. @param {Float32Array[]} from @param {Float32Array[]} to @param {number} part */
export function between(from, to, part) {
  return to.map((goal, l) => {
    const start = from[l];
    return start && start.length === goal.length ? goal.map((v, k) => start[k] + (v - start[k]) * part) : goal;
  });
}
