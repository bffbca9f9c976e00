// A log of events as a proof sheet: one line for each pass, time runs down, text runs right.
// In: events (draft, accept, reject, commit, remask), and the tokens that stood there before. Out: what stands at each place
// after each pass, and what happened to it.

import { range } from "../core/dom.js";

/** @typedef {import("../core/types.js").Happening} Happening */
/**
 * What a place shows in a pass. kind: kept (from earlier), commit, accept, draft, reject, mask (not written yet), remask.
 * was: what stood there and was taken away in this pass.
 * @typedef {{kind: string, text: string, id: number | null, probability: number | null, was: string | null}} Cell
 * @typedef {{pass: number, cells: (Cell | null)[], fresh: number, lost: number}} Line
 * @typedef {{first: number, length: number, lines: Line[], masks: boolean}} Sheet
 * @typedef {{text: string, id: number, role?: string | null}} Stood
 */

/**
 * stood: the tokens of the text before the first pass, from place 0 on; masks among them are places to fill. fills: whether the
 * decoder fills places in any order, so that those without a token are masks; it shows by itself once one does.
 * @param {Happening[]} events @param {Stood[]} [stood] @param {boolean} [fills] @returns {Sheet}
 */
export function sheet(events, stood = [], fills = false) {
  const places = events.map(({ position }) => position),
    holes = range(stood.length).filter((place) => stood[place].role === "mask"),
    first = places.length ? Math.min(...places, ...holes) : 0,
    length = places.length ? Math.max(...places, ...holes) - first + 1 : 0;
  const passes = [...new Set(events.map(({ pass }) => pass))].sort((a, b) => a - b),
    masks = fills || holes.length > 0 || events.some(({ kind }) => kind === "remask") || isOutOfOrder(events);
  /** @type {(Cell | null)[]} what stands there so far */
  let standing = range(length).map((k) => {
    const token = stood[first + k];
    return token && token.role !== "mask" ? { ...blank("kept"), text: token.text, id: token.id } : null;
  });
  const lines = passes.map((pass) => {
    const found = ofPass(
      events.filter((event) => event.pass === pass),
      standing,
      first,
      masks,
    );
    standing = found.after;
    return { pass, ...found.line };
  });
  return { first, length, lines, masks };
}

/** Whether places are written in another order than from left to right. @param {Happening[]} events */
function isOutOfOrder(events) {
  const final = events.filter(({ kind }) => kind === "commit" || kind === "accept").map(({ position }) => position);
  return final.some((position, k) => k > 0 && position < final[k - 1]);
}

/**
 * @param {Happening[]} events @param {(Cell | null)[]} standing @param {number} first @param {boolean} masks
 * @returns {{line: {cells: (Cell | null)[], fresh: number, lost: number}, after: (Cell | null)[]}}
 */
function ofPass(events, standing, first, masks) {
  const cells = standing.map((cell) => (cell ? carried(cell) : masks ? blank("mask") : null)),
    after = [...standing];
  let fresh = 0,
    lost = 0;
  for (const event of events) {
    const at = event.position - first,
      { kind, probability } = event,
      text = event.text ?? "",
      before = cells[at];
    if (kind === "reject" || kind === "remask") {
      cells[at] = { ...blank(kind), text, probability, was: kind === "remask" ? text : null };
      after[at] = null;
      if (kind === "remask") lost++;
    } else {
      cells[at] = { kind, text, id: event.new, probability, was: gone(before, event) };
      after[at] = cells[at];
      if (kind !== "draft") fresh++;
    }
  }
  return { line: { cells, fresh, lost }, after };
}

/** What a place shows in the passes after: a draft waits for its verdict, all else is kept. @param {Cell} cell @returns {Cell} */
function carried(cell) {
  return { ...cell, kind: cell.kind === "draft" ? "draft" : "kept", probability: null, was: null };
}

/** What gave way to the token of an event, in the same pass. @param {Cell | null} before @param {Happening} event */
function gone(before, event) {
  if (before?.kind === "reject") return before.text;
  if (before?.kind === "remask") return before.was;
  const isOther = before && before.kind !== "mask" && before.id !== event.new;
  return isOther ? before.text : null;
}

/** @param {string} kind @returns {Cell} */
function blank(kind) {
  return { kind, text: "", id: null, probability: null, was: null };
}

/**
 * The ids that stand behind a text after a pass: without a gap, or with the mask's id in the places that are not written yet.
 * None where the text itself was written into.
 * @param {Sheet} found
 * @param {number} upTo how many lines
 * @param {number} begin where the text ends
 * @param {number | null} [mask]
 */
export function idsAfter(found, upTo, begin, mask = null) {
  const line = found.lines[upTo - 1],
    out = [];
  if (!line || found.first !== begin) return [];
  for (const cell of line.cells) {
    const isOpen = cell !== null && (cell.kind === "mask" || cell.kind === "remask");
    if (cell && cell.id !== null && ["kept", "commit", "accept"].includes(cell.kind)) out.push(cell.id);
    else if (isOpen && mask !== null) out.push(mask);
    else break;
  }
  return out;
}
