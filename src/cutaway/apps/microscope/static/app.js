// The page. In: an address and a server, or saved answers. Out: the views, kept in step with the address.

import { ask, get, save, watchServer } from "./core/api.js";
import { paint } from "./core/colour.js";
import { Context } from "./core/context.js";
import { byId, clamp, fill, h } from "./core/dom.js";
import { fieldsOf } from "./core/draw.js";
import { listen, showKeys, trouble } from "./core/keys.js";
import { keptKeys } from "./core/keeping.js";
import { isSaved, saved } from "./core/saved.js";
import { fromHash, toHash, VIEWS } from "./core/state.js";
import { count } from "./core/text.js";
import { Lessons } from "./views/lessons.js";
import { Memory } from "./views/memory.js";
import { modesOf } from "./views/modes.js";
import { Replay } from "./views/replay.js";
import { Way } from "./way/way.js";

/** What is shown first; the bundled model of two stacks translates from German. @type {Record<string, string>} */
const FIRST_TEXTS = {
  decoder: "The cat sat on the mat because it was",
  encoder: "The cat sat on the mat because it was tired.",
  pair: "Die Katze lag auf dem Bett, weil sie müde war.",
};

class App {
  constructor() {
    this.context = new Context();
    this.context.draw = () => this.draw();
    this.way = new Way(this.context, byId("view-way"));
    /** @type {Record<string, {draw: () => void}>} */
    this.views = {
      replay: new Replay(this.context, byId("view-replay")),
      memory: new Memory(this.context, byId("view-memory")),
      lessons: new Lessons(this.context, byId("view-lessons")),
    };
    /** @type {{name: string, kind: string, note: string}[]} */
    this.models = [];
    this.asked = "";
    this.running = new AbortController();
  }

  async start() {
    this.theme(preferredTheme());
    this.listen();
    this.route();
    this.context.waiting++;
    const { models, current, text } = await get("/api/models").finally(() => this.context.waiting--);
    this.context.answers.set("models", { value: { models }, size: 0 });
    this.models = models;
    const { place } = this.context;
    if (!place.model) place.model = current;
    if (!place.text) place.text = text || this.firstText(place.model);
    this.context.set();
  }

  listen() {
    addEventListener("hashchange", ({ newURL }) => this.route(new URL(newURL).hash));
    addEventListener("resize", () => this.context.redraw());
    for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      const leave = () => {
        this.context.isLanding = false; // who moves by hand is not brought back
      };
      addEventListener(kind, leave, { passive: true, capture: true });
    }
    byId("theme").addEventListener("click", () => this.flip());
    byId("keys").addEventListener("click", showKeys);
    byId("save").addEventListener("click", () => this.save());
    byId("model").addEventListener("click", () => this.chooseModel());
    byId("save").hidden = isSaved();
    listen(this.context, this.way, {
      theme: () => this.flip(),
      replay: (step) => /** @type {Replay} */ (this.views.replay).step(step),
    });
    watchServer((isAway) => {
      const words = "The server does not answer. What is drawn stays; the page asks again until it is back.";
      if (isAway) trouble(words);
      else if (byId("trouble").textContent === words) trouble(null);
    });
  }

  flip() {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      if (theme === ofSystem()) localStorage.removeItem("cutaway.theme");
      else localStorage.setItem("cutaway.theme", theme);
    } catch {
      // No storage, as in some file:// pages: the theme then holds for this visit.
    }
    this.theme(theme);
  }

  /** @param {string} theme */
  theme(theme) {
    document.documentElement.dataset.theme = theme;
    paint();
    const other = theme === "dark" ? "light" : "dark",
      button = byId("theme");
    button.textContent = other;
    button.setAttribute("aria-label", `switch to the ${other} theme`);
    this.context.redraw();
  }

  /**
   * Follow the address: a whole one sets everything, a bare one leads to a view or a stage. It is the one that was gone to: by the
   * time that this is known, the place may have been written over it.
   * @param {string} [gone]
   */
  route(gone = location.hash) {
    const hash = gone || (isSaved() ? `#${saved()?.state ?? ""}` : ""),
      { view, stage, place } = fromHash(hash),
      { context } = this;
    const isMove = view !== context.place.view || stage !== context.place.stage || !place;
    if (place)
      Object.assign(context.place, place, { model: place.model || context.place.model, text: place.text || context.place.text });
    context.set({ view, stage });
    this.show();
    context.isLanding = isMove;
    if (isMove && context.run) this.draw();
  }

  /** Go to the stage of the address, and stay there while what stands above it is still drawn. */
  land() {
    const { context } = this;
    if (context.place.view === "way") this.way.goTo(context.place.stage);
    else scrollTo(0, 0);
    context.isLanding = context.waiting > 0;
  }

  show() {
    const { view } = this.context.place;
    for (const each of VIEWS) byId(`view-${each}`).hidden = each !== view;
    for (const link of document.querySelectorAll("nav.views a")) {
      if (link.getAttribute("href") === `#${view}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.way.follow();
  }

  draw() {
    this.ensureRun();
    this.normalise();
    const { context } = this,
      { view } = context.place;
    this.header();
    if (view === "way") this.way.draw();
    else this.views[view].draw();
    if (context.isLanding && context.run) this.land();
  }

  header() {
    const run = this.context.run;
    if (!run) return;
    const { name, num_layers, num_heads, d_model, parameters, kind } = run.model,
      names = { pair: ", two stacks", encoder: ", reads both ways", decoder: "" };
    const words = `${name}, ${num_layers} layers, ${num_heads} heads, ${d_model} wide`;
    if (byId("model").textContent === words) return; // what is written anew is laid out anew
    fill(byId("model"), words);
    document.title = `${name} · Cutaway`;
    byId("foot").textContent =
      `${name}, ${count(parameters)} parameters${names[kind]}. Every number drawn is the model’s own. Nothing leaves this machine.`;
  }

  /** Ask for the run of the place, once; what is drawn stays until it is there. */
  ensureRun() {
    const { context } = this,
      { model, text, target, positions, off, more } = context.place,
      key = JSON.stringify([model, text, target, positions, off, more]);
    if (!model || !text || key === this.asked) return;
    this.asked = key;
    this.running.abort();
    this.running = new AbortController();
    context.isRunning = true;
    context.waiting++;
    const { signal } = this.running,
      { stack, i, c } = context.place,
      wanted = { ...(stack < 0 ? { stack } : {}), ...(i < 0 ? { i } : {}), ...(c < 0 ? { c } : {}) };
    context
      .askRun(signal)
      .then(
        (run) => {
          trouble(null);
          this.arrive(run, wanted);
        },
        (error) => {
          if (error.name !== "AbortError") trouble(error.message);
        },
      )
      .finally(() => {
        context.waiting--;
        if (this.asked === key) context.isRunning = false;
        context.redraw();
      });
  }

  /**
   * @param {import("./core/types.js").Run} run
   * @param {Partial<import("./core/types.js").Place>} wanted where to look in it: −1 is the end
   */
  arrive(run, wanted) {
    const { context } = this;
    context.giveUp([run.run, context.other?.run ?? ""]);
    if (context.run?.model.name !== run.model.name) context.windows.clear();
    context.run = run;
    Object.assign(context.place, wanted);
    context.preview = {};
    context.set();
  }

  /** Keep the place inside of what is drawn; what is left open is the last token and the last column of the last stack. */
  normalise() {
    const { place, run } = this.context;
    if (!run) return;
    const last = run.stacks.length - 1,
      stack = place.stack < 0 || place.stack > last ? last : place.stack,
      { tokens, columns } = run.stacks[stack];
    const layers = columns.filter(({ site }) => site.endsWith("residual.end")).length;
    place.stack = stack;
    place.i = place.i < 0 || place.i >= tokens.length ? tokens.length - 1 : place.i;
    place.c = place.c < 0 || place.c > layers ? layers : place.c;
    place.l = clamp(place.l, 0, layers - 1);
    place.h = clamp(place.h, 0, run.model.num_heads - 1);
    place.mode = clamp(place.mode, 0, modesOf(run).length - 1);
    if (run.model.kind !== "pair" || stack === 0 || place.block !== "cross") place.block = "attention";
  }

  /** @param {string} model */
  firstText(model) {
    return FIRST_TEXTS[this.models.find(({ name }) => name === model)?.kind ?? "decoder"] ?? FIRST_TEXTS.decoder;
  }

  chooseModel() {
    const dialog = /** @type {HTMLDialogElement} */ (
      h(
        "dialog",
        { "aria-label": "Choose a model" },
        h("h2", {}, "Models"),
        h(
          "table",
          {},
          ...this.models.map(({ name, kind, note }) => {
            const button = h("button", { class: "link" }, name);
            button.addEventListener("click", () => {
              dialog.close();
              const { place } = this.context,
                isOwn = Object.values(FIRST_TEXTS).includes(place.text);
              this.context.set({
                model: name,
                text: isOwn ? this.firstText(name) : place.text,
                target: null,
                off: [],
                more: [],
                stack: -1,
                i: -1,
                j: -1,
                c: -1,
                u: -1,
                word: -1,
                against: -1,
                open: false,
                cut: 0,
                l: 0,
                h: 0,
              });
            });
            return h("tr", {}, h("td", {}, button), h("td", { class: "second" }, note || kind));
          }),
        ),
      )
    );
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  /** The page as one file, with all that its pictures may ask for. @param {import("./core/types.js").Run} run */
  async asFile(run) {
    const { place } = this.context,
      last = run.stacks[run.stacks.length - 1];
    const says = last.next.length ? await ask("/api/says", { run: run.run, rows: [0, last.tokens.length] }) : null,
      word = (/** @type {number} */ token) => says?.rows[token]?.at(-1)?.id ?? -1;
    return save({ run: run.run, state: toHash(place).slice(1), asked: keptKeys(run, place, word) });
  }

  async save() {
    const run = this.context.run;
    if (!run) return;
    try {
      const url = URL.createObjectURL(await this.asFile(run));
      h("a", { download: `${run.model.name}.html`, href: url }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      trouble(error instanceof Error ? error.message : String(error));
    }
  }
}

function ofSystem() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** The one in the address, the one chosen before, or that of the system. */
function preferredTheme() {
  let kept = null;
  try {
    kept = localStorage.getItem("cutaway.theme");
  } catch {
    // No storage: the system decides.
  }
  return new URLSearchParams(location.search).get("theme") ?? kept ?? ofSystem();
}

/**
 * What the canvases show now: for tests and for whoever wants the numbers. most: how many of each field, evenly spread.
 * @param {number} [most]
 */
function readings(most = 8) {
  const out = [];
  for (const canvas of document.querySelectorAll("canvas")) {
    if (!canvas.checkVisibility()) continue;
    for (const field of fieldsOf(canvas)) {
      const cells = field.rows * field.columns,
        step = Math.max(1, Math.floor(cells / most));
      for (let cell = 0; cell < cells; cell += step) {
        const row = Math.floor(cell / field.columns),
          column = cell % field.columns,
          value = field.value(row, column);
        if (value !== null) out.push({ site: field.site(row, column), value, ramp: field.ramp });
      }
    }
  }
  return out;
}

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

/** Resolves when everything near is drawn, with the answers that it takes. @param {Context} context */
async function refreshed(context) {
  do await frame();
  while (context.waiting || context.isQueued || context.isRunning || context.delayed);
}

/** Resolves when nothing is under way any more: what was drawn asks for nothing, and the address is written. @param {Context} context */
async function settled(context) {
  for (let quiet = 0; quiet < 4;) {
    await frame();
    quiet = context.waiting || context.isQueued || context.isRunning || context.delayed || context.written ? 0 : quiet + 1;
  }
}

const app = new App();
Object.assign(window, {
  microscope: {
    context: app.context,
    looms: app.way.all,
    replay: app.views.replay,
    stages: Object.fromEntries(app.way.stages.map((stage) => [stage.id, stage])),
    readings,
    asFile: () => app.asFile(/** @type {import("./core/types.js").Run} */ (app.context.run)),
    refreshed: () => refreshed(app.context),
    settled: () => settled(app.context),
    ask,
  },
});
app.start().catch((error) => trouble(error instanceof Error ? error.message : String(error)));
