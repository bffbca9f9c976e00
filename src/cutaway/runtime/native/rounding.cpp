// A weight -> codes of 8 or 4 bits with a scale for 32 inputs, in tiles (see quantised/rounding.py, whose `rounded` is the slow twin).
// A lane is an output: as many outputs as a vector holds find their scales at once, and no sum runs across lanes.
#include <omp.h>

#include <immintrin.h>

#include "bytes.h"
#include "held.h"
#include "sums.h"

#define REFINED 2        // times that least squares has a say
#define PIECE (1 << 14)  // numbers that a thread looks through at once

typedef struct {
    vector error, with_codes, squares;  // Σ (w − s c)², Σ w c and Σ c²
} sums;

typedef struct {
    float low, high;
} limits;

INLINE vector choose(integers where, vector x, vector y) { return (vector)(((integers)x & where) | ((integers)y & ~where)); }
INLINE vector size_of(vector x) { return (vector)((integers)x & all_bytes(0x7fffffff)); }
INLINE vector inverse_of(vector scale) { return choose(scale == all(0), all(0), 1.0f / scale); }

INLINE vector code_of(vector w, vector inverse, limits l) {
    return most(all(l.low), least(all(l.high), to_floats(nearest(w * inverse))));
}

INLINE vector as_halves(vector x) {
#if LANES == 16 && defined(__AVX512F__)
    return (vector)_mm512_cvtph_ps(_mm512_cvtps_ph((__m512)x, 0));
#elif LANES != 8
    for (int lane = 0; lane < LANES; lane++) x[lane] = _cvtsh_ss(_cvtss_sh(x[lane], 0));
    return x;
#else
    return (vector)_mm256_cvtph_ps(_mm256_cvtps_ph((__m256)x, 0));
#endif
}

INLINE sums sums_of(const vector w[GROUP], vector scale, limits l) {
    const vector inverse = inverse_of(scale);
    sums s = {all(0), all(0), all(0)};
    for (int i = 0; i < GROUP; i++) {
        const vector code = code_of(w[i], inverse, l), left = w[i] - code * scale;
        s.error += left * left, s.with_codes += w[i] * code, s.squares += code * code;
    }
    return s;
}

// For each output the best of what is tried, and then, twice, what least squares gives to its codes, where that is better.
static vector best_scales(const vector w[GROUP], const float *tried, int num_tried, limits l) {
    vector largest = all(0), best = all(0);
    sums found = {all(0), all(0), all(0)};
    for (int i = 0; i < GROUP; i++) {
        largest = choose(size_of(w[i]) > size_of(largest), w[i], largest);
        found.error += w[i] * w[i];
    }
    for (int t = 0; t < num_tried + REFINED && most_of(found.error) > 0; t++) {
        const vector scale = as_halves(t < num_tried ? largest / tried[t] : found.with_codes / most(all(1), found.squares));
        const sums s = sums_of(w, scale, l);
        const integers is_better = s.error < found.error;
        best = choose(is_better, scale, best);
        found = {choose(is_better, s.error, found.error), choose(is_better, s.with_codes, found.with_codes),
                 choose(is_better, s.squares, found.squares)};
    }
    return best;
}

// Four codes of each output, raised, as the bytes of its lane.
INLINE integers word_of(const vector w[4], vector inverse, limits l, int raised) {
    integers word = all_bytes(0);
    for (int i = 0; i < 4; i++) word |= (nearest(code_of(w[i], inverse, l)) + raised & 255) << 8 * i;
    return word;
}

// Outputs first … first + LANES of one group of a tile.
static void round_lanes(const vector w[GROUP], const float *tried, int num_tried, int bits, uint8_t *codes, uint16_t *scales) {
    const limits l = {bits == 8 ? -127.0f : -8.0f, bits == 8 ? 127.0f : 7.0f};
    const vector scale = best_scales(w, tried, num_tried, l), inverse = inverse_of(scale);
    for (int lane = 0; lane < LANES; lane++) scales[lane] = _cvtss_sh(scale[lane], 0);
    for (int q = 0; q < bits; q++) {
        integers word = word_of(w + 4 * q, inverse, l, bits == 8 ? 0 : 8);
        if (bits == 4) word |= word_of(w + 4 * q + GROUP / 2, inverse, l, 8) << 4;
        memcpy(codes + q * 4 * OUTPUTS, &word, sizeof word);
    }
}

// Rows first … first + LANES, inputs k … k + GROUP of a weight, in fp32, an input of all rows a vector; zeros where there are none.
template <class Number>
INLINE void columns_of(ptrdiff_t rows, ptrdiff_t depth, const Number *weight, ptrdiff_t first, ptrdiff_t k, vector w[GROUP]) {
    for (ptrdiff_t i = 0; i < GROUP; i += LANES) {
        for (ptrdiff_t r = 0; r < LANES; r++) {
            const ptrdiff_t left = depth - k - i;
            w[i + r] = first + r < rows && left > 0 ? load_some(weight + (first + r) * depth + k + i, left) : all(0);
        }
        transpose(w + i);
    }
}

template <class Number>
static void round_all(ptrdiff_t rows, ptrdiff_t depth, const Number *weight, float inverse, const float *tried, int num_tried,
                      uint8_t *codes, uint16_t *scales, int bits, int num_threads) {
    const ptrdiff_t tiles = (rows + OUTPUTS - 1) / OUTPUTS, groups = (depth + GROUP - 1) / GROUP;
#pragma omp parallel for num_threads(num_threads) schedule(static)
    for (ptrdiff_t tile = 0; tile < tiles; tile++)
        for (ptrdiff_t place = tile * groups; place < (tile + 1) * groups; place++)
            for (ptrdiff_t first = 0; first < OUTPUTS; first += LANES) {
                const ptrdiff_t row = tile * OUTPUTS + first, k = (place - tile * groups) * GROUP;
                vector w[GROUP];
                columns_of(rows, depth, weight, row, k, w);
                for (int i = 0; i < GROUP; i++) w[i] *= inverse;
                round_lanes(w, tried, num_tried, bits, codes + (place * GROUP * bits / 8 * OUTPUTS) + first * 4,
                            scales + place * OUTPUTS + first);
            }
}

// weight: [rows, depth] in fp32 or bf16, finite, times `inverse` (one over the factor). codes, scales: tiles, of which all is written.
extern "C" __attribute__((visibility("default"))) void PUBLIC(round_weights)(ptrdiff_t rows, ptrdiff_t depth, const void *weight,
                                                                             int is_half, float inverse, const float *tried,
                                                                             int num_tried, uint8_t *codes, uint16_t *scales,
                                                                             int bits, int num_threads) {
    if (is_half)
        round_all(rows, depth, (const uint16_t *)weight, inverse, tried, num_tried, codes, scales, bits, num_threads);
    else
        round_all(rows, depth, (const float *)weight, inverse, tried, num_tried, codes, scales, bits, num_threads);
}

// The size of a number in bits that are ordered as sizes are, what is no number last.
template <class Number>
INLINE integers size_bits(const Number *place, ptrdiff_t count) {
    return (integers)load_some(place, count) & all_bytes(0x7fffffff);
}

template <class Number>
static float largest_in(ptrdiff_t count, const Number *weight, int num_threads) {
    int32_t top = 0;
#pragma omp parallel for num_threads(num_threads) schedule(static) reduction(max : top)
    for (ptrdiff_t first = 0; first < count; first += PIECE) {
        const ptrdiff_t last = first + PIECE < count ? first + PIECE : count;
        integers most_bits = all_bytes(0);
        for (ptrdiff_t i = first; i < last; i += LANES) {
            const integers bits = size_bits(weight + i, last - i);
            most_bits = bits > most_bits ? bits : most_bits;
        }
        const int32_t found = largest_of(most_bits);
        top = found > top ? found : top;
    }
    float largest;
    memcpy(&largest, &top, sizeof largest);
    return largest;
}

// out: the largest |w| of `count` numbers in fp32 or bf16; infinite or no number where one of them is.
extern "C" __attribute__((visibility("default"))) void PUBLIC(largest_weight)(ptrdiff_t count, const void *weight, int is_half, float *out,
                                                                              int num_threads) {
    *out = is_half ? largest_in(count, (const uint16_t *)weight, num_threads) : largest_in(count, (const float *)weight, num_threads);
}
