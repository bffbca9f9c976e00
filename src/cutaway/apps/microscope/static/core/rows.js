// Which tokens stand as rows. In: how many there are, and the one that is looked at. Out: all, or a window with the rest folded.

/** More tokens than these are shown in a window. */
export const ALL = 40;
export const WINDOW = 24;
const BLOCK = 128;
/** Up to here the page holds whole matrices; beyond, it asks for windows and pools. */
export const WHOLE = 256;

/**
 * first and last: of the window; before and after: how many are folded away; count: rows, the folded one included.
 * @typedef {{first: number, last: number, before: number, after: number, count: number, total: number}} Rows
 */

/**
 * @param {number} total
 * @param {number} at
 * @param {Rows | null} [old] what was shown, which stays while it holds the place
 * @returns {Rows}
 */
export function rowsFor(total, at, old = null) {
  if (total <= ALL) return { first: 0, last: total - 1, before: 0, after: 0, count: total, total };
  const stays = old !== null && old.total === total && at >= old.first && at <= old.last;
  const first = stays ? old.first : Math.max(0, Math.min(total, at + 4) - WINDOW);
  const last = Math.min(total - 1, first + WINDOW - 1);
  return { first, last, before: first, after: total - 1 - last, count: last - first + 1 + (first ? 1 : 0), total };
}

/** The row of a token: 0 for what is folded, −1 for what comes after. @param {Rows} rows @param {number} token */
export function rowOfToken(rows, token) {
  if (token > rows.last) return -1;
  return token < rows.first ? 0 : token - rows.first + (rows.before ? 1 : 0);
}

/** The token of a row, −1 for the folded row. @param {Rows} rows @param {number} row */
export function tokenOfRow(rows, row) {
  return rows.before ? (row === 0 ? -1 : rows.first + row - 1) : row;
}

/** What is asked for in order to show a window: whole blocks. @param {number} first @param {number} last @param {number} total */
export function around(first, last, total) {
  return { begin: Math.floor(first / BLOCK) * BLOCK, end: Math.min(total, Math.ceil((last + 1) / BLOCK) * BLOCK) };
}
