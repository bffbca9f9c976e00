// The reading: value, site and index of whatever is pointed at, above the pointer, never over what it explains.
// In: a sentence, a site, a note. Out: a small frame; at 600 px and below it is docked at the bottom.

import { byId, clamp, fill, h, isNarrow } from "./dom.js";
import { fieldsOf } from "./draw.js";
import { exact } from "./text.js";

/** @typedef {{says: (Node | string)[] | string, site?: string, note?: (Node | string)[] | string}} Reading */
/** @typedef {{field: import("./types.js").Field, row: number, column: number}} Cell */

/** @param {number} x @param {number} y @param {Reading} reading */
export function show(x, y, { says, site, note }) {
  const tip = byId("tip");
  fill(
    tip,
    ...[says].flat(),
    site ? h("span", { class: "mono" }, site) : null,
    note?.length ? h("em", {}, ...[note].flat()) : null,
  );
  tip.hidden = false;
  if (isNarrow()) return;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${clamp(x + 14, 8, innerWidth - box.width - 8)}px`;
  tip.style.top = `${y - box.height - 12 < 8 ? y + 18 : y - box.height - 12}px`;
}

export function hide() {
  byId("tip").hidden = true;
}

/**
 * The cell of a canvas under a point of it.
 * @param {HTMLCanvasElement} canvas
 * @param {number} x
 * @param {number} y
 * @returns {Cell | null}
 */
export function cellAt(canvas, x, y) {
  for (const field of fieldsOf(canvas)) {
    const column = Math.floor(((x - field.x) / field.width) * field.columns),
      row = Math.floor(((y - field.y) / field.height) * field.rows);
    if (row >= 0 && row < field.rows && column >= 0 && column < field.columns) return { field, row, column };
  }
  return null;
}

/** @param {Cell} cell @returns {Reading} */
export function read({ field, row, column }) {
  const value = field.value(row, column);
  const says = field.says?.(row, column) ?? (value === null ? "masked" : exact(value));
  return { says, site: field.site(row, column), note: field.note?.(row, column) };
}

/**
 * Let a canvas be read: pointing shows the reading and previews, a click sets. On touch a tap does both.
 * @param {HTMLCanvasElement} canvas
 * @param {{at?: (x: number, y: number) => Reading | null | undefined, over?: (cell: Cell | null, x: number, y: number) => void,
 *   leave?: () => void, press?: (cell: Cell | null, x: number, y: number) => void, above?: (cell: Cell) => number}} what
 */
export function readable(canvas, what = {}) {
  const inside = (/** @type {MouseEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = inside(event),
      cell = cellAt(canvas, x, y);
    what.over?.(cell, x, y);
    const reading = what.at?.(x, y) ?? (cell && read(cell));
    if (!reading) return hide();
    const top = cell && what.above ? canvas.getBoundingClientRect().top + what.above(cell) : event.clientY;
    show(event.clientX, top, reading);
  });
  canvas.addEventListener("pointerleave", () => {
    hide();
    what.leave?.();
  });
  if (what.press) {
    canvas.addEventListener("click", (event) => {
      const [x, y] = inside(event);
      what.press?.(cellAt(canvas, x, y), x, y);
    });
  }
}

/**
 * Let elements of a container be read. find: the reading of an element that matches, or nothing.
 * @param {HTMLElement | SVGElement} container @param {string} selector
 * @param {(element: HTMLElement) => Reading | null | undefined} find
 */
export function readableAll(container, selector, find) {
  const say = (/** @type {Event} */ event, /** @type {(box: DOMRect) => [number, number]} */ where) => {
    const target = event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest(selector)) : null;
    const reading = target && find(target);
    if (!reading || !target) return hide();
    const [x, y] = where(target.getBoundingClientRect());
    show(x, y, reading);
  };
  container.addEventListener("pointermove", (event) => {
    const pointer = /** @type {PointerEvent} */ (event);
    say(event, () => [pointer.clientX, pointer.clientY]);
  });
  container.addEventListener("pointerleave", hide);
  container.addEventListener("focusin", (event) => {
    if (event.target instanceof Element && event.target.matches(":focus-visible")) say(event, (box) => [box.left, box.top]);
  });
  container.addEventListener("focusout", hide);
}
