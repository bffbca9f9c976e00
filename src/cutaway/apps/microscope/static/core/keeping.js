// What a saved page is to hold. In: the run. Out: the names of all answers that its pictures may ask for, as the protocol writes
// them.

import { siteOf } from "./context.js";
import { range } from "./dom.js";
import { getKey, postKey } from "./saved.js";

/** @typedef {import("./types.js").Run} Run */

/** Answers by token are kept for so many tokens: those in the window that ends with the place. */
const MOST_TOKENS = 64;
const NEIGHBOURS = 8;

/**
 * @param {Run} run
 * @param {import("./types.js").Place} place
 * @param {(token: number) => number} word the likeliest word behind a token
 * @returns {string[]}
 */
export function keptKeys(run, place, word) {
  const keys = [getKey("/api/vocabulary", { model: run.model.name }), getKey("/api/models", {}), getKey("/api/lessons", {})],
    last = run.stacks.length - 1;
  run.stacks.forEach((stack, s) => {
    const first = Math.max(
      0,
      Math.min((s === place.stack ? place.i : stack.tokens.length) + 1, stack.tokens.length) - MOST_TOKENS,
    );
    const tokens = range(Math.min(MOST_TOKENS, stack.tokens.length)).map((k) => first + k);
    keys.push(
      ...ofStack(run, s, place),
      ...tokens.flatMap((token) => ofToken(run, s, token, s === place.stack && token === place.i)),
    );
    if (s === last && stack.next.length)
      keys.push(
        ...tokens.flatMap((token) => ofOutput(run, token, word(token))),
        postKey("/api/says", { run: run.run, rows: [0, stack.tokens.length] }),
      );
  });
  return [...new Set(keys)];
}

/** @param {Run} run @param {number} s @param {import("./types.js").Place} place */
function ofStack(run, s, place) {
  const stack = run.stacks[s],
    layers = stack.columns.filter(({ site }) => site.endsWith("residual.end")).length,
    id = run.run;
  const tensor = (/** @type {string} */ site, /** @type {Record<string, any>} */ part = {}) =>
    getKey("/api/tensor", { run: id, site: siteOf(stack, site), ...part });
  const blocks = s > 0 ? ["attention", "cross"] : ["attention"];
  return [
    postKey("/api/position", { run: id, stack: stack.name, token: 0 }),
    ...stack.columns.map(({ site }) => getKey("/api/tensor", { run: id, site })),
    ...range(layers).flatMap((l) => [
      tensor(`layers.${l}.feedforward.active`),
      tensor(`layers.${l}.mix`),
      ...(s > 0 ? [tensor(`layers.${l}.cross.mix`)] : []),
      ...blocks.flatMap((block) => [
        postKey("/api/head", { run: id, stack: stack.name, block, layer: l, head: 0, token: 0 }),
        tensor(`layers.${l}.${block}.input`),
        ...range(run.model.num_heads).map((h) => tensor(`layers.${l}.${block}.scores`, { index: String(h) })),
        ...(s === place.stack && l === place.l
          ? range(run.model.num_heads).map((h) =>
              getKey("/api/tensor", {
                run: id,
                site: `weights.${siteOf(stack, `layers.${l}.${block}.query`)}`,
                index: String(h),
              }),
            )
          : []),
      ]),
    ]),
  ];
}

/**
 * @param {Run} run
 * @param {number} s
 * @param {number} token
 * @param {boolean} isPlace units are kept for the place alone: they are long
 */
function ofToken(run, s, token, isPlace) {
  const stack = run.stacks[s],
    layers = stack.columns.filter(({ site }) => site.endsWith("residual.end")).length,
    about = { run: run.run, stack: stack.name, token };
  const isFirst = stack.tokens.findIndex(({ id }) => id === stack.tokens[token].id) === token;
  return [
    ...(isFirst ? [postKey("/api/embedding", { ...about, count: NEIGHBOURS })] : []),
    ...(s === run.stacks.length - 1 ? [postKey("/api/heads", { run: run.run, token })] : []),
    ...(isPlace ? range(layers).map((layer) => postKey("/api/unit", { ...about, layer, unit: null })) : []),
  ];
}

/** @param {Run} run @param {number} token @param {number} word */
function ofOutput(run, token, word) {
  return [
    getKey("/api/logits", { run: run.run, token }),
    postKey("/api/says", { run: run.run, rows: [token, token + 1] }),
    ...(word >= 0 ? [postKey("/api/why", { run: run.run, token, word, against: null })] : []),
  ];
}
