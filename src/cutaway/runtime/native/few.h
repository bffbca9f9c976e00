// A few outputs of a matrix times one row: shared by products with few rows, and by plans.
#pragma once
#include "held.h"

#define AT_ONCE 4         // outputs: enough sums to keep the multipliers busy while x is read once

// Outputs first … first + count (at most AT_ONCE) of one row. weight: of numbers as they are held.
template <typename NUMBER>
INLINE void multiply_row(ptrdiff_t depth, const float *__restrict x, const NUMBER *__restrict weight, ptrdiff_t stride, ptrdiff_t count,
                         float *sums) {
    vector even[AT_ONCE], odd[AT_ONCE];
    const NUMBER *rows[AT_ONCE];
    for (int j = 0; j < AT_ONCE; j++) {
        even[j] = odd[j] = all(0);
        rows[j] = weight + (j < count ? j : 0) * stride;
    }
    ptrdiff_t k = 0;
    for (; k + 2 * LANES <= depth; k += 2 * LANES) {
        const vector one = load(x + k), other = load(x + k + LANES);
#pragma GCC unroll 4
        for (int j = 0; j < AT_ONCE; j++) {
            even[j] += one * load_wide(rows[j] + k);
            odd[j] += other * load_wide(rows[j] + k + LANES);
        }
    }
    for (; k + LANES <= depth; k += LANES)
        for (int j = 0; j < AT_ONCE; j++) even[j] += load(x + k) * load_wide(rows[j] + k);
    for (int j = 0; j < AT_ONCE; j++) {
        sums[j] = sum_of(even[j] + odd[j]);
        for (ptrdiff_t rest = k; rest < depth; rest++) sums[j] += x[rest] * wide(rows[j][rest]);
    }
}
