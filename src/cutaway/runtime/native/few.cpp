// Products with few rows, as when one token is generated: every weight is read once, so memory is the limit, and nothing is packed.
#include <omp.h>

#include "few.h"

#define WORTH (1 << 15)  // weights: below, waking a second thread takes longer than it saves

// out [rows, columns] = x [rows, depth] · weightᵀ (+ bias); weight: [columns, depth]; all contiguous.
extern "C" __attribute__((visibility("default"))) void PUBLIC(product_few)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth,
                                                                           const float *x, const float *weight, const float *bias,
                                                                           float *out, int num_threads) {
    const ptrdiff_t blocks = (columns + AT_ONCE - 1) / AT_ONCE;
#pragma omp parallel for num_threads(columns * depth < WORTH ? 1 : num_threads) schedule(static)
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t j = block * AT_ONCE, count = columns - j < AT_ONCE ? columns - j : AT_ONCE;
        multiply_all_rows(rows, depth, x, weight + j * depth, count, bias ? bias + j : NULL, out + j, columns);
    }
}
