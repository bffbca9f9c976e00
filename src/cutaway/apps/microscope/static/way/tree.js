// How symbols become a token: a tree of joins. In: a token's symbols and joins. Out: its tree, and what is left of it with fewer
// joins.

import { count } from "../core/text.js";

/** @typedef {import("../core/types.js").Token} Token */
/** @typedef {{text: string, rank: number, length: number, left: Node_ | null, right: Node_ | null}} Node_ rank −1: a symbol */

/**
 * The tree of one token: its symbols joined in the order of its joins.
 * @param {Token} token @returns {Node_[]} one node where everything was joined
 */
export function treeOf(token) {
  if (!token.symbols.length)
    return [
      { text: token.text, rank: -1, length: lettersOf(token).reduce((sum, { wide }) => sum + wide, 0), left: null, right: null },
    ];
  /** @type {Node_[]} */
  const nodes = token.symbols.map((text) => ({ text, rank: -1, length: 1, left: null, right: null }));
  for (const join of token.joins) {
    const at = nodes.findIndex((node, k) => node.text === join.left && nodes[k + 1]?.text === join.right);
    if (at < 0) continue;
    const [left, right] = nodes.slice(at, at + 2);
    nodes.splice(at, 2, { text: join.result, rank: join.rank, length: left.length + right.length, left, right });
  }
  return nodes;
}

/** What the tree is with the first joins only. @param {Node_} node @param {number} joins @returns {Node_[]} */
export function cutAt(node, joins) {
  if (!node.left || !node.right || node.rank < joins) return [node];
  return [...cutAt(node.left, joins), ...cutAt(node.right, joins)];
}

/** What stands above a token: its symbols; its characters where nothing was joined; a mark such as the end of a text as a whole.
 * @param {Token} token @returns {{text: string, wide: number}[]} wide: in cells */
export function lettersOf(token) {
  if (token.symbols.length) return token.symbols.map((text) => ({ text, wide: 1 }));
  if (/^<.*>$/s.test(token.text) || token.start === token.end)
    return [{ text: token.text, wide: Math.max(2, Math.ceil(token.text.length / 2.4)) }];
  return [...token.text].map((text) => ({ text, wide: 1 }));
}

/** Tokens that stand in one word go together. @param {{token: Token, i: number}[]} tokens */
export function grouped(tokens) {
  /** @type {{token: Token, i: number}[][]} */
  const chunks = [];
  for (const each of tokens) {
    const before = chunks[chunks.length - 1]?.[0].token,
      { token } = each;
    const goesOn =
      before &&
      token.symbols.length > 0 &&
      before.symbols.length > 0 &&
      /^[\p{L}\p{M}\ufffd]/u.test(token.text) &&
      /[\p{L}\p{M}\ufffd]$/u.test(lastOf(chunks).text);
    if (goesOn) chunks[chunks.length - 1].push(each);
    else chunks.push([each]);
  }
  return chunks;
}

/** @param {{token: Token, i: number}[][]} chunks */
function lastOf(chunks) {
  const chunk = chunks[chunks.length - 1];
  return chunk[chunk.length - 1].token;
}

/** @param {Token} token */
export function last(token) {
  return Math.max(...token.joins.map(({ rank }) => rank));
}

/** @param {number} rank */
export function ordinal(rank) {
  return `as number ${count(rank)}`;
}
