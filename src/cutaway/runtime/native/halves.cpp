// Products with weights in bf16: the upper half of an fp32, so that an fp32 is had by a shift. x is not rounded.
//
// Weights lie in tiles of 16 outputs (see quantised/tiles.py): a lane holds two inputs of one output. With few rows, memory is the
// limit, and weights are multiplied as they are read. With more, a stretch of some tiles is first widened in the first cache, and
// then multiplied by all rows, as any product in fp32 is. AVX-512's own product of pairs of bf16 is not used: see docs/log.md.
#include <omp.h>

#include "gemm.h"

#define OUTPUTS 16  // of a tile
#define VECTORS (OUTPUTS / LANES)
#define WORTH (1 << 15)  // weights: below, waking a second thread takes longer than it saves
#define AHEAD 2048       // bytes that are asked for before they are read
#define FEW 4            // rows: up to here, weights are multiplied as they are read
#define SIDES (COLUMNS / OUTPUTS)  // tiles beside each other in what is widened
#define MOST (256 / OUTPUTS)       // tiles that a thread takes at once: each stretch of x is then read from the second cache

typedef struct {
    ptrdiff_t rows, columns, depth, pairs;
    const float *x;
    const uint16_t *weights;
    const float *bias;
    float *out;
} task;

INLINE integers load_words(const void *place) { return *(const integers *)place; }
INLINE vector first_inputs(integers w) { return (vector)(w << 16); }
INLINE vector second_inputs(integers w) { return (vector)(w & ((integers){0} + (int32_t)0xffff0000u)); }

// One tile times R rows. CHAINS: of sums for each output, 2 or 4: so many that none waits for the one before it.
template <int R, int CHAINS>
static void add_up(const task &t, ptrdiff_t row, ptrdiff_t tile) {
    const int PAIRS = CHAINS / 2;  // at once
    const uint16_t *weights = t.weights + tile * t.pairs * 2 * OUTPUTS;
    const float *const x = t.x + row * t.depth;
    const ptrdiff_t whole = t.depth / 2;
    vector sums[R][VECTORS][CHAINS];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++)
            for (int chain = 0; chain < CHAINS; chain++) sums[r][v][chain] = all(0);
    ptrdiff_t p = 0;
    for (; p + PAIRS <= whole; p += PAIRS, weights += PAIRS * 2 * OUTPUTS) {
        for (int pair = 0; pair < PAIRS; pair++) __builtin_prefetch((const char *)weights + AHEAD + pair * 64);
        integers w[PAIRS][VECTORS];
#pragma GCC unroll 4
        for (int one = 0; one < PAIRS * VECTORS; one++) w[one / VECTORS][one % VECTORS] = load_words(weights + one * 2 * LANES);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int pair = 0; pair < PAIRS; pair++)
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; v++) {
                    sums[r][v][2 * pair] += first_inputs(w[pair][v]) * all(x[r * t.depth + 2 * (p + pair)]);
                    sums[r][v][2 * pair + 1] += second_inputs(w[pair][v]) * all(x[r * t.depth + 2 * (p + pair) + 1]);
                }
    }
    for (; p < t.pairs; p++, weights += 2 * OUTPUTS)
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECTORS; v++) {
                const integers w = load_words(weights + v * 2 * LANES);
                sums[r][v][0] += first_inputs(w) * all(x[r * t.depth + 2 * p]);
                if (p < whole) sums[r][v][1] += second_inputs(w) * all(x[r * t.depth + 2 * p + 1]);
            }
    const ptrdiff_t j = tile * OUTPUTS, wide = t.columns - j < OUTPUTS ? t.columns - j : OUTPUTS;
    for (int r = 0; r < R; r++) {
        float out[OUTPUTS];
        for (int v = 0; v < VECTORS; v++) {
            vector sum = sums[r][v][0];
            for (int chain = 1; chain < CHAINS; chain++) sum += sums[r][v][chain];
            store(out + v * LANES, sum);
        }
        for (ptrdiff_t c = 0; c < wide; c++) t.out[(row + r) * t.columns + j + c] = out[c] + (t.bias ? t.bias[j + c] : 0);
    }
}

static void multiply_few_rows(const task &t, ptrdiff_t tile) {
    ptrdiff_t r = 0;
    for (; r + 2 <= t.rows; r += 2) add_up<2, 2>(t, r, tile);
    for (; r < t.rows; r++) add_up<1, 4>(t, r, tile);
}

// `tiles` tiles from `tile` on, their inputs k … k + deep, k even -> a panel as `multiply_packed` takes it, zeros where a tile lacks.
static void widen(const task &t, ptrdiff_t tile, ptrdiff_t tiles, ptrdiff_t k, ptrdiff_t deep, float *panel) {
    for (int side = 0; side < SIDES; side++) {
        const uint16_t *const weights = t.weights + ((tile + side) * t.pairs + k / 2) * 2 * OUTPUTS;
        for (ptrdiff_t p = 0; 2 * p < deep; p++)
            for (int v = 0; v < VECTORS; v++) {
                const integers w = side < tiles ? load_words(weights + (p * VECTORS + v) * 2 * LANES) : (integers){0};
                float *const place = panel + 2 * p * COLUMNS + side * OUTPUTS + v * LANES;
                store(place, first_inputs(w)), store(place + COLUMNS, second_inputs(w));
            }
    }
}

// Tiles first … last times all rows.
static void multiply_many_rows(const task &t, ptrdiff_t first, ptrdiff_t last, float *panel) {
    for (ptrdiff_t k = 0; k < t.depth; k += DEPTH) {
        const ptrdiff_t deep = t.depth - k < DEPTH ? t.depth - k : DEPTH;
        for (ptrdiff_t tile = first; tile < last; tile += SIDES) {
            const ptrdiff_t tiles = last - tile < SIDES ? last - tile : SIDES, j = tile * OUTPUTS;
            const ptrdiff_t wide = t.columns - j < tiles * OUTPUTS ? t.columns - j : tiles * OUTPUTS;
            widen(t, tile, tiles, k, deep, panel);
            multiply_packed(t.rows, wide, deep, in_rows(t.x + k, t.depth), panel, deep, t.out + j, t.columns,
                            t.bias && k == 0 ? t.bias + j : NULL, k > 0);
        }
    }
}

// out [rows, columns] = x [rows, depth] · Wᵀ (+ bias); all contiguous. weights: tiles of bf16.
extern "C" __attribute__((visibility("default"))) void PUBLIC(product_halves)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
                                                                              const float *x, const uint16_t *weights,
                                                                              const float *bias, float *out, int num_threads) {
    const ptrdiff_t tiles = (columns + OUTPUTS - 1) / OUTPUTS;
    const task t = {rows, columns, depth, (depth + 1) / 2, x, weights, bias, out};
    const ptrdiff_t share = up_to((tiles + 4 * num_threads - 1) / (4 * num_threads), SIDES), at_once = share < MOST ? share : MOST;
#pragma omp parallel num_threads(columns * depth < WORTH ? 1 : num_threads)
    {
        if (rows <= FEW) {
#pragma omp for schedule(static)
            for (ptrdiff_t tile = 0; tile < tiles; tile++) multiply_few_rows(t, tile);
        } else {
            float *const panel = room_for((size_t)DEPTH * COLUMNS, 0);
#pragma omp for schedule(dynamic)
            for (ptrdiff_t tile = 0; tile < tiles; tile += at_once)
                multiply_many_rows(t, tile, tile + at_once < tiles ? tile + at_once : tiles, panel);
        }
    }
}

// The same for a few rows, in parts, as a plan runs it: x is taken as it lies, and outputs first … last made, where both are multiples
// of 16, or the end. Each row is made as one alone is.
typedef struct {
    const uint16_t *weights;
    const float *bias;
    ptrdiff_t depth, columns;
} half_matrix;

extern "C" __attribute__((visibility("default"))) void PUBLIC(rows_halves)(const void *given, ptrdiff_t rows, const float *x, const void *,
                                                                           float *out, ptrdiff_t first, ptrdiff_t last) {
    const half_matrix &m = *(const half_matrix *)given;
    const task t = {rows, m.columns, m.depth, (m.depth + 1) / 2, x, m.weights, m.bias, out};
    for (ptrdiff_t tile = first / OUTPUTS; tile * OUTPUTS < last; tile++) {
        ptrdiff_t row = 0;
        for (; LANES == 16 && row + 4 <= rows; row += 4) add_up<4, 4>(t, row, tile);
        for (; row < rows; row++) add_up<1, 4>(t, row, tile);
    }
}
