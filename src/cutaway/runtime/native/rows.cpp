// What many tokens go through between two products: RMS norms, gates, rotary positions. Each row is made as a plan makes its one.
#include <omp.h>

#include "one.h"

#define WORTH (1 << 14)  // numbers: below, waking a second thread takes longer than it saves
#define PIECE (1 << 12)  // numbers that a thread takes at once

#define EXPORTED extern "C" __attribute__((visibility("default"))) void

// x, out: [rows, width], contiguous.
EXPORTED PUBLIC(rms_norm_rows)(ptrdiff_t rows, ptrdiff_t width, const float *x, const float *weight, float offset, float eps, float *out,
                               int num_threads) {
#pragma omp parallel for num_threads(rows *width < WORTH ? 1 : num_threads) schedule(static)
    for (ptrdiff_t row = 0; row < rows; row++) rms_norm(width, x + row * width, weight, offset, eps, out + row * width);
}

// out = f(x) · y, number by number.
EXPORTED PUBLIC(gate_rows)(ptrdiff_t count, int kind, const float *x, const float *y, float *out, int num_threads) {
#pragma omp parallel for num_threads(count < WORTH ? 1 : num_threads) schedule(static)
    for (ptrdiff_t first = 0; first < count; first += PIECE) {
        const ptrdiff_t last = first + PIECE < count ? first + PIECE : count;
        activate(kind, first, last, x, out);
        combine(first, last, out, y, out, [](vector a, vector b) { return a * b; });
    }
}

// x: [batch, head, position, width] by its strides, of which the last is 1. cos, sin: [batch or 1, position, pairs], `apart` floats from
// one of the batch to the next (0: one for all). out: [batch, position, head, width], contiguous.
typedef struct {
    ptrdiff_t batch, heads, positions, width, pairs, is_interleaved;
    ptrdiff_t strides[3];  // of x: batch, head, position
    ptrdiff_t apart;
} turning;

EXPORTED PUBLIC(rotate_rows)(const turning *t, const float *x, const float *cos, const float *sin, float *out, int num_threads) {
    const ptrdiff_t rows = t->batch * t->positions, size = t->heads * t->width;
#pragma omp parallel for num_threads(rows *size < WORTH ? 1 : num_threads) schedule(static)
    for (ptrdiff_t row = 0; row < rows; row++) {
        const ptrdiff_t b = row / t->positions, p = row % t->positions, angle = b * t->apart + p * t->pairs;
        for (ptrdiff_t h = 0; h < t->heads; h++)
            rotate(t->width, t->pairs, t->is_interleaved, x + b * t->strides[0] + h * t->strides[1] + p * t->strides[2], cos + angle,
                   sin + angle, out + row * size + h * t->width);
    }
}
