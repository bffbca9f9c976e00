// Pictures on canvas. In: fields of numbers. Out: pixels, and for each canvas the fields that it shows.
// Where a cell would be thinner than a pixel, neighbours are pooled: signed numbers by their mean, shares by their maximum.

import { bytes, css, step } from "./colour.js";

/** @typedef {import("./types.js").Field} Field */

/** @type {WeakMap<HTMLCanvasElement, Field[]>} */
const shown = new WeakMap();

/** What a canvas shows, the last drawn first. @param {HTMLCanvasElement} canvas @returns {Field[]} */
export function fieldsOf(canvas) {
  return shown.get(canvas) ?? [];
}

/** Let numbers be read where they are drawn as a line or not at all. @param {HTMLCanvasElement} canvas @param {Field} field */
export function remember(canvas, field) {
  shown.get(canvas)?.unshift(field);
}

/**
 * Give a canvas its size in CSS pixels, empty it and forget its fields.
 * @param {HTMLCanvasElement} canvas @param {number} width @param {number} height @returns {CanvasRenderingContext2D}
 */
export function fit(canvas, width, height) {
  const ratio = devicePixelRatio || 1,
    wide = Math.round(width * ratio),
    high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  shown.set(canvas, []);
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

/**
 * Draw numbers as cells, each in its tone. scale: what the end of the ramp stands for. gap: pixels left free between cells.
 * @param {CanvasRenderingContext2D} pen @param {Field} field @param {number} scale @param {{gap?: number, keep?: boolean}} [how]
 */
export function cells(pen, field, scale, { gap = 0, keep = true } = {}) {
  if (keep) shown.get(pen.canvas)?.unshift(field);
  const ratio = devicePixelRatio || 1;
  if (field.width <= 0 || field.height <= 0 || !field.rows || !field.columns) return;
  if (gap) return spaced(pen, field, scale, gap);
  const wide = Math.max(1, Math.min(field.columns, Math.round(field.width * ratio)));
  const high = Math.max(1, Math.min(field.rows, Math.round(field.height * ratio)));
  stretch(pen, image(field, wide, high, scale), field, wide, high);
}

/** @param {CanvasRenderingContext2D} pen @param {Field} field @param {number} scale @param {number} gap */
function spaced(pen, field, scale, gap) {
  const wide = field.width / field.columns,
    high = field.height / field.rows,
    ramp = bytes(field.ramp);
  for (let row = 0; row < field.rows; row++) {
    for (let column = 0; column < field.columns; column++) {
      const value = field.value(row, column);
      if (value === null) continue;
      const at = 3 * step(field.ramp, value, scale);
      pen.fillStyle = `rgb(${ramp[at]},${ramp[at + 1]},${ramp[at + 2]})`;
      pen.fillRect(field.x + column * wide, field.y + row * high, wide - gap, high - gap);
    }
  }
}

/**
 * The pixels of a field, one for each cell or for those that share it. @param {Field} field @param {number} wide @param
 * {number} high
 * @param {number} scale @returns {ImageData} */
export function image(field, wide, high, scale) {
  const picture = new ImageData(wide, high),
    ramp = bytes(field.ramp),
    data = picture.data;
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const value = pooled(field, y, high, x, wide);
      if (value === null) continue;
      const from = 3 * step(field.ramp, value, scale),
        to = 4 * (y * wide + x);
      data[to] = ramp[from];
      data[to + 1] = ramp[from + 1];
      data[to + 2] = ramp[from + 2];
      data[to + 3] = 255;
    }
  }
  return picture;
}

/**
 * The number of one pixel: one cell, or the mean or maximum of those that share it.
 * @param {Field} field @param {number} y @param {number} high @param {number} x @param {number} wide
 */
function pooled(field, y, high, x, wide) {
  if (high === field.rows && wide === field.columns) return field.value(y, x);
  const top = Math.floor((y * field.rows) / high),
    bottom = Math.max(top + 1, Math.floor(((y + 1) * field.rows) / high));
  const left = Math.floor((x * field.columns) / wide),
    right = Math.max(left + 1, Math.floor(((x + 1) * field.columns) / wide));
  let sum = 0,
    most = -Infinity,
    number = 0;
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const value = field.value(row, column);
      if (value === null) continue;
      sum += value;
      most = Math.max(most, value);
      number++;
    }
  }
  if (!number) return null;
  return field.ramp.endsWith("share") ? most : sum / number;
}

/** @type {OffscreenCanvas | null} */
let sheet = null;

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {ImageData} picture
 * @param {Field} field
 * @param {number} wide
 * @param {number} high
 */
function stretch(pen, picture, field, wide, high) {
  if (!sheet || sheet.width < wide || sheet.height < high) {
    sheet = new OffscreenCanvas(Math.max(wide, sheet?.width ?? 0), Math.max(high, sheet?.height ?? 0));
  }
  /** @type {OffscreenCanvasRenderingContext2D} */ (sheet.getContext("2d")).putImageData(picture, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(sheet, 0, 0, wide, high, field.x, field.y, field.width, field.height);
}

/**
 * One vector as a strip.
 * @param {CanvasRenderingContext2D} pen @param {{x: number, y: number, width: number, height: number}} box
 * @param {ArrayLike<number>} numbers @param {string} ramp @param {number} scale
 * @param {{label?: string, site: (dimension: number) => string, says?: (dimension: number) => string,
 *   note?: (dimension: number) => string}} words
 */
export function strip(pen, box, numbers, ramp, scale, words) {
  const { says, note } = words;
  cells(
    pen,
    {
      ...box,
      rows: 1,
      columns: numbers.length,
      ramp,
      label: words.label ?? "",
      value: (_, d) => numbers[d],
      site: (_, d) => words.site(d),
      says: says && ((_, d) => says(d)),
      note: note && ((_, d) => note(d)),
    },
    scale,
  );
}

/** The frame of the place, or of the source. @param {CanvasRenderingContext2D} pen
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @param {string} [colour]
 * @param {number} [line] */
export function frame(pen, x, y, width, height, colour = css("look"), line = 1.5) {
  pen.strokeStyle = colour;
  pen.lineWidth = line;
  pen.strokeRect(x - line / 2, y - line / 2, width + line, height + line);
}

/**
 * What would be here is off.
 * @param {CanvasRenderingContext2D} pen
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
export function dashed(pen, x, y, width, height) {
  pen.strokeStyle = css("rule-2");
  pen.lineWidth = 1;
  pen.setLineDash([2, 3]);
  pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  pen.setLineDash([]);
}

/** @param {CanvasRenderingContext2D} pen @param {string} text @param {number} x @param {number} y
 * @param {{colour?: string, size?: number, align?: CanvasTextAlign}} [how] */
export function write(pen, text, x, y, { colour = css("ink-3"), size = 11, align = "start" } = {}) {
  pen.font = `${size}px ${css("sans")}`;
  pen.fillStyle = colour;
  pen.textAlign = align;
  pen.fillText(text, x, y);
  pen.textAlign = "start";
}

/**
 * A line of given points.
 * @param {CanvasRenderingContext2D} pen
 * @param {[number, number][]} points
 * @param {string} colour
 * @param {number} [width]
 */
export function line(pen, points, colour, width = 1) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

/**
 * ± 2.6 standard deviations, the end of a signed ramp.
 * @param {import("./types.js").Matrix | number[] | ArrayLike<number>} numbers
 */
export function reach(numbers) {
  if ("deviation" in numbers) return 2.6 * numbers.deviation || 1;
  let sum = 0,
    squares = 0;
  for (let k = 0; k < numbers.length; k++) {
    sum += numbers[k];
    squares += numbers[k] ** 2;
  }
  const mean = sum / (numbers.length || 1);
  return 2.6 * Math.sqrt(Math.max(0, squares / (numbers.length || 1) - mean ** 2)) || 1;
}

/** A row of a matrix, without a copy. @param {import("./types.js").Matrix} matrix @param {number} row */
export function rowOf(matrix, row) {
  return matrix.data.subarray(row * matrix.columns, (row + 1) * matrix.columns);
}
