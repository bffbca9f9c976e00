// The shapes of what the server answers and of what the page remembers; nothing runs here.

/**
 * @typedef {{rank: number, left: string, right: string, result: string}} Join
 * @typedef {{id: number, text: string, bytes: string, start: number, end: number, symbols: string[], joins: Join[],
 *   role?: string | null}} Token
 * @typedef {{id: number, text: string, chance: number}} Said
 * @typedef {{site: string}} Column
 * @typedef {{name: string, rule: string, tokens: Token[], columns: Column[], next: Said[], num_heads?: number}} Stack
 * @typedef {{name: string, kind: "decoder" | "encoder" | "pair", num_layers: number, num_heads: number, kv_heads: number,
 *   d_model: number, d_head: number, d_hidden: number, vocab_size: number, context: number, position_kind: string,
 *   adds_positions: boolean, order: string, parameters: number, predicts?: string | null, mask: number | null, num_experts?: number, num_joins:
 * number | null, layers_shown: number}} Model
 * @typedef {{run: string, model: Model, text: string, cut: {characters: number, tokens: number, kept: number} | null,
 *   seconds: number, stacks: Stack[]}} Run
 * @typedef {{site: string, op: string, positions?: number[] | null, heads?: number[] | null}} Edit
 * @typedef {{model: string, text: string, target: string | null, positions: boolean, edits: Edit[],
 *   more: number[]}} Asked
 * @typedef {{rows: number, columns: number, data: Float32Array, deviation: number}} Matrix
 * @typedef {{stack: string, layer: number, head: number, block: "attention" | "cross", label: string,
 *   measured: {first: number, itself: number, previous: number, spread: number, source: number | null, weight: number |
 * null}}} HeadFact
 * @typedef {{query: number[], keys: number[][], values: number[][], products: number[], scaled: number[],
 *   scores: (number | null)[], weights: number[], mixed: number[], scale: number, softcap: number | null, has_bias: boolean,
 *   kv_head: number, others: {count: number, weight: number}, sources: number[]}} Head
 * @typedef {{kind: string, stack: string | null, layer: number | null, head: number | null, value: number}} Part
 * @typedef {{parts: Part[], total: number, against_total: number | null}} Why
 * @typedef {{neighbours: {id: number, text: string, cosine: number, vector: number[]}[],
 *   map: {points: {id: number, text: string, x: number, y: number}[], share: number}}} Neighbourhood
 * @typedef {{kind: string, order: string | number[], table: number[][] | null, similarity: number[] | null, word_share:
 *   number | null,
 *   position_share: number | null, lengths: number[]}} Places
 * @typedef {{columns: string[], rows: Said[][]}} Says
 * @typedef {{value: number, before: number | null, toward: string[], away: string[], direction: number[], firing: number}} Unit
 * @typedef {{pass: number, kind: string, position: number, old: number | null, new: number | null, text: string,
 *   probability: number | null}} Happening
 */

/**
 * The place and the settings. i: token, j: source, l: layer, h: head, c: column of the stream counted from the sum (0), u: unit.
 * @typedef {{view: string, stage: string, model: string, text: string, target: string | null, positions: boolean, off:
 *   string[], more: string[],
 *   stack: number, i: number, j: number, l: number, h: number, block: "attention" | "cross", c: number, u: number, open: boolean,
 *   cut: number, temperature: number, topk: number, topp: number, thrown: number, word: number, against: number,
 *   dimension: number, second: number, b: string, bmodel: string, mode: number, pass: number, decoder: string, seed: number,
 *   lesson: string, settings: string, bits: number, cache: boolean, batch: number, context: number, memory: string}} Place
 */

/**
 * A rectangle of a canvas that shows rows × columns of numbers. It is what the pointer reads, what a table lists and what
 * tests sample.
 * @typedef {{x: number, y: number, width: number, height: number, rows: number, columns: number, ramp: string, label: string,
 *   value: (row: number, column: number) => number | null, site: (row: number, column: number) => string,
 *   says?: (row: number, column: number) => string, note?: (row: number, column: number) => string}} Field
 */

export {};
