// Elements. In: a tag, its attributes, its children. Out: the element. No markup is ever parsed from text.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Attributes: `class`, `style` (an object, set through the CSSOM), `data` (an object), `on` (listeners), anything else as
 * written;
 * false and null leave an attribute out.
 * @param {Element} element
 * @param {Record<string, any>} attributes
 */
export function assign(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") setStyle(/** @type {HTMLElement} */ (element), value);
    else if (name === "data") Object.assign(/** @type {HTMLElement} */ (element).dataset, value);
    else if (name === "on") for (const [kind, listener] of Object.entries(value)) element.addEventListener(kind, listener);
    else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {HTMLElement | SVGElement} element
 * @param {Record<string, string>} style
 */
function setStyle(element, style) {
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  assign(element, attributes);
  element.append(...real(children));
  return element;
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS("http://www.w3.org/2000/svg", tag));
  assign(element, attributes);
  element.append(...real(children));
  return element;
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function real(children) {
  const flat = /** @type {Child[]} */ (children.flat());
  return flat
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "number" ? String(child) : /** @type {Node | string} */ (child)));
}

/** A canvas, of no size until it is drawn. @param {Record<string, any>} [attributes] @returns {HTMLCanvasElement} */
export function canvas(attributes = {}) {
  return /** @type {HTMLCanvasElement} */ (h("canvas", { width: 1, height: 1, ...attributes }));
}

/**
 * Replace the children, keeping focus where an element with the same data-key takes over.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  const focused =
    document.activeElement instanceof HTMLElement && element.contains(document.activeElement)
      ? document.activeElement.dataset.key
      : undefined;
  element.replaceChildren(...real(children));
  if (focused !== undefined) {
    const again = [...element.querySelectorAll("[data-key]")].find((e) => /** @type {HTMLElement} */ (e).dataset.key === focused);
    if (again) /** @type {HTMLElement} */ (again).focus({ preventScroll: true });
  }
}

/** The element of an id, which must be there. @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found;
}

/** @param {EventTarget | null} target @param {string} selector @returns {HTMLElement | null} */
export function closest(target, selector) {
  return target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest(selector)) : null;
}

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** 0 … count − 1. @param {number} count */
export function range(count) {
  return Array.from({ length: Math.max(0, count) }, (_, k) => k);
}

/** Said politely to who cannot see the page. @param {string} text */
export function announce(text) {
  byId("live").textContent = text;
}

/** @param {HTMLElement} element @param {(down: number, right: number, event: KeyboardEvent) => void} move */
export function arrows(element, move) {
  /** @type {Record<string, [number, number]>} */
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  element.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.metaKey || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    move(step[0], step[1], event);
  });
}

export const isNarrow = () => innerWidth <= 600;
export const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
