// Between two looms: threads from the last column of the source down into each layer of the target.
// In: what cross-attention takes, by rows. Out: one picture over both looms, which takes no clicks.

import { tone } from "../core/colour.js";
import { canvas } from "../core/dom.js";
import { fit } from "../core/draw.js";
import { middle } from "./loom_shape.js";
import { rollout } from "./rollout.js";

const THINNEST = 0.4,
  BEND = 56;

export class Crossings {
  /** @param {import("../core/context.js").Context} context */
  constructor(context) {
    this.context = context;
    this.element = canvas({ "aria-hidden": "true" });
    /** @type {import("./loom.js").Loom[]} */
    this.looms = [];
  }

  depends() {
    const { run, seen } = this.context;
    return [run?.run, seen.stack, seen.i, seen.c, this.context.rows(0), this.context.rows(1)];
  }

  draw() {
    const rolled = rollout(this.context),
      [source, target] = this.looms,
      box = this.element.parentElement;
    if (!rolled || !source?.shape || !target?.shape || !box) return;
    const pen = fit(this.element, box.clientWidth, box.clientHeight),
      from = source.shape,
      to = target.shape;
    const x0 = from.xs[from.xs.length - 1] + from.strip,
      top0 = source.element.offsetTop,
      top1 = target.element.offsetTop;
    pen.fillStyle = tone("computed-share", 0.54);
    pen.globalAlpha = 0.55;
    rolled.cross.forEach(({ threads, from: sources }, l) => {
      const x1 = to.xs[to.inputs + l];
      threads.forEach((share, k) => {
        const thick = share * to.full,
          y0 = top0 + middle(from, k % sources),
          y1 = top1 + middle(to, Math.floor(k / sources));
        if (thick > THINNEST) ribbon(pen, x0, y0, x1, y1, thick);
      });
    });
    pen.globalAlpha = 1;
  }
}

/**
 * Out to the right, down, and in from the left.
 * @param {CanvasRenderingContext2D} pen
 * @param {number} x0
 * @param {number} y0
 * @param {number} x1
 * @param {number} y1
 * @param {number} thick
 */
function ribbon(pen, x0, y0, x1, y1, thick) {
  const a = y0 - thick / 2,
    b = y1 - thick / 2;
  pen.beginPath();
  pen.moveTo(x0, a);
  pen.bezierCurveTo(x0 + BEND, a, x1 - BEND, b, x1, b);
  pen.lineTo(x1, b + thick);
  pen.bezierCurveTo(x1 - BEND, b + thick, x0 + BEND, a + thick, x0, a + thick);
  pen.closePath();
  pen.fill();
}
