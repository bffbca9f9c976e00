// Products with few rows, as when one token is generated: every weight is read once, so memory is the limit, and nothing is packed.
#include <omp.h>

#include "lanes.h"

#define AT_ONCE 4         // outputs: enough sums to keep the multipliers busy while x is read once
#define WORTH (1 << 15)  // weights: below, waking a second thread takes longer than it saves

// Outputs first … first + count (at most AT_ONCE) of one row.
INLINE void multiply_row(ptrdiff_t depth, const float *__restrict x, const float *__restrict weight, ptrdiff_t stride, ptrdiff_t count,
                         float *sums) {
    vector even[AT_ONCE], odd[AT_ONCE];
    const float *rows[AT_ONCE];
    for (int j = 0; j < AT_ONCE; j++) {
        even[j] = odd[j] = all(0);
        rows[j] = weight + (j < count ? j : 0) * stride;
    }
    ptrdiff_t k = 0;
    for (; k + 2 * LANES <= depth; k += 2 * LANES) {
        const vector one = load(x + k), other = load(x + k + LANES);
#pragma GCC unroll 4
        for (int j = 0; j < AT_ONCE; j++) {
            even[j] += one * load(rows[j] + k);
            odd[j] += other * load(rows[j] + k + LANES);
        }
    }
    for (int j = 0; j < AT_ONCE; j++) {
        sums[j] = sum_of(even[j] + odd[j]);
        for (ptrdiff_t rest = k; rest < depth; rest++) sums[j] += x[rest] * rows[j][rest];
    }
}

// out [rows, columns] = x [rows, depth] · weightᵀ (+ bias); weight: [columns, depth]; all contiguous.
extern "C" __attribute__((visibility("default"))) void PUBLIC(product_few)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
                                                                           const float *x, const float *weight, const float *bias,
                                                                           float *out, int num_threads) {
    const ptrdiff_t blocks = (columns + AT_ONCE - 1) / AT_ONCE;
#pragma omp parallel for num_threads(columns * depth < WORTH ? 1 : num_threads) schedule(static)
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t j = block * AT_ONCE, count = columns - j < AT_ONCE ? columns - j : AT_ONCE;
        for (ptrdiff_t r = 0; r < rows; r++) {
            float sums[AT_ONCE];
            multiply_row(depth, x + r * depth, weight + j * depth, depth, count, sums);
            for (ptrdiff_t c = 0; c < count; c++) out[r * columns + j + c] = sums[c] + (bias ? bias[j + c] : 0);
        }
    }
}
