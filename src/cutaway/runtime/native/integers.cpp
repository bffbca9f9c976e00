// Products with weights of 8 or 4 bits: x is rounded to 8 bits, 32 inputs at a time, and whole numbers are multiplied.
//
//   out[r, j] = Σ_groups (scale_w[g, j] · scale_x[r, g]) · Σ_inputs code_w · code_x  (+ bias[j])
//
// Weights lie in tiles of 16 outputs (see quantised/tiles.py): a lane holds four inputs of one output, so no sum runs across lanes.
// With one row or two, memory is the limit, and codes are multiplied as they are read. With more, each group is first made ready
// in the first cache, and then multiplied by all rows.
#include <omp.h>

#include "bytes.h"

#define WORTH (1 << 15)       // weights: below, waking a second thread takes longer than it saves
#define BLOCK_BYTES (1 << 18)  // of rounded inputs: they stay in the second cache
#define AHEAD 2048             // bytes that are asked for before they are read: 0 and 4096 were slower by a tenth
#define LEAST 7.52316384526264e-37f  // 2^-120: where nothing is larger, the group counts as zero
#ifdef HAS_DOT
#define STEPS QUADS  // words of a group: four inputs each
#else
#define STEPS (2 * QUADS)  // of two inputs each, as halves: first and third of a quad, second and fourth
#endif
#if LANES == 8
#define HIGH 6  // rows at once: 6 x 2 sums stay in the 16 registers
#else
#define HIGH 12
#endif

typedef struct {
    ptrdiff_t rows, columns, depth, groups;
    const float *x;
    const uint8_t *codes;
    const uint16_t *scales;
    float factor;
    const float *bias;
    float *out;
} task;

// Codes of 8 bits. RAISED: what is added to each code where it is multiplied, and taken off again by where sums start.
// add: one group of a tile times the inputs of R rows. ready: the group as words that many rows are multiplied by.
struct eight_bits {
    static const int BYTES = GROUP * OUTPUTS;
#ifdef HAS_DOT
    static const int RAISED = 128;  // unsigned, as the instruction takes them
    INLINE integers raised(integers w) { return w ^ all_bytes((int32_t)0x80808080u); }
#else
    static const int RAISED = 0;
#endif
    template <int R>
    INLINE void add(const uint8_t *codes, const int8_t *const *x, integers sums[R][VECTORS]) {
#pragma GCC unroll 8
        for (int q = 0; q < QUADS; q++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                const integers w = load_bytes(codes + (q * VECTORS + v) * 4 * LANES);
#ifdef HAS_DOT
                for (int r = 0; r < R; r++) sums[r][v] = dot(sums[r][v], raised(w), all_bytes(word_at(x[r] + 4 * q)));
#else
                const integers size = magnitude(w);  // up to 128, and 128 · 127 · 2 is less than 2^15
                for (int r = 0; r < R; r++) {
                    const integers turned = signed_by(all_bytes(word_at(x[r] + 4 * q)), w);
                    sums[r][v] += multiply_halves(multiply_pairs(size, turned), all_bytes(0x00010001));
                }
#endif
            }
    }
    INLINE void ready(const uint8_t *codes, integers *words) {
        for (int q = 0; q < QUADS; q++)
            for (int v = 0; v < VECTORS; v++) {
                const integers w = load_bytes(codes + (q * VECTORS + v) * 4 * LANES);
#ifdef HAS_DOT
                words[q * VECTORS + v] = raised(w);
#else
                words[2 * q * VECTORS + v] = even_halves(w), words[(2 * q + 1) * VECTORS + v] = odd_halves(w);
#endif
            }
    }
};

// Codes of 4 bits, raised to 0 … 15: of quad i in the lower half of a byte, of quad i + 4 in the upper.
struct four_bits {
    static const int BYTES = GROUP * OUTPUTS / 2, RAISED = 8;
    INLINE integers lower(integers both) { return both & all_bytes(0x0f0f0f0f); }
    INLINE integers upper(integers both) { return both >> 4 & all_bytes(0x0f0f0f0f); }
    template <int R>
    INLINE void add(const uint8_t *codes, const int8_t *const *x, integers sums[R][VECTORS]) {
#ifndef HAS_DOT
        integers halves[R][VECTORS];  // 8 · 15 · 127 · 2 is less than 2^15
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECTORS; v++) halves[r][v] = all_bytes(0);
#endif
#pragma GCC unroll 4
        for (int q = 0; q < QUADS / 2; q++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                const integers both = load_bytes(codes + (q * VECTORS + v) * 4 * LANES), one = lower(both), other = upper(both);
                for (int r = 0; r < R; r++) {
                    const integers near = all_bytes(word_at(x[r] + 4 * q)), far = all_bytes(word_at(x[r] + 4 * q + GROUP / 2));
#ifdef HAS_DOT
                    sums[r][v] = dot(dot(sums[r][v], one, near), other, far);
#else
                    halves[r][v] = add_halves(halves[r][v], add_halves(multiply_pairs(one, near), multiply_pairs(other, far)));
#endif
                }
            }
#ifndef HAS_DOT
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECTORS; v++) sums[r][v] += multiply_halves(halves[r][v], all_bytes(0x00010001));
#endif
    }
    INLINE void ready(const uint8_t *codes, integers *words) {
        for (int q = 0; q < QUADS / 2; q++)
            for (int v = 0; v < VECTORS; v++) {
                const integers both = load_bytes(codes + (q * VECTORS + v) * 4 * LANES), one = lower(both), other = upper(both);
                const int far = q + QUADS / 2;
#ifdef HAS_DOT
                words[q * VECTORS + v] = one, words[far * VECTORS + v] = other;
#else
                words[2 * q * VECTORS + v] = even_halves(one), words[(2 * q + 1) * VECTORS + v] = odd_halves(one);
                words[2 * far * VECTORS + v] = even_halves(other), words[(2 * far + 1) * VECTORS + v] = odd_halves(other);
#endif
            }
    }
};

// Up to 32 inputs -> codes −127 … 127 (zeros behind them), their scale and their sum. What is not finite makes the scale NaN.
INLINE void round_group(const float *x, ptrdiff_t count, int8_t codes[GROUP], float *scale, int32_t *sum) {
    float whole[GROUP] = {0};
    if (count < GROUP) memcpy(whole, x, count * sizeof(float)), x = whole;
    integers most_bits = all_bytes(0);
    for (int i = 0; i < GROUP; i += LANES) {
        const integers bits = (integers)load(x + i) & all_bytes(0x7fffffff);
        most_bits = bits > most_bits ? bits : most_bits;  // the order of floats without sign is that of their bits
    }
    const int32_t top = largest_of(most_bits);
    float largest;
    memcpy(&largest, &top, sizeof largest);
    const int is_finite = top < 0x7f800000;
    const float inverse = is_finite && largest > LEAST ? 127.0f / largest : 0.0f;
    integers totals = all_bytes(0);
    for (int i = 0; i < GROUP; i += LANES) {
        const integers rounded = is_finite ? nearest(load(x + i) * inverse) : all_bytes(0);
        store_bytes(codes + i, rounded), totals += rounded;
    }
    *scale = is_finite ? largest / 127.0f : NAN;
    *sum = total_of(totals);
}

// A row of a tile, without what fills it up.
INLINE void put(const task &t, ptrdiff_t row, ptrdiff_t tile, const float *totals) {
    const ptrdiff_t j = tile * OUTPUTS, wide = t.columns - j < OUTPUTS ? t.columns - j : OUTPUTS;
    float *const out = t.out + row * t.columns + j;
    if (wide == OUTPUTS)
        for (int v = 0; v < OUTPUTS; v += LANES) store(out + v, load(totals + v) + (t.bias ? load(t.bias + j + v) : all(0)));
    else
        for (ptrdiff_t c = 0; c < wide; c++) out[c] = totals[c] + (t.bias ? t.bias[j + c] : 0);
}

// One tile times R rows, whose rounded inputs lie one after another.
template <class F, int R>
static void multiply_few(const task &t, ptrdiff_t tile, const int8_t *x, const float *scales_x, const int32_t *sums_x) {
    const uint8_t *codes = t.codes + tile * t.groups * F::BYTES;
    const uint16_t *scales = t.scales + tile * t.groups * OUTPUTS;
    vector totals[R][VECTORS];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++) totals[r][v] = all(0);
    for (ptrdiff_t g = 0; g < t.groups; g++, codes += F::BYTES, scales += OUTPUTS) {
        integers sums[R][VECTORS];
        const int8_t *places[R];
        for (int r = 0; r < R; r++) {
            places[r] = x + (r * t.groups + g) * GROUP;
            for (int v = 0; v < VECTORS; v++) sums[r][v] = all_bytes(F::RAISED ? -F::RAISED * sums_x[r * t.groups + g] : 0);
        }
        for (int line = 0; line < F::BYTES; line += 64) __builtin_prefetch(codes + AHEAD + line);
        F::template add<R>(codes, places, sums);
        for (int v = 0; v < VECTORS; v++) {
            const vector steps = load_halves(scales + v * LANES);
            for (int r = 0; r < R; r++) totals[r][v] += to_floats(sums[r][v]) * (steps * all(scales_x[r * t.groups + g]));
        }
    }
    for (int r = 0; r < R; r++) {
        float row[OUTPUTS];
        for (int v = 0; v < VECTORS; v++) store(row + v * LANES, totals[r][v]);
        put(t, r, tile, row);
    }
}

// Rounded inputs of some rows: codes [row, group, GROUP], scales and sums [row, group].
typedef struct {
    int8_t *codes;
    float *scales;
    int32_t *sums;
} few;

INLINE size_t few_bytes(ptrdiff_t groups) { return groups * (GROUP + sizeof(float) + sizeof(int32_t)); }

INLINE few few_at(void *place, ptrdiff_t groups) {
    int8_t *const codes = (int8_t *)place;
    float *const scales = (float *)(codes + groups * GROUP);
    return {codes, scales, (int32_t *)(scales + groups)};
}

INLINE few round_few(const task &t, void *place) {
    const ptrdiff_t count = t.rows * t.groups;
    const few f = few_at(place, count);
    for (ptrdiff_t i = 0; i < count; i++) {
        const ptrdiff_t k = i % t.groups * GROUP, left = t.depth - k < GROUP ? t.depth - k : GROUP;
        round_group(t.x + i / t.groups * t.depth + k, left, f.codes + i * GROUP, f.scales + i, f.sums + i);
        f.scales[i] *= t.factor;
    }
    return f;
}

template <class F>
static void share_few(const task &t, int num_threads) {
    const ptrdiff_t tiles = (t.columns + OUTPUTS - 1) / OUTPUTS;
    const few f = round_few(t, byte_room(few_bytes(t.rows * t.groups), 0));
#pragma omp parallel for num_threads(t.columns * t.depth < WORTH ? 1 : num_threads) schedule(static)
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        if (t.rows == 1)
            multiply_few<F, 1>(t, tile, f.codes, f.scales, f.sums);
        else
            multiply_few<F, 2>(t, tile, f.codes, f.scales, f.sums);
    }
}

// Rounded inputs of many rows: for each group, what belongs to a row lies behind what belongs to the row before.
typedef struct {
    int32_t *words;  // [group, row, STEPS]
    float *scales;   // [group, row]
    int32_t *sums;   // [group, row]
} many;

// Rows first … last, a group at a time, so that what is written lies together.
static void round_rows(const task &t, const many &m, ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t i = 0; i < t.groups * (last - first); i++) {
        const ptrdiff_t g = i / (last - first), row = first + i % (last - first), k = g * GROUP, place = g * t.rows + row;
        int8_t codes[GROUP];
        round_group(t.x + row * t.depth + k, t.depth - k < GROUP ? t.depth - k : GROUP, codes, m.scales + place, m.sums + place);
        m.scales[place] *= t.factor;
#ifdef HAS_DOT
        memcpy(m.words + place * STEPS, codes, GROUP);
#else
        int16_t halves[2 * STEPS];
        for (int q = 0; q < QUADS; q++)
            for (int i = 0; i < 4; i++) halves[4 * q + i % 2 * 2 + i / 2] = codes[4 * q + i];
        memcpy(m.words + place * STEPS, halves, sizeof halves);
#endif
    }
}

// One group of a tile, made ready, times H rows; added to their totals [H, OUTPUTS].
template <class F, int H>
INLINE void multiply_group(const integers *words, const vector *steps, const int32_t *x, const float *scales_x, const int32_t *sums_x,
                           float *totals) {
    integers sums[H][VECTORS];
#pragma GCC unroll 12
    for (int r = 0; r < H; r++)
        for (int v = 0; v < VECTORS; v++) sums[r][v] = all_bytes(F::RAISED ? -F::RAISED * sums_x[r] : 0);
    for (int s = 0; s < STEPS; s++) {
#pragma GCC unroll 12
        for (int r = 0; r < H; r++) {
            const integers word = all_bytes(x[r * STEPS + s]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
#ifdef HAS_DOT
                sums[r][v] = dot(sums[r][v], words[s * VECTORS + v], word);
#else
                sums[r][v] += multiply_halves(words[s * VECTORS + v], word);
#endif
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < H; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            float *const place = totals + r * OUTPUTS + v * LANES;
            store(place, load(place) + to_floats(sums[r][v]) * (steps[v] * all(scales_x[r])));
        }
}

// The same for `high` rows, 1 to H.
template <class F, int H>
static void multiply_up_to(ptrdiff_t high, const integers *words, const vector *steps, const int32_t *x, const float *scales_x,
                           const int32_t *sums_x, float *totals) {
    if (high == H)
        multiply_group<F, H>(words, steps, x, scales_x, sums_x, totals);
    else if constexpr (H > 1)
        multiply_up_to<F, H - 1>(high, words, steps, x, scales_x, sums_x, totals);
}

// One tile times rows first … last.
template <class F>
static void multiply_many(const task &t, const many &m, ptrdiff_t tile, ptrdiff_t first, ptrdiff_t last) {
    const uint8_t *codes = t.codes + tile * t.groups * F::BYTES;
    const uint16_t *scales = t.scales + tile * t.groups * OUTPUTS;
    float *const totals = (float *)byte_room((last - first) * OUTPUTS * sizeof(float), 1);
    memset(totals, 0, (last - first) * OUTPUTS * sizeof(float));
    for (ptrdiff_t g = 0; g < t.groups; g++, codes += F::BYTES, scales += OUTPUTS) {
        integers words[STEPS * VECTORS];
        vector steps[VECTORS];
        F::ready(codes, words);
        for (int v = 0; v < VECTORS; v++) steps[v] = load_halves(scales + v * LANES);
        for (ptrdiff_t r = first; r < last; r += HIGH) {
            const ptrdiff_t place = g * t.rows + r;
            multiply_up_to<F, HIGH>(last - r < HIGH ? last - r : HIGH, words, steps, m.words + place * STEPS, m.scales + place,
                                    m.sums + place, totals + (r - first) * OUTPUTS);
        }
    }
    for (ptrdiff_t r = first; r < last; r++) put(t, r, tile, totals + (r - first) * OUTPUTS);
}

template <class F>
static void share_many(const task &t, int num_threads) {
    const ptrdiff_t tiles = (t.columns + OUTPUTS - 1) / OUTPUTS, count = t.rows * t.groups, fits = BLOCK_BYTES / (t.groups * STEPS * 4);
    const ptrdiff_t block = fits < HIGH ? HIGH : fits > 16 * HIGH ? 16 * HIGH : fits / HIGH * HIGH;
    int32_t *const words = (int32_t *)byte_room(count * (STEPS + 2) * sizeof(int32_t), 0);
    const many m = {words, (float *)(words + count * STEPS), words + count * (STEPS + 1)};
#pragma omp parallel num_threads(t.columns * t.depth < WORTH ? 1 : num_threads)
    {
#pragma omp for schedule(static)
        for (ptrdiff_t row = 0; row < t.rows; row += HIGH) round_rows(t, m, row, row + HIGH < t.rows ? row + HIGH : t.rows);
        for (ptrdiff_t first = 0; first < t.rows; first += block)
#pragma omp for schedule(dynamic, 2) nowait
            for (ptrdiff_t tile = 0; tile < tiles; tile++)
                multiply_many<F>(t, m, tile, first, first + block < t.rows ? first + block : t.rows);
    }
}

template <class F>
INLINE void multiply(const task &t, int num_threads) {
    if (t.rows <= 2)
        share_few<F>(t, num_threads);
    else
        share_many<F>(t, num_threads);
}

// out [rows, columns] = rounded x [rows, depth] · Wᵀ (+ bias); all contiguous. codes, scales: tiles. factor: of all scales.
// bits: 8 or 4.
extern "C" __attribute__((visibility("default"))) void PUBLIC(product_rounded)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
                                                                               const float *x, const uint8_t *codes,
                                                                               const uint16_t *scales, float factor,
                                                                               const float *bias, float *out, int bits,
                                                                               int num_threads) {
    const task t = {rows, columns, depth, (depth + GROUP - 1) / GROUP, x, codes, scales, factor, bias, out};
    if (!rows || !columns) return;
    if (bits == 8)
        multiply<eight_bits>(t, num_threads);
    else
        multiply<four_bits>(t, num_threads);
}

// The same for a few rows, in parts, as a plan runs it: prepare rounds x into room of 40 bytes a group and row, rows makes outputs
// first … last, where both are multiples of 16, or the end.
typedef struct {
    const uint8_t *codes;
    const uint16_t *scales;
    const float *bias;
    ptrdiff_t depth, columns;
    float factor;
} matrix;

INLINE task task_of(const void *given, ptrdiff_t rows, const float *x, float *out) {
    const matrix &m = *(const matrix *)given;
    return {rows, m.columns, m.depth, (m.depth + GROUP - 1) / GROUP, x, m.codes, m.scales, m.factor, m.bias, out};
}

// A tile times R rows from `row` on, as long as there are so many; the first of what is left comes back.
template <class F, int R>
INLINE ptrdiff_t multiply_by(const task &t, const few &f, ptrdiff_t tile, ptrdiff_t row) {
    for (; row + R <= t.rows; row += R) {
        task part = t;
        part.out += row * t.columns;
        multiply_few<F, R>(part, tile, f.codes + row * t.groups * GROUP, f.scales + row * t.groups, f.sums + row * t.groups);
    }
    return row;
}

template <class F>
INLINE void multiply_part(const task &t, const void *prepared, ptrdiff_t first, ptrdiff_t last) {
    const few f = few_at((void *)prepared, t.rows * t.groups);
    for (ptrdiff_t tile = first / OUTPUTS; tile * OUTPUTS < last; tile++) {
        ptrdiff_t row = 0;
        if (LANES == 16) row = multiply_by<F, 4>(t, f, tile, row);
        row = multiply_by<F, 2>(t, f, tile, row);
        multiply_by<F, 1>(t, f, tile, row);
    }
}

#define EXPORTED extern "C" __attribute__((visibility("default"))) void
EXPORTED PUBLIC(prepare_rounded)(const void *matrix, ptrdiff_t rows, const float *x, void *prepared) {
    round_few(task_of(matrix, rows, x, NULL), prepared);
}
EXPORTED PUBLIC(rows_eight)(const void *matrix, ptrdiff_t rows, const float *x, const void *prepared, float *out, ptrdiff_t first,
                            ptrdiff_t last) {
    multiply_part<eight_bits>(task_of(matrix, rows, x, out), prepared, first, last);
}
EXPORTED PUBLIC(rows_four)(const void *matrix, ptrdiff_t rows, const float *x, const void *prepared, float *out, ptrdiff_t first,
                           ptrdiff_t last) {
    multiply_part<four_bits>(task_of(matrix, rows, x, out), prepared, first, last);
}
