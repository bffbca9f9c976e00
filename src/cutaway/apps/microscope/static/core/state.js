// The place and the settings, and the address that holds them. In: changes. Out: one state, and whoever listens is told once a
// frame.

/** @typedef {import("./types.js").Place} Place */

export const VIEWS = ["way", "replay", "memory", "lessons"];
export const STAGES = ["tokens", "embedding", "position", "layers", "feedforward", "stream", "output", "why"];
/** Longer texts stay out of the address and are kept by the tab. */
const LONGEST = 4000;
const KEPT = "cutaway.text";

/** @returns {Place} */
export function start() {
  return {
    view: "way",
    stage: "",
    model: "",
    text: "",
    target: null,
    positions: true,
    off: [],
    more: [],
    stack: -1,
    i: -1,
    j: -1,
    l: 0,
    h: 0,
    block: "attention",
    c: -1,
    u: -1,
    open: false,
    cut: 0,
    temperature: 1,
    topk: 0,
    topp: 1,
    thrown: 0.062,
    word: -1,
    against: -1,
    dimension: -1,
    second: -1,
    b: "",
    bmodel: "",
    mode: 0,
    pass: 1e9,
    decoder: "",
    seed: 0,
    lesson: "",
    settings: "",
    bits: 32,
    cache: true,
    batch: 1,
    context: 256,
    memory: "",
  };
}

/** Settings that are fractions; all other numbers are whole. @type {(keyof Place)[]} */
const FRACTIONS = ["temperature", "topp", "thrown"];

/** Names in the address; what is not here is not kept. @type {Record<string, keyof Place>} */
const NAMES = {
  model: "model",
  text: "text",
  target: "target",
  positions: "positions",
  off: "off",
  more: "more",
  stack: "stack",
  i: "i",
  j: "j",
  layer: "l",
  head: "h",
  block: "block",
  column: "c",
  unit: "u",
  open: "open",
  cut: "cut",
  temperature: "temperature",
  topk: "topk",
  topp: "topp",
  throw: "thrown",
  word: "word",
  against: "against",
  second: "second",
  b: "b",
  bmodel: "bmodel",
  mode: "mode",
  pass: "pass",
  decoder: "decoder",
  seed: "seed",
  lesson: "lesson",
  settings: "settings",
  bits: "bits",
  cache: "cache",
  batch: "batch",
  context: "context",
  memory: "memory",
};

/** @param {Place} place @returns {string} */
export function toHash(place) {
  const fresh = start(),
    query = new URLSearchParams();
  for (const [name, key] of Object.entries(NAMES)) {
    const value = place[key],
      usual = fresh[key];
    if (value === null || String(value) === String(usual)) continue;
    if (name === "text" && String(value).length > LONGEST) {
      keep(String(value));
      query.set("kept", "1");
    } else query.set(name, String(value));
  }
  const written = query.toString(),
    stage = place.view === "way" && place.stage ? place.stage : place.view;
  return `#${stage}${written ? `?${written}` : ""}`;
}

/**
 * What an address says; null for one without a query, which only leads somewhere.
 * @param {string} hash @returns {{view: string, stage: string, place: Partial<Place> | null}}
 */
export function fromHash(hash) {
  const [where, query] = split(hash.replace(/^#/, ""));
  const view = VIEWS.includes(where) ? where : "way",
    stage = STAGES.includes(where) ? where : "";
  if (query === null) return { view, stage, place: null };
  const fresh = start(),
    asked = new URLSearchParams(query);
  /** @type {Record<string, any>} */
  const place = {};
  for (const [name, key] of Object.entries(NAMES)) {
    const text = asked.get(name);
    const value = text === null ? fresh[key] : read(text, fresh[key]);
    place[key] = typeof value === "number" && !FRACTIONS.includes(key) ? Math.trunc(value) : value;
  }
  if (asked.has("kept")) place.text = kept();
  return { view, stage, place };
}

/** @param {string} text @returns {[string, string | null]} */
function split(text) {
  const at = text.indexOf("?");
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
}

/** @param {string} text @param {any} usual */
function read(text, usual) {
  if (typeof usual === "number") return Number.isFinite(Number(text)) ? Number(text) : usual;
  if (typeof usual === "boolean") return text === "true";
  if (Array.isArray(usual)) return text ? text.split(",") : [];
  return text;
}

/** @param {string} text */
function keep(text) {
  try {
    sessionStorage.setItem(KEPT, text);
  } catch {
    // Storage that is full or closed: the text is then not there after a reload, and the usual one is shown.
  }
}

function kept() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}
