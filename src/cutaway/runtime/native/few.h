// A few outputs of a matrix times a few rows: shared by products with few rows, and by plans.
#pragma once
#include "held.h"
#include "sums.h"

#define AT_ONCE 4         // outputs: enough sums to keep the multipliers busy while x is read once

// `count` outputs (at most AT_ONCE) of R rows of x: sums [R, AT_ONCE], of the bits that each row gives alone. weight: of numbers as
// they are held.
template <int R, typename NUMBER>
INLINE void multiply_rows(ptrdiff_t depth, const float *__restrict x, const NUMBER *__restrict weight, ptrdiff_t stride, ptrdiff_t count,
                          float *sums) {
    vector even[R][AT_ONCE], odd[R][AT_ONCE];
    const NUMBER *rows[AT_ONCE];
    for (int j = 0; j < AT_ONCE; j++) {
        for (int r = 0; r < R; r++) even[r][j] = odd[r][j] = all(0);
        rows[j] = weight + (j < count ? j : 0) * stride;
    }
    ptrdiff_t k = 0;
    for (; k + 2 * LANES <= depth; k += 2 * LANES) {
        vector one[R], other[R];
        for (int r = 0; r < R; r++) one[r] = load(x + r * depth + k), other[r] = load(x + r * depth + k + LANES);
#pragma GCC unroll 4
        for (int j = 0; j < AT_ONCE; j++) {
            const vector near = load_wide(rows[j] + k), far = load_wide(rows[j] + k + LANES);
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) even[r][j] += one[r] * near, odd[r][j] += other[r] * far;
        }
    }
    for (; k < depth; k += LANES)
        for (int j = 0; j < AT_ONCE; j++) {
            const vector near = load_some(rows[j] + k, depth - k);
            for (int r = 0; r < R; r++) even[r][j] += load_some(x + r * depth + k, depth - k) * near;
        }
    for (int r = 0; r < R; r++) {
        vector both[AT_ONCE];
        for (int j = 0; j < AT_ONCE; j++) both[j] = even[r][j] + odd[r][j];
        float found[LANES];
        store(found, sums_of_four(both));
        memcpy(sums + r * AT_ONCE, found, AT_ONCE * sizeof(float));
    }
}

// The same of any number of rows, and a bias: out [rows, columns], from these outputs on. TOGETHER rows at once: their sums fit the
// registers, and a weight is loaded once for them.
#define TOGETHER (LANES == 16 ? 3 : 1)

template <typename NUMBER>
INLINE void multiply_all_rows(ptrdiff_t rows, ptrdiff_t depth, const float *x, const NUMBER *weight, ptrdiff_t count, const float *bias,
                              float *out, ptrdiff_t columns) {
    for (ptrdiff_t r = 0, now; r < rows; r += now) {
        float sums[TOGETHER * AT_ONCE];
        now = rows - r >= TOGETHER ? TOGETHER : 1;
        if (now == TOGETHER)
            multiply_rows<TOGETHER>(depth, x + r * depth, weight, depth, count, sums);
        else
            multiply_rows<1>(depth, x + r * depth, weight, depth, count, sums);
        for (ptrdiff_t one = 0; one < now; one++)
            for (ptrdiff_t c = 0; c < count; c++) out[(r + one) * columns + c] = sums[one * AT_ONCE + c] + (bias ? bias[c] : 0);
    }
}
