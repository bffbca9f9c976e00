// The ways of writing that replay shows. In: a run. Out: those that its model was trained for.

/**
 * @typedef {{name: string, says: string, decoder: string, length: number, isSeeded?: boolean, settings?: Record<string, any>,
 *   sampling: (place: import("../core/types.js").Place) => Record<string, any>}} Mode
 */

const FEW = 10,
  MORE = 24;

const greedy = () => ({ temperature: 0 });

/** The sliders of Output, and a seed. @param {import("../core/types.js").Place} place */
const drawn = (place) => ({
  temperature: place.temperature,
  seed: place.seed,
  ...(place.topk ? { top_k: place.topk } : {}),
  ...(place.topp < 1 ? { top_p: place.topp } : {}),
});

/** @type {Mode[]} */
const LEFT_TO_RIGHT = [
  {
    name: "Greedy",
    says: "One token for each pass, left to right; always the likeliest.",
    decoder: "autoregressive",
    length: FEW,
    sampling: greedy,
  },
  {
    name: "Sampled",
    says: "One token for each pass, drawn with the sliders of Output and a seed.",
    decoder: "autoregressive",
    length: FEW,
    isSeeded: true,
    sampling: drawn,
  },
  {
    name: "Beam",
    says: "Four beginnings are kept in each pass; the likeliest whole is written at the end.",
    decoder: "beam",
    length: FEW,
    sampling: () => ({ num_beams: 4 }),
  },
  {
    name: "Lookup",
    says: "What followed the last words earlier is guessed, and greedy has the say: its text, in fewer passes.",
    decoder: "lookup",
    length: MORE,
    sampling: greedy,
  },
];

/** @type {Mode[]} */
const DRAFTED = [
  {
    name: "Drafts",
    says: "Several tokens are guessed at once, and those stand that greedy would have said: the same text, in fewer passes.",
    decoder: "hybrid",
    length: MORE,
    sampling: greedy,
  },
  { ...LEFT_TO_RIGHT[0], length: MORE },
  { ...LEFT_TO_RIGHT[1], length: MORE },
];

/** @type {Mode[]} */
const FILLED = [
  {
    name: "Surest first",
    says: "Every place is a mask. Each pass fills the place that the model is surest of.",
    decoder: "diffusion",
    length: MORE,
    settings: { order: "confidence" },
    sampling: greedy,
  },
  {
    name: "Several at once",
    says: "Each pass fills all places of which the model is at least half sure, and at least one.",
    decoder: "diffusion",
    length: MORE,
    settings: { order: "threshold", threshold: 0.5 },
    sampling: greedy,
  },
  {
    name: "Any order",
    says: "Each pass fills one place, all orders alike, drawn with the sliders of Output and a seed.",
    decoder: "diffusion",
    length: MORE,
    isSeeded: true,
    settings: { order: "first_hitting" },
    sampling: drawn,
  },
];

/** @param {import("../core/types.js").Run} run @returns {Mode[]} */
export function modesOf(run) {
  const predicts = run.model.predicts ?? "";
  if (predicts.startsWith("hybrid")) return DRAFTED;
  return predicts.startsWith("masked") ? FILLED : LEFT_TO_RIGHT;
}
