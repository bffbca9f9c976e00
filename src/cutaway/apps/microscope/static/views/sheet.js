// A log of events as a proof sheet: one line for each pass, time runs down, text runs right.
// In: events (draft, accept, reject, commit, remask). Out: what stands at each place after each pass, and what happened to it.

import { range } from "../core/dom.js";

/** @typedef {import("../core/types.js").Happening} Happening */
/**
 * What a place shows in a pass. kind: kept (from earlier), commit, accept, draft, reject, mask (not written yet), remask.
 * @typedef {{kind: string, text: string, id: number | null, probability: number | null, was: string | null}} Cell
 * @typedef {{pass: number, cells: (Cell | null)[], fresh: number, lost: number}} Line
 * @typedef {{first: number, length: number, lines: Line[], masks: boolean}} Sheet
 */

/** @param {Happening[]} events @returns {Sheet} */
export function sheet(events) {
  const places = events.map(({ position }) => position),
    first = places.length ? Math.min(...places) : 0;
  const length = places.length ? Math.max(...places) - first + 1 : 0,
    passes = [...new Set(events.map(({ pass }) => pass))].sort((a, b) => a - b);
  const masks = events.some(({ kind }) => kind === "remask") || isOutOfOrder(events);
  /** @type {(Cell | null)[]} what is written so far */
  let written = range(length).map(() => null);
  /** @type {Map<number, string>} what was drafted at each place */
  const drafts = new Map();
  const lines = passes.map((pass) => {
    const line = ofPass(
      events.filter((event) => event.pass === pass),
      written,
      drafts,
      first,
      masks,
      pass,
    );
    written = line.after;
    return line.line;
  });
  return { first, length, lines, masks };
}

/** Whether places are written in another order than from left to right. @param {Happening[]} events */
function isOutOfOrder(events) {
  const final = events.filter(({ kind }) => kind === "commit" || kind === "accept").map(({ position }) => position);
  return final.some((position, k) => k > 0 && position < final[k - 1]);
}

/**
 * @param {Happening[]} events @param {(Cell | null)[]} written @param {Map<number, string>} drafts @param {number} first
 * @param {boolean} masks @param {number} pass
 * @returns {{line: Line, after: (Cell | null)[]}}
 */
function ofPass(events, written, drafts, first, masks, pass) {
  const cells = written.map((cell) =>
      cell ? { ...cell, kind: "kept", probability: null, was: null } : masks ? blank("mask") : null,
    ),
    after = [...written];
  let fresh = 0,
    lost = 0;
  for (const event of events) {
    const at = event.position - first,
      before = cells[at],
      cell = { kind: event.kind, text: event.text ?? "", id: event.new, probability: event.probability, was: null };
    if (event.kind === "draft") drafts.set(at, cell.text);
    if (event.kind === "reject")
      cells[at] = { ...blank("reject"), text: drafts.get(at) ?? event.text ?? "", probability: event.probability };
    else if (event.kind === "remask") {
      cells[at] = { ...cell, was: before?.text ?? null };
      after[at] = null;
      lost++;
    } else {
      cells[at] = {
        ...cell,
        was: before?.kind === "reject" ? before.text : null,
        probability: event.probability ?? (before?.kind === "reject" ? before.probability : null),
      };
      if (event.kind !== "draft") {
        after[at] = cells[at];
        fresh++;
      }
    }
  }
  return { line: { pass, cells, fresh, lost }, after };
}

/** @param {string} kind @returns {Cell} */
function blank(kind) {
  return { kind, text: "", id: null, probability: null, was: null };
}

/**
 * The ids that stand from the first place on, without a gap, after a pass.
 * @param {Sheet} found
 * @param {number} upTo how many passes
 */
export function idsAfter(found, upTo) {
  const line = found.lines[upTo - 1],
    out = [];
  for (const cell of line?.cells ?? []) {
    if (!cell || cell.id === null || !["kept", "commit", "accept"].includes(cell.kind)) break;
    out.push(cell.id);
  }
  return out;
}
