// Products with weights in bf16: the upper half of an fp32, so that an fp32 is had by a shift. x is not rounded.
//
// Weights lie in tiles of 16 outputs (see quantised/tiles.py): a lane holds two inputs of one output. Where the processor multiplies
// pairs of bf16 (AVX-512 bf16's vdpbf16ps), x is the sum of two bf16: its upper half, cut off, and what is left, rounded. That
// leaves an error of 2^-16 of x, a hundredth of what rounding x to bf16 would.
#include <omp.h>

#if defined(LANES) || !defined(__AVX2__)
#define IS_MODEL
#endif
#include "lanes.h"
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#if defined(__AVX512BF16__) || (defined(IS_MODEL) && LANES == 16)
#define HAS_PAIRS
#endif

#define OUTPUTS 16  // of a tile
#define VECTORS (OUTPUTS / LANES)
#define WORTH (1 << 15)        // weights: below, waking a second thread takes longer than it saves
#define BLOCK_BYTES (1 << 18)  // of x: it stays in the second cache
#define AHEAD 2048             // bytes that are asked for before they are read
#define FEW 8                  // rows: up to here, tiles are shared out beforehand

typedef struct {
    ptrdiff_t rows, columns, depth, pairs;
    const float *x;
    const uint16_t *weights;
    const float *bias;
    float *out;
} task;

INLINE integers load_words(const void *place) { return *(const integers *)place; }
INLINE integers all_words(int32_t word) { return word - (integers){0}; }

#ifdef HAS_PAIRS
typedef int32_t given;  // of x, for each input pair: two words, the upper halves and what is left
#define GIVEN 2

// The upper half of an fp32, as bf16. What is not a number stays none.
INLINE uint16_t upper_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x == x ? bits >> 16 : 0x7fc0;
}

INLINE float from_upper(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// The nearest bf16, of two the even one, of a number that is no fp32 near its end.
INLINE uint16_t nearest_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

INLINE void prepare(const float *x, ptrdiff_t count, given *out) {
    uint16_t upper[2] = {0, 0}, rest[2] = {0, 0};
    for (ptrdiff_t i = 0; i < count; i++) {
        upper[i] = upper_half(x[i]);
        const float left = x[i] - from_upper(upper[i]);
        rest[i] = left - left == 0 ? nearest_half(left) : 0;  // ∞ − ∞ is no number
    }
    memcpy(out, upper, sizeof upper), memcpy(out + 1, rest, sizeof rest);
}

#ifdef IS_MODEL
// vdpbf16ps: sum + x₁ y₁ + x₀ y₀ of each lane; what is smaller than the smallest normal number counts as zero.
INLINE float flushed(float x) { return fabsf(x) < 1.17549435e-38f ? copysignf(0, x) : x; }
INLINE vector dot(vector sum, integers x, integers y) {
    uint16_t one[2 * LANES], other[2 * LANES];
    memcpy(one, &x, sizeof one), memcpy(other, &y, sizeof other);
    for (int lane = 0; lane < LANES; lane++) {
        float total = flushed(sum[lane]);
        for (int half = 1; half >= 0; half--)
            total = flushed(total + flushed(from_upper(one[2 * lane + half])) * flushed(from_upper(other[2 * lane + half])));
        sum[lane] = total;
    }
    return sum;
}
#else
INLINE vector dot(vector sum, integers x, integers y) {
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
}
#endif

INLINE void add(vector &one, vector &other, integers w, const given *x) {
    one = dot(one, w, all_words(x[0]));
    other = dot(other, w, all_words(x[1]));
}
#else
typedef float given;  // of x, for each input pair: the two inputs
#define GIVEN 2

INLINE void prepare(const float *x, ptrdiff_t count, given *out) { out[0] = x[0], out[1] = count == 2 ? x[1] : 0; }

INLINE void add(vector &one, vector &other, integers w, const given *x) {
    one += (vector)(w << 16) * all(x[0]);
    other += (vector)(w & all_words((int32_t)0xffff0000u)) * all(x[1]);
}
#endif

INLINE void prepare_row(const float *x, ptrdiff_t depth, given *out) {
    for (ptrdiff_t k = 0; k < depth; k += 2) prepare(x + k, depth - k < 2 ? 1 : 2, out + k / 2 * GIVEN);
}

// One tile times R rows. CHAINS: of sums for each output, 1, 2 or 4: so many that with few rows none waits for the one before it.
template <int R, int CHAINS>
static void multiply_tile(const task &t, ptrdiff_t row, ptrdiff_t tile, const given *x) {
    const int AT_ONCE = CHAINS == 4 ? 2 : 1, OTHER = CHAINS > 1;  // pairs; the chain of what is added second
    const uint16_t *weights = t.weights + tile * t.pairs * 2 * OUTPUTS;
    vector sums[R][VECTORS][CHAINS];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++)
            for (int chain = 0; chain < CHAINS; chain++) sums[r][v][chain] = all(0);
    ptrdiff_t p = 0;
    for (; p + AT_ONCE <= t.pairs; p += AT_ONCE, weights += AT_ONCE * 2 * OUTPUTS) {
        if constexpr (CHAINS > 1)
            for (int pair = 0; pair < AT_ONCE; pair++) __builtin_prefetch((const char *)weights + AHEAD + pair * 64);
        integers w[AT_ONCE][VECTORS];
#pragma GCC unroll 4
        for (int one = 0; one < AT_ONCE * VECTORS; one++) w[one / VECTORS][one % VECTORS] = load_words(weights + one * 2 * LANES);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int pair = 0; pair < AT_ONCE; pair++)
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; v++)
                    add(sums[r][v][2 * pair], sums[r][v][2 * pair + OTHER], w[pair][v], x + (r * t.pairs + p + pair) * GIVEN);
    }
    if (p < t.pairs)
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECTORS; v++)
                add(sums[r][v][0], sums[r][v][OTHER], load_words(weights + v * 2 * LANES), x + (r * t.pairs + p) * GIVEN);
    const ptrdiff_t j = tile * OUTPUTS, wide = t.columns - j < OUTPUTS ? t.columns - j : OUTPUTS;
    for (int r = 0; r < R; r++) {
        float whole[OUTPUTS];
        for (int v = 0; v < VECTORS; v++) {
            vector sum = sums[r][v][0];
            for (int chain = 1; chain < CHAINS; chain++) sum += sums[r][v][chain];
            store(whole + v * LANES, sum);
        }
        float *const out = t.out + (row + r) * t.columns + j;
        for (ptrdiff_t c = 0; c < wide; c++) out[c] = whole[c] + (t.bias ? t.bias[j + c] : 0);
    }
}

static void multiply_rows(const task &t, ptrdiff_t first, ptrdiff_t last, ptrdiff_t tile, const given *x) {
    ptrdiff_t r = first;
    for (; r + 4 <= last; r += 4) multiply_tile<4, 1>(t, r, tile, x + r * t.pairs * GIVEN);
    for (; r + 2 <= last; r += 2) multiply_tile<2, 2>(t, r, tile, x + r * t.pairs * GIVEN);
    for (; r < last; r++) multiply_tile<1, 4>(t, r, tile, x + r * t.pairs * GIVEN);
}

// Room that grows and stays, for each thread.
static given *room_for_inputs(size_t count) {
    static thread_local struct { given *place; size_t size; } room;
    if (room.size < count) {
        free(room.place);
        room.size = count;
        if (posix_memalign((void **)&room.place, 64, count * sizeof(given))) abort();
    }
    return room.place;
}

// out [rows, columns] = x [rows, depth] · Wᵀ (+ bias); all contiguous. weights: tiles of bf16.
extern "C" __attribute__((visibility("default"))) void PUBLIC(product_halves)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
                                                                              const float *x, const uint16_t *weights,
                                                                              const float *bias, float *out, int num_threads) {
    const ptrdiff_t pairs = (depth + 1) / 2, tiles = (columns + OUTPUTS - 1) / OUTPUTS;
    const task t = {rows, columns, depth, pairs, x, weights, bias, out};
    if (!rows || !columns) return;
    const ptrdiff_t fits = BLOCK_BYTES / ((pairs ? pairs : 1) * GIVEN * 4), block = fits < FEW ? FEW : fits / 4 * 4;
    given *const inputs = room_for_inputs(rows * pairs * GIVEN + 1);
#pragma omp parallel num_threads(columns * depth < WORTH ? 1 : num_threads)
    {
#pragma omp for schedule(static)
        for (ptrdiff_t r = 0; r < rows; r++)
            prepare_row(x + r * depth, depth, inputs + r * pairs * GIVEN);
        if (rows <= FEW) {
#pragma omp for schedule(static)
            for (ptrdiff_t tile = 0; tile < tiles; tile++) multiply_rows(t, 0, rows, tile, inputs);
        } else {
            for (ptrdiff_t first = 0; first < rows; first += block)
#pragma omp for schedule(dynamic, 2) nowait
                for (ptrdiff_t tile = 0; tile < tiles; tile++)
                    multiply_rows(t, first, first + block < rows ? first + block : rows, tile, inputs);
        }
    }
}

// The same for one row, in parts, as a plan runs it: prepare fills room of 8 bytes a pair, rows makes out[first … last], where both
// are multiples of 16, or the end.
typedef struct {
    const uint16_t *weights;
    const float *bias;
    ptrdiff_t depth, columns;
} matrix;

extern "C" __attribute__((visibility("default"))) void PUBLIC(prepare_halves)(const void *given_matrix, const float *x, void *prepared) {
    prepare_row(x, ((const matrix *)given_matrix)->depth, (given *)prepared);
}

extern "C" __attribute__((visibility("default"))) void PUBLIC(rows_halves)(const void *given_matrix, const float *x, const void *prepared,
                                                                           float *out, ptrdiff_t first, ptrdiff_t last) {
    const matrix &m = *(const matrix *)given_matrix;
    const task t = {1, m.columns, m.depth, (m.depth + 1) / 2, x, m.weights, m.bias, out};
    for (ptrdiff_t tile = first / OUTPUTS; tile * OUTPUTS < last; tile++) multiply_tile<1, 4>(t, 0, tile, (const given *)prepared);
}
