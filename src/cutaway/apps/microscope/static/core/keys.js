// The keys of the page. In: a key that no figure took. Out: the place moved. ↑ ↓, Space and Page keys are left to scrolling.

import { byId, clamp, fill, h } from "./dom.js";
import { STAGES } from "./state.js";

const KEYS = /** @type {[string, string][]} */ ([
  ["← →", "stage before, stage after"],
  ["j k", "next token, previous token"],
  ["[ ]", "layer before, layer after"],
  ["0–9", "unfold that head of the layer"],
  ["Tab", "into the figures; there the arrow keys move, Enter opens; in the loom Home, End and Page keys, too"],
  ["Esc", "one step out: close the head, leave the figure, back to the last token"],
  ["x", "switch the head off or on, by running the model again"],
  ["p", "positions off or on"],
  ["n", "keep the next token and go on"],
  ["/", "edit the text"],
  ["t", "light or dark"],
  ["?", "these keys"],
]);

export function showKeys() {
  const dialog = /** @type {HTMLDialogElement} */ (
    h(
      "dialog",
      { "aria-label": "Keyboard shortcuts" },
      h(
        "table",
        {},
        ...KEYS.map(([keys, text]) =>
          h("tr", {}, h("td", {}, ...keys.split(" ").flatMap((key) => [h("kbd", {}, key), " "])), h("td", {}, text)),
        ),
      ),
    )
  );
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** @typedef {import("./context.js").Context} Context */

/**
 * @param {Context} context @param {import("../way/way.js").Way} way
 * @param {{theme: () => void, replay: (step: number) => void}} page
 */
export function listen(context, way, page) {
  addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.matches("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select")) return;
    const isSlider = target.matches("input[type=range], [role=slider]");
    if (anywhere(event, context, way, page)) return;
    if (context.place.view === "replay" && !isSlider && event.key.startsWith("Arrow")) {
      if (event.key === "ArrowRight") page.replay(1);
      if (event.key === "ArrowLeft") page.replay(-1);
    }
    if (context.place.view === "way" && context.run) onTheWay(event, context, way, isSlider);
  });
}

/**
 * @param {KeyboardEvent} event
 * @param {Context} context
 * @param {import("../way/way.js").Way} way
 * @param {{theme: () => void}} page
 */
function anywhere(event, context, way, page) {
  if (event.key === "?") showKeys();
  else if (event.key === "t") page.theme();
  else if (event.key === "/") {
    event.preventDefault();
    if (context.place.view !== "way") location.hash = "way";
    way.goTo("");
    way.prompt.startEditing();
  } else return false;
  return true;
}

/** @param {KeyboardEvent} event @param {Context} context @param {import("../way/way.js").Way} way @param {boolean} isSlider */
function onTheWay(event, context, way, isSlider) {
  const { place } = context,
    run = /** @type {import("./types.js").Run} */ (context.run),
    { key } = event;
  if (key === "Escape") return way.stepOut();
  if (key === "n") return way.prompt.keepNext();
  if (key === "j" || key === "k") return way.prompt.choose(place.stack, place.i + (key === "j" ? 1 : -1));
  if (key === "p") return context.set({ positions: !place.positions });
  if (key === "x") return way.wall.toggle(place);
  if (key === "[" || key === "]") {
    const l = clamp(place.l + (key === "]" ? 1 : -1), 0, run.model.num_layers - 1);
    return context.set({ l, j: -1, u: -1 });
  }
  if (/^\d$/.test(key) && Number(key) < run.model.num_heads) {
    way.wall.open(place.stack, place.block, place.l, Number(key), true);
    location.hash = "layers";
    return;
  }
  if (isSlider || (key !== "ArrowLeft" && key !== "ArrowRight")) return;
  const all = ["", ...STAGES],
    at = all.indexOf(way.now());
  location.hash = all[clamp(at + (key === "ArrowRight" ? 1 : -1), 0, all.length - 1)] || "way";
}

/** What is wrong with the page as a whole, or nothing. @param {string | null} words */
export function trouble(words) {
  const line = byId("trouble");
  line.hidden = !words;
  fill(line, words ?? "");
}
