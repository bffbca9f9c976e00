// C = A · B (+ bias), or C += A · B, shared between the threads of torch's own pool.
#include <omp.h>

#include "gemm.h"

// c: [rows, columns], rows `stride` apart. a: [rows, depth], b: [depth, columns], each with its strides. bias: [columns] or null.
// row_sums: where given, [rows] sums of a along its depth (the gradient of a bias).
extern "C" __attribute__((visibility("default"))) void PUBLIC(product)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const float *a, ptrdiff_t a_row, ptrdiff_t a_column,
                     const float *b, ptrdiff_t b_row, ptrdiff_t b_column, float *c, ptrdiff_t stride, const float *bias,
                     float *row_sums, int num_threads) {
    const ptrdiff_t wide = up_to(columns, COLUMNS);
    float *const packed_b = room_for((size_t)(wide * (depth < DEPTH ? depth : DEPTH)), 0);
    const ptrdiff_t blocks = (rows + ROWS - 1) / ROWS;
    if (row_sums) memset(row_sums, 0, rows * sizeof(float));
#pragma omp parallel num_threads(num_threads)
    {
        const ptrdiff_t threads = omp_get_num_threads(), me = omp_get_thread_num();
        const ptrdiff_t first = blocks * me / threads * ROWS, end = blocks * (me + 1) / threads * ROWS;
        const ptrdiff_t last = end < rows ? end : rows;
        const ptrdiff_t tiles = wide / COLUMNS;
        float *const packed_a = room_for((size_t)ROWS_AT_ONCE * DEPTH, 1);
        for (ptrdiff_t k = 0; k < depth; k += DEPTH) {
            const ptrdiff_t deep = depth - k < DEPTH ? depth - k : DEPTH;
            const matrix part = {b + k * b_row, b_row, b_column};
            pack_columns(part, tiles * me / threads * COLUMNS, tiles * (me + 1) / threads * COLUMNS, columns, deep, packed_b);
#pragma omp barrier
            for (ptrdiff_t i = first; i < last; i += ROWS_AT_ONCE) {
                const ptrdiff_t high = last - i < ROWS_AT_ONCE ? last - i : ROWS_AT_ONCE;
                const matrix left = {a + i * a_row + k * a_column, a_row, a_column};
                pack_rows(left, high, deep, packed_a);
                if (row_sums)
                    for (ptrdiff_t r = 0; r < high; r++)
                        for (ptrdiff_t d = 0; d < deep; d++)
                            row_sums[i + r] += packed_a[(r / ROWS * deep + d) * ROWS + r % ROWS];
                multiply_packed(high, columns, deep, packed_a, deep, packed_b, deep, c + i * stride, stride, k ? NULL : bias, k > 0);
            }
#pragma omp barrier
        }
    }
}
