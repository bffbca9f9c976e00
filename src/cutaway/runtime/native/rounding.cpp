// A weight -> codes of 8 or 4 bits with a scale for 32 inputs, in tiles (see quantised/rounding.py, whose `rounded` is the slow twin).
#include <omp.h>

#include <immintrin.h>

#include "bytes.h"

typedef struct {
    float scale, error;
    float codes[GROUP];
} choice;

// Codes nearest to w / scale, within low … high, and their squared error; with_codes and squares: Σ w c and Σ c².
INLINE choice coded(const float *w, float scale, float low, float high, float *with_codes, float *squares) {
    choice made;
    const float inverse = scale == 0 ? 0 : 1.0f / scale;
    vector error = all(0), products = all(0), sizes = all(0);
    for (int i = 0; i < GROUP; i += LANES) {
        const vector x = load(w + i), code = most(all(low), least(all(high), to_floats(nearest(x * inverse))));
        const vector left = x - code * scale;
        error += left * left, products += x * code, sizes += code * code;
        store(made.codes + i, code);
    }
    made.scale = scale, made.error = sum_of(error);
    *with_codes = sum_of(products), *squares = sum_of(sizes);
    return made;
}

INLINE float as_half(float x) { return _cvtsh_ss(_cvtss_sh(x, 0)); }

// The best of what is tried, and of what least squares gives to each of those.
static choice best_of(const float *w, const float *tried, int num_tried, float low, float high) {
    float largest = 0, with_codes, squares;
    for (int i = 0; i < GROUP; i++) largest = fabsf(w[i]) > fabsf(largest) ? w[i] : largest;
    choice best = coded(w, 0, low, high, &with_codes, &squares);
    for (int t = 0; t < num_tried && best.error > 0; t++) {
        const choice plain = coded(w, as_half(largest / tried[t]), low, high, &with_codes, &squares);
        if (plain.error < best.error) best = plain;
        const choice fitted = coded(w, as_half(with_codes / (squares < 1 ? 1 : squares)), low, high, &with_codes, &squares);
        if (fitted.error < best.error) best = fitted;
    }
    return best;
}

// weight: [rows, depth], finite, times `inverse` (one over the factor). codes, scales: tiles, of which all is written.
extern "C" __attribute__((visibility("default"))) void PUBLIC(round_weights)(ptrdiff_t rows, ptrdiff_t depth, const float *weight,
                                                                             float inverse, const float *tried, int num_tried,
                                                                             uint8_t *codes, uint16_t *scales, int bits,
                                                                             int num_threads) {
    const ptrdiff_t tiles = (rows + OUTPUTS - 1) / OUTPUTS, groups = (depth + GROUP - 1) / GROUP;
    const int bytes = GROUP * OUTPUTS * bits / 8;
    const float low = bits == 8 ? -127 : -8, high = bits == 8 ? 127 : 7;
#pragma omp parallel for num_threads(num_threads) schedule(static)
    for (ptrdiff_t place = 0; place < tiles * groups * OUTPUTS; place++) {
        const ptrdiff_t tile = place / (groups * OUTPUTS), row = tile * OUTPUTS + place % OUTPUTS, g = place / OUTPUTS % groups;
        float w[GROUP] = {0};
        if (row < rows)
            for (ptrdiff_t i = 0; i < GROUP && g * GROUP + i < depth; i++) w[i] = weight[row * depth + g * GROUP + i] * inverse;
        const choice best = best_of(w, tried, num_tried, low, high);
        scales[place] = _cvtss_sh(best.scale, 0);
        uint8_t *const out = codes + place / OUTPUTS * bytes + place % OUTPUTS * 4;
        for (int i = 0; i < GROUP * bits / 8; i++) {
            uint8_t *const byte = out + i / 4 * 4 * OUTPUTS + i % 4;
            *byte = bits == 8 ? (uint8_t)(int8_t)best.codes[i]
                              : (uint8_t)((int)best.codes[i] + 8 | (int)best.codes[i + GROUP / 2] + 8 << 4);
        }
    }
}
