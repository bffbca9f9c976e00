// Words for tokens and numbers. In: a token's text, a number. Out: what stands on the page. Spaces are drawn, never guessed.

import { h } from "./dom.js";

/** @type {Record<string, string>} */
const SIGNS = { "\n": "↵", "\t": "⇥", "\r": "␍" };

/**
 * A token as it is drawn: a small open box for a space, ↵ for a newline, ⇥ for a tab, hex for bytes that are no character.
 * @param {{text: string, bytes?: string} | string} token
 * @returns {Node[]}
 */
export function token(token) {
  const text = typeof token === "string" ? token : token.text;
  const bytes = typeof token === "string" ? "" : (token.bytes ?? "");
  if (text.includes("\ufffd") && bytes) return [h("span", { class: "byte" }, bytes.replace(/(..)(?=.)/g, "$1\u2009"))];
  if (text === "") return [h("span", { class: "byte" }, bytes || "∅")];
  /** @type {Node[]} */
  const out = [];
  let run = "";
  const flush = () => {
    if (run) out.push(document.createTextNode(run));
    run = "";
  };
  for (const character of text) {
    if (character === " ") {
      flush();
      out.push(h("i", { class: "sp" }));
    } else if (SIGNS[character]) run += SIGNS[character];
    else if (isBare(character)) {
      flush();
      out.push(h("span", { class: "byte" }, hex(character)));
    } else run += character;
  }
  flush();
  return out;
}

/** Characters that show nothing by themselves. @param {string} character */
function isBare(character) {
  return /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u00a0]/u.test(character) && character !== "\u200d";
}

/** @param {string} character */
function hex(character) {
  return (character.codePointAt(0) ?? 0).toString(16).padStart(2, "0");
}

/** A token in words, for names and for the live region. @param {{text: string} | string} token */
export function spoken(token) {
  const text = typeof token === "string" ? token : token.text;
  const trimmed = text.trim();
  if (trimmed) return trimmed;
  if (text.includes("\n")) return "newline";
  return text ? "space" : "nothing";
}

/**
 * Words in which ␣ stands for the space of a token: drawn as elsewhere; other spaces part words.
 * @param {string} text
 * @returns {Node[]}
 */
export function marked(text) {
  if (text && !text.trim()) return token(text);
  return text
    .split(/(␣)/)
    .filter(Boolean)
    .map((part) => (part === "␣" ? h("i", { class: "sp" }) : document.createTextNode(part)));
}

/** The same in a line of canvas or SVG text. @param {string} text */
export function plain(text) {
  return text.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥");
}

const minus = (/** @type {string} */ text) => text.replace(/^-/, "−");

/** @param {number} value @param {number} [places] */
export function fixed(value, places = 2) {
  const text = value.toFixed(places);
  return minus(/^-0\.?0*$/.test(text) ? text.slice(1) : text);
}

/** @param {number} value @param {number} [places] */
export function signed(value, places = 2) {
  return (value < 0 ? "" : "+") + fixed(value, places);
}

/** A number as exactly as a reading gives it: four places, more where it is small. @param {number} value */
export function exact(value) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size === 0 || size >= 0.001) return minus(value.toFixed(4));
  return minus(
    value.toExponential(2).replace(/e([+-])(\d+)/, (_, sign, digits) => ` × 10${raised((sign === "-" ? "−" : "") + digits)}`),
  );
}

/** @param {string} text */
function raised(text) {
  return [...text].map((c) => (c === "−" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");
}

/** A chance or a share. @param {number} value */
export function percent(value) {
  if (value >= 0.0995) return `${Math.round(100 * value)} %`;
  if (value >= 0.001) return `${(100 * value).toFixed(1)} %`;
  return value > 0 ? "<0.1 %" : "0 %";
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString("en");
}

/** @param {number} number @param {string} word @param {string} [words] */
export function many(number, word, words = `${word}s`) {
  return `${count(number)} ${number === 1 ? word : words}`;
}

/** @param {number} bytes @param {string} [unit] */
export function size(bytes, unit = "B") {
  const steps = /** @type {[number, string][]} */ ([
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
    [1, ""],
  ]);
  const [by, prefix] = steps.find(([least]) => bytes >= least) ?? [1, ""];
  const scaled = bytes / by;
  return `${scaled >= 99.5 ? Math.round(scaled) : Number(scaled.toPrecision(2))} ${prefix}${unit}`;
}

/** Three figures, written out. @param {number} value */
export function figures(value) {
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 3 });
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds >= 1) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds >= 1e-3) return `${Number((seconds * 1e3).toPrecision(seconds >= 0.1 ? 3 : 2))} ms`;
  return `${Number((seconds * 1e6).toPrecision(2))} µs`;
}
