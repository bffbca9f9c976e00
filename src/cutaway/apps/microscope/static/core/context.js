// What every stage is given: the run, the place, the answers. In: changes of the place. Out: one drawing a frame, and the
// address.

import { askRun, tensor } from "./api.js";
import { Refusal } from "./refusal.js";
import { around, rowsFor, WHOLE } from "./rows.js";
import { start, toHash } from "./state.js";

/** @typedef {import("./types.js").Place} Place */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Stack} Stack */

/** Answers kept, by numbers held in them. */
const MOST_NUMBERS = 40_000_000;

/** Milliseconds: moves that follow each other sooner are one motion, a key that is held. */
export const MOTION = 150;

export class Context {
  constructor() {
    /** @type {Place} */
    this.place = start();
    /** @type {Run | null} */
    this.run = null;
    /** @type {Run | null} the second run, side by side */
    this.other = null;
    /** What is previewed while the pointer rests: it is drawn, and not kept. @type {Partial<Place>} */
    this.preview = {};
    this.missing = 0;
    /** What a figure would draw as well, once it is there. */
    this.hopes = 0;
    /** @type {string | null} */
    this.refused = null;
    /** @type {(context: Context) => void} */
    this.draw = () => {};
    /** @type {Map<string, {value?: any, error?: string, size: number, abort?: AbortController}>} */
    this.answers = new Map();
    /** @type {Map<number, import("./rows.js").Rows>} */
    this.windows = new Map();
    this.waiting = 0;
    /** Counts answers, so that a figure that waits is drawn again. */
    this.arrived = 0;
    this.isRunning = false;
    this.isLanding = false;
    /** Questions that are asked one at a time: who moves on asks for the newest place only. @type {Set<string>} */
    this.flying = new Set();
    this.isQueued = false;
    this.written = this.delayed = 0;
    /** When the token was moved to, and how long the one before had stayed. */
    this.movedAt = this.stayed = -Infinity;
  }

  /** Change the place; everything follows in the next frame. @param {Partial<Place>} [change] */
  set(change = {}) {
    Object.assign(this.place, change);
    if ("i" in change) {
      const now = performance.now();
      [this.stayed, this.movedAt] = [now - this.movedAt, now];
    }
    this.redraw();
    if (this.written) return;
    this.written = window.setTimeout(() => {
      this.written = 0;
      history.replaceState(null, "", toHash(this.place));
    }, 120);
  }

  /** Show something without setting it. @param {Partial<Place>} what */
  hover(what) {
    if (JSON.stringify(what) === JSON.stringify(this.preview)) return;
    this.preview = what;
    this.redraw();
  }

  redraw() {
    if (this.isQueued) return;
    this.isQueued = true;
    requestAnimationFrame(() => {
      this.isQueued = false;
      this.draw(this);
    });
  }

  /** A figure keeps what it shows, and is drawn after so many milliseconds. @param {number} milliseconds */
  later(milliseconds) {
    this.hopes++;
    clearTimeout(this.delayed);
    this.delayed = window.setTimeout(() => {
      this.delayed = 0;
      this.arrived++;
      this.redraw();
    }, milliseconds);
  }

  /** Whether the place runs through a long text: what is out of sight follows when it comes to rest. */
  get isRunningOn() {
    const isLong = this.run?.stacks.some(({ tokens }) => tokens.length > WHOLE) ?? false;
    return isLong && this.stayed < MOTION && performance.now() - this.movedAt < MOTION;
  }

  /** The place with what is previewed. @returns {Place} */
  get seen() {
    return { ...this.place, ...this.preview };
  }

  /**
   * An answer, or undefined while it is under way; the stage that asks keeps what it last drew.
   * @template T
   * @param {string} key @param {(signal: AbortSignal) => Promise<T>} load @param {string} [slot] @returns {T | undefined}
   */
  want(key, load, slot = "") {
    const found = this.answers.get(key);
    if (found === undefined) {
      if (!slot || !this.flying.has(slot)) this.load(key, load, slot);
    } else if (found.error !== undefined) this.refused = found.error;
    else if (found.value !== undefined) {
      this.answers.delete(key); // the most recently used stand last
      this.answers.set(key, found);
      return found.value;
    }
    this.missing++;
    return undefined;
  }

  /**
   * @param {string} key @param {(signal: AbortSignal) => Promise<any>} load @param {string} [slot]
   */
  load(key, load, slot = "") {
    const abort = new AbortController();
    this.answers.set(key, { size: 0, abort });
    if (slot) this.flying.add(slot);
    this.waiting++;
    load(abort.signal)
      .then(
        (value) => this.answers.set(key, { value, size: value?.data?.length ?? 1000 }),
        (error) => this.failed(key, error),
      )
      .finally(() => {
        this.flying.delete(slot);
        this.waiting--;
        this.arrived++;
        this.trim();
        this.redraw();
      });
  }

  /** @param {string} key @param {any} error */
  failed(key, error) {
    if (error?.name === "AbortError") this.answers.delete(key);
    else this.answers.set(key, { error: error instanceof Error ? error.message : String(error), size: 0 });
    if (!(error instanceof Refusal) && error?.name !== "AbortError") console.warn(key, error);
  }

  /** Give up what is under way for other runs than those shown. @param {string[]} runs */
  giveUp(runs) {
    for (const [key, answer] of this.answers) {
      const of = /^run:(\S+)/.exec(key)?.[1];
      if (answer.abort && of !== undefined && !runs.includes(of)) answer.abort.abort();
    }
  }

  trim() {
    let held = 0;
    for (const { size } of this.answers.values()) held += size;
    for (const [key, answer] of this.answers) {
      if (held <= MOST_NUMBERS) return;
      if (answer.value === undefined) continue;
      held -= answer.size;
      this.answers.delete(key);
    }
  }

  /**
   * An answer about a run. @template T
   * @param {Run} run @param {string} key @param {(signal: AbortSignal) => Promise<T>} load @param {string} [slot] @returns {T | undefined}
   */
  of(run, key, load, slot = "") {
    return this.want(`run:${run.run} ${key}`, load, slot);
  }

  /**
   * A matrix of a site.
   * @param {Run} run @param {string} site @param {{index?: string, rows?: string, columns?: string, level?: number}} [part]
   * @returns {import("./types.js").Matrix | undefined}
   */
  tensor(run, site, part = {}) {
    return this.of(run, `tensor ${site} ${JSON.stringify(part)}`, (signal) => tensor(run.run, site, part, signal));
  }

  /**
   * The rows of a window. Those around come along, so that walking needs few answers.
   * @param {Run} run @param {string} site @param {{first: number, last: number, total: number}} rows @returns {import("./types.js").Matrix | undefined}
   */
  window(run, site, { first, last, total }) {
    const { begin, end } = around(first, last, total),
      whole = this.tensor(run, site, end - begin < total ? { rows: `${begin}:${end}` } : {});
    if (!whole || last - first + 1 === total) return whole;
    const { columns, deviation } = whole;
    return {
      rows: last - first + 1,
      columns,
      deviation,
      data: whole.data.subarray((first - begin) * columns, (last + 1 - begin) * columns),
    };
  }

  /**
   * The row of one token, out of those that the loom has asked for.
   * @param {Run} run @param {Stack} stack @param {string} site @param {number} i
   */
  row(run, stack, site, i) {
    return this.window(run, siteOf(stack, site), { first: i, last: i, total: stack.tokens.length });
  }

  /**
   * What is drawn when it is there, and left out when it is not. @template T
   * @param {() => T} look @returns {T}
   */
  maybe(look) {
    const { missing, refused } = this,
      found = look();
    if (this.missing > missing) this.hopes++;
    [this.missing, this.refused] = [missing, refused];
    return found;
  }

  /** The stack of the place. @returns {Stack} */
  get stack() {
    return /** @type {Run} */ (this.run).stacks[this.place.stack];
  }

  /** The token of the last stack whose next word is shown: that of the place, or the last one where the place is elsewhere. */
  get predicting() {
    const { stacks } = /** @type {Run} */ (this.run),
      last = stacks.length - 1;
    return this.place.stack === last ? this.place.i : stacks[last].tokens.length - 1;
  }

  /** The window of a stack's tokens. @param {number} [index] */
  rows(index = this.place.stack) {
    const stack = /** @type {Run} */ (this.run).stacks[index];
    const at = index === this.place.stack ? this.seen.i : stack.tokens.length - 1;
    const rows = rowsFor(stack.tokens.length, Math.max(0, Math.min(at, stack.tokens.length - 1)), this.windows.get(index));
    this.windows.set(index, rows);
    return rows;
  }

  /** @param {AbortSignal} [signal] */
  askRun(signal) {
    const { model, text, target, positions, off, more } = this.place;
    return askRun({ model, text, target, positions, edits: editsOf(off), more: more.map(Number) }, signal);
  }
}

/**
 * Heads that are off, as the edits of `lm.trace`. A name is `stack.layer.block.head`, the stack empty where there is one.
 * @param {string[]} off @returns {import("./types.js").Edit[]}
 */
export function editsOf(off) {
  /** @type {Map<string, number[]>} */
  const sites = new Map();
  for (const name of off) {
    const [stack, layer, block, head] = name.split(".");
    const site = `${stack ? `${stack}.` : ""}layers.${layer}.${block}.mixed`;
    sites.set(
      site,
      [...(sites.get(site) ?? []), Number(head)].sort((a, b) => a - b),
    );
  }
  return [...sites].sort(([a], [b]) => (a < b ? -1 : 1)).map(([site, heads]) => ({ site, op: "zero", heads }));
}

/** @param {Stack} stack @param {string} site */
export function siteOf(stack, site) {
  return stack.name ? `${stack.name}.${site}` : site;
}
