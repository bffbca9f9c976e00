// Lessons: a newcomer's questions, each answered by an experiment on the model that is open.
// In: the list and a lesson, as `cutaway lessons --json` prints them. Out: text, controls, figures, and what would show it wrong.

import { ask, get } from "../core/api.js";
import { closest, fill, h } from "../core/dom.js";
import { marked } from "../core/text.js";
import { figureOf } from "./lesson_figures.js";

/**
 * @typedef {{name: string, label: string, kind: "text" | "choice" | "number", value: string | number, choices: string[],
 *   least: number,
 *   most: number, is_whole: boolean, step: number}} Setting
 * @typedef {{name: string, title: string, model: string, text: string[], settings: Setting[], figures: any[],
 *   findings: {label: string, value: string}[], wrong: {claim: string, threshold: string, found: string, holds: boolean},
 * fair: string,
 *   next: {name: string, title: string} | null}} Lesson
 */

export class Lessons {
  /** @param {import("../core/context.js").Context} context @param {HTMLElement} element */
  constructor(context, element) {
    this.context = context;
    this.list = h("ol", { "aria-label": "Lessons" });
    this.article = h("article", { class: "lesson" });
    fill(element, h("div", { class: "lessons" }, this.list, this.article));
    this.list.addEventListener("click", (event) => this.choose(closest(event.target, "[data-lesson]")?.dataset.lesson));
    this.article.addEventListener("click", (event) => this.choose(closest(event.target, "[data-lesson]")?.dataset.lesson));
    this.drawn = "";
    this.timer = 0;
  }

  /** @param {string | undefined} name */
  choose(name) {
    if (name === undefined) return;
    this.context.set({ lesson: name, settings: "" });
    scrollTo(0, 0);
  }

  draw() {
    const { context } = this,
      { place } = context;
    context.refused = null;
    const list = /** @type {{name: string, title: string, model: string}[] | undefined} */ (
      context.want("lessons", (signal) => get("/api/lessons", {}, signal).then((found) => found.lessons ?? found))
    );
    if (!list) return fill(this.article, h("p", { class: "second" }, context.refused ?? ""));
    const name = place.lesson || list[0]?.name;
    fill(
      this.list,
      ...list.map((each) =>
        h(
          "li",
          {},
          h(
            "button",
            { data: { lesson: each.name, key: `lesson${each.name}` }, "aria-current": each.name === name ? "page" : null },
            each.title,
          ),
        ),
      ),
    );
    const entry = list.find((each) => each.name === name),
      lesson =
        this.ask(name, place.model) ??
        (context.refused && entry && entry.model !== place.model ? this.again(name, entry.model) : undefined);
    this.article.classList.toggle("stale", !lesson && !context.refused);
    if (lesson) this.show(lesson);
    else if (context.refused) this.refuse(context.refused, list.find((each) => each.name === name)?.title ?? "");
    else if (!this.drawn) fill(this.article, h("p", { class: "second" }, "The experiment is running on the model."));
  }

  /** @param {string} name @param {string} model @returns {Lesson | undefined} */
  ask(name, model) {
    const { settings } = this.context.place;
    return this.context.want(`lesson ${model} ${name} ${settings}`, (signal) =>
      ask("/api/lesson", { name, model, settings: parsed(settings) }, signal),
    );
  }

  /**
   * A lesson that the open model cannot show runs on the one that is bundled for it.
   * @param {string} name
   * @param {string} model
   */
  again(name, model) {
    this.context.refused = null;
    return this.ask(name, model);
  }

  /** @param {string} words @param {string} title */
  refuse(words, title) {
    this.drawn = "";
    fill(
      this.article,
      h("h2", {}, title),
      h("div", { class: "body" }, h("p", {}, words)),
      h(
        "p",
        {},
        this.context.place.settings
          ? h("button", { class: "link", data: { lesson: this.context.place.lesson } }, "back to the first settings")
          : null,
      ),
    );
  }

  /** @param {Lesson} lesson */
  show(lesson) {
    const key = JSON.stringify([lesson.name, lesson.model, lesson.settings, document.documentElement.dataset.theme, innerWidth]);
    if (key === this.drawn) return;
    this.drawn = key;
    const width = this.article.clientWidth,
      { wrong } = lesson;
    fill(
      this.article,
      h("h2", {}, lesson.title),
      lesson.model === this.context.place.model ? null : h("p", { class: "cap" }, `on the model ${lesson.model}`),
      h("div", { class: "body" }, ...lesson.text.map((text) => h("p", {}, ...marked(text)))),
      this.controls(lesson),
      h("div", { class: "exp" }, ...lesson.figures.map((figure) => figureOf(figure, width))),
      lesson.findings.length
        ? h(
            "dl",
            { class: "findings" },
            ...lesson.findings.flatMap(({ label, value }) => [h("dt", {}, label), h("dd", {}, ...marked(value))]),
          )
        : null,
      h(
        "div",
        { class: "check" },
        h("b", {}, "What would show this wrong?"),
        h(
          "p",
          {},
          `${wrong.claim} Threshold: ${wrong.threshold}. Found here, just now: ${wrong.found}. ${wrong.holds ? "It holds." : "It does not hold on this model."}`,
        ),
        h("b", {}, "A fair test"),
        h("p", { class: "second" }, lesson.fair),
        ...(lesson.next
          ? [
              h("b", {}, "Next"),
              h("p", {}, h("button", { class: "link", data: { lesson: lesson.next.name } }, lesson.next.title)),
            ]
          : []),
      ),
    );
  }

  /** @param {Lesson} lesson */
  controls(lesson) {
    const now = () => parsed(this.context.place.settings);
    const set = (/** @type {string} */ name, /** @type {string | number} */ value) => {
      clearTimeout(this.timer);
      this.timer = window.setTimeout(
        () => this.context.set({ lesson: lesson.name, settings: JSON.stringify({ ...now(), [name]: value }) }),
        150,
      );
    };
    return h(
      "form",
      { class: "controls", on: { submit: (/** @type {Event} */ event) => event.preventDefault() } },
      ...lesson.settings.map((setting) => this.control(setting, (value) => set(setting.name, value))),
    );
  }

  /** @param {Setting} setting @param {(value: string | number) => void} set */
  control(setting, set) {
    const key = { data: { key: `set${setting.name}` } };
    if (setting.kind === "choice") {
      const group = h(
        "div",
        { class: "seg", role: "radiogroup", "aria-label": setting.label },
        ...setting.choices.map((choice) =>
          h(
            "button",
            {
              type: "button",
              role: "radio",
              "aria-checked": String(choice === setting.value),
              data: { key: `set${setting.name}${choice}` },
              on: { click: () => set(choice) },
            },
            choice,
          ),
        ),
      );
      return h("div", {}, h("span", { class: "cap" }, setting.label), group);
    }
    if (setting.kind === "text") {
      const input = /** @type {HTMLInputElement} */ (
        h("input", { class: "field", type: "text", value: setting.value, maxlength: setting.most, ...key })
      );
      input.addEventListener("change", () => set(input.value));
      return h("label", {}, h("span", { class: "cap" }, setting.label), input);
    }
    const value = h("b", {}, String(setting.value));
    const input = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "range",
        min: setting.least,
        max: setting.most,
        step: setting.is_whole ? 1 : setting.step,
        "aria-label": setting.label,
        ...key,
      })
    );
    input.value = String(setting.value);
    input.addEventListener("input", () => {
      value.textContent = input.value;
      set(Number(input.value));
    });
    return h("label", { class: "range" }, h("span", { class: "cap" }, setting.label, value), input);
  }
}

/** The settings that an address holds; none where it holds something else. @param {string} text @returns {Record<string, any>} */
function parsed(text) {
  try {
    return { ...JSON.parse(text || "{}") };
  } catch {
    return {};
  }
}
