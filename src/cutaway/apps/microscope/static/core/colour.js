// Colour says where a number comes from: blue was learned, green was computed; sign and size are lightness.
// In: a value and its scale. Out: a colour of the theme's ramp, interpolated in OKLCH (Ottosson 2020), linear in the value.

import { clamp } from "./dom.js";

/** @typedef {[number, number]} Stop lightness and chroma */

const HUES = { learned: 268, computed: 162 };
/** Signed values at −1, 0, +1; shares at 0, ½, 1. @type {Record<string, Record<string, Stop[]>>} */
const STOPS = {
  light: {
    "learned-signed": [
      [0.968, 0.012],
      [0.8, 0.085],
      [0.38, 0.17],
    ],
    "learned-share": [
      [0.982, 0.003],
      [0.7, 0.12],
      [0.38, 0.16],
    ],
    "computed-signed": [
      [0.968, 0.012],
      [0.815, 0.07],
      [0.36, 0.085],
    ],
    "computed-share": [
      [0.982, 0.003],
      [0.72, 0.105],
      [0.36, 0.085],
    ],
  },
  dark: {
    "learned-signed": [
      [0.235, 0.02],
      [0.43, 0.11],
      [0.92, 0.05],
    ],
    "learned-share": [
      [0.225, 0.006],
      [0.52, 0.13],
      [0.9, 0.07],
    ],
    "computed-signed": [
      [0.235, 0.014],
      [0.42, 0.06],
      [0.92, 0.06],
    ],
    "computed-share": [
      [0.225, 0.006],
      [0.52, 0.08],
      [0.91, 0.075],
    ],
  },
};
const STEPS = 256;

/** @type {Record<string, Uint8ClampedArray>} red, green, blue of every step of every ramp */
const ramps = {};
/** @type {Record<string, string[]>} */
const written = {};
/** @type {Record<string, string>} */
const named = {};

export const isDark = () => document.documentElement.dataset.theme === "dark";

/** Make the ramps of the theme that holds now, and read the named colours of its style sheet. */
export function paint() {
  for (const [name, stops] of Object.entries(STOPS[isDark() ? "dark" : "light"])) {
    const hue = HUES[/** @type {"learned" | "computed"} */ (name.split("-")[0])];
    ramps[name] = new Uint8ClampedArray(3 * STEPS);
    written[name] = [];
    for (let step = 0; step < STEPS; step++) {
      const at = (step / (STEPS - 1)) * 2,
        from = at < 1 ? 0 : 1,
        part = at - from;
      const [a, b] = [stops[from], stops[from + 1]];
      const rgb = oklch(a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part, hue);
      ramps[name].set(rgb, 3 * step);
      written[name].push(`rgb(${rgb.join()})`);
    }
  }
  const style = getComputedStyle(document.documentElement);
  for (const name of ["page", "ink", "ink-2", "ink-3", "rule", "rule-2", "look", "tint", "computed", "learned", "bar", "sans"]) {
    named[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

/**
 * A colour of the screen for one of OKLCH; chroma gives way where the screen has no such colour.
 * @param {number} lightness @param {number} chroma @param {number} hue @returns {number[]}
 */
export function oklch(lightness, chroma, hue) {
  const angle = (hue * Math.PI) / 180;
  for (let c = chroma; ; c -= 0.004) {
    const a = Math.max(0, c) * Math.cos(angle),
      b = Math.max(0, c) * Math.sin(angle);
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    const linear = [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ];
    if (c <= 0 || linear.every((x) => x > -0.002 && x < 1.002)) return linear.map(encoded);
  }
}

/** @param {number} linear */
function encoded(linear) {
  const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
  return Math.round(255 * clamp(value, 0, 1));
}

/**
 * The step of a value in a ramp. scale: what the ramp's end stands for.
 * @param {string} ramp
 * @param {number} value
 * @param {number} scale
 */
export function step(ramp, value, scale) {
  const part = ramp.endsWith("signed") ? (clamp(value / scale, -1, 1) + 1) / 2 : clamp(Math.abs(value) / scale, 0, 1);
  return Math.round((STEPS - 1) * part) || 0;
}

/** @param {string} ramp @param {number} value @param {number} [scale] */
export function tone(ramp, value, scale = 1) {
  return written[ramp][step(ramp, value, scale)];
}

/** Red, green and blue of all steps. @param {string} ramp */
export function bytes(ramp) {
  return ramps[ramp];
}

/** A colour of the style sheet. @param {string} name */
export function css(name) {
  return named[name];
}
