// Products of matrices in fp32, blocked for the caches (Goto & van de Geijn 2008; Van Zee & van de Geijn 2015).
//
// A matrix is a pointer and two strides, in floats: of a row and of a column. Panels are packed: A in tiles of ROWS rows, B in
// tiles of COLUMNS columns, each as one run through the shared axis, filled up with zeros.
#pragma once
#include "lanes.h"

#define DEPTH 256  // of the shared axis that is packed at once: a tile of B stays in the first cache
#define ROWS_AT_ONCE (ROWS * 16)  // packed rows of A: they stay in the second cache

typedef struct {
    const float *data;
    ptrdiff_t row, column;
} matrix;

INLINE ptrdiff_t up_to(ptrdiff_t size, ptrdiff_t multiple) { return (size + multiple - 1) / multiple * multiple; }

// Room for the packed panels; it grows and stays, one a thread.
static float *room_for(size_t floats, int which) {
    static thread_local struct { float *place; size_t size; } rooms[4];
    if (rooms[which].size < floats) {
        free(rooms[which].place);
        rooms[which].size = floats;
        if (posix_memalign((void **)&rooms[which].place, 64, floats * sizeof(float))) abort();
    }
    return rooms[which].place;
}

// A tile: width rows (or columns) side by side for each of `depth` places. step: from one to the next; along: the shared axis.
INLINE void pack_tile(const float *data, ptrdiff_t step, ptrdiff_t along, ptrdiff_t count, ptrdiff_t depth, float *out,
                      const int width) {
    if (count == width && along == 1) {
        ptrdiff_t k = 0;
        for (; k + LANES <= depth; k += LANES)
            for (int i = 0; i < width; i++) {
                vector part = load(data + i * step + k);
                for (int lane = 0; lane < LANES; lane++) out[(k + lane) * width + i] = part[lane];
            }
        for (; k < depth; k++)
            for (int i = 0; i < width; i++) out[k * width + i] = data[i * step + k];
        return;
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        ptrdiff_t i = 0;
        for (; i < count; i++) out[k * width + i] = data[i * step + k * along];
        for (; i < width; i++) out[k * width + i] = 0;
    }
}

// Tiles `width` wide, side by side: whole ones place by place, so that memory is read as it lies.
INLINE void pack_tiles(const float *data, ptrdiff_t step, ptrdiff_t along, ptrdiff_t first, ptrdiff_t last, ptrdiff_t count,
                       ptrdiff_t depth, float *out, const int width) {
    ptrdiff_t whole = first;
    if (step == 1) {
        while (whole + width <= last && whole + width <= count) whole += width;
        for (ptrdiff_t k = 0; k < depth; k++)
            for (ptrdiff_t i = first; i < whole; i += width)
                memcpy(out + i * depth + k * width, data + i + k * along, width * sizeof(float));
    }
    for (ptrdiff_t i = whole; i < last; i += width)
        pack_tile(data + i * step, step, along, count - i < width ? count - i : width, depth, out + i * depth, width);
}

INLINE void pack_rows(matrix a, ptrdiff_t rows, ptrdiff_t depth, float *out) {
    pack_tiles(a.data, a.row, a.column, 0, rows, rows, depth, out, ROWS);
}

INLINE void pack_columns(matrix b, ptrdiff_t first, ptrdiff_t last, ptrdiff_t columns, ptrdiff_t depth, float *out) {
    pack_tiles(b.data, b.column, b.row, first, last, columns, depth, out, COLUMNS);
}

typedef struct {
    vector left, right;
} pair;

// One tile of C: ROWS x COLUMNS sums over `depth`, in registers. A's places lie `row` and `column` apart.
INLINE void multiply_tile(ptrdiff_t depth, const float *__restrict a, ptrdiff_t row, ptrdiff_t column, const float *__restrict b,
                          pair sums[ROWS]) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) sums[i] = (pair){all(0), all(0)};
    for (ptrdiff_t k = 0; k < depth; k++) {
        const vector left = load(b), right = load(b + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            sums[i].left += a[i * row] * left;
            sums[i].right += a[i * row] * right;
        }
        a += column, b += COLUMNS;
    }
}

// The same for fewer rows, which lie a_row apart.
static void multiply_few(ptrdiff_t depth, const float *a, ptrdiff_t a_row, ptrdiff_t high, const float *b, pair sums[ROWS]) {
    for (ptrdiff_t i = 0; i < high; i++) {
        sums[i] = (pair){all(0), all(0)};
        for (ptrdiff_t k = 0; k < depth; k++) {
            sums[i].left += a[i * a_row + k] * load(b + k * COLUMNS);
            sums[i].right += a[i * a_row + k] * load(b + k * COLUMNS + LANES);
        }
    }
}

// C (rows x columns) = or += packed A · packed B; bias, where given, is added to every row. Of panels that were packed `a_deep`
// and `b_deep` places deep, the first `depth` count.
//
// Where a_row is not 0, A is no panel but lies in rows, a_row floats apart, each contiguous: no need to pack it.
static void multiply_packed(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const float *a, ptrdiff_t a_deep, ptrdiff_t a_row,
                            const float *b, ptrdiff_t b_deep, float *c, ptrdiff_t stride, const float *bias, int is_added) {
    pair sums[ROWS];
    for (ptrdiff_t j = 0; j < columns; j += COLUMNS) {
        const ptrdiff_t wide = columns - j < COLUMNS ? columns - j : COLUMNS;
        for (ptrdiff_t i = 0; i < rows; i += ROWS) {
            const ptrdiff_t high = rows - i < ROWS ? rows - i : ROWS;
            if (a_row && high == ROWS)
                multiply_tile(depth, a + i * a_row, a_row, 1, b + j * b_deep, sums);
            else if (a_row)
                multiply_few(depth, a + i * a_row, a_row, high, b + j * b_deep, sums);
            else
                multiply_tile(depth, a + i * a_deep, 1, ROWS, b + j * b_deep, sums);
            float *out = c + i * stride + j;
            if (high == ROWS && wide == COLUMNS) {
                const vector left = bias ? load(bias + j) : all(0), right = bias ? load(bias + j + LANES) : all(0);
#pragma GCC unroll 16
                for (int r = 0; r < ROWS; r++, out += stride) {
                    if (is_added) sums[r].left += load(out), sums[r].right += load(out + LANES);
                    store(out, sums[r].left + left);
                    store(out + LANES, sums[r].right + right);
                }
            } else {
                for (ptrdiff_t r = 0; r < high; r++, out += stride) {
                    float row[COLUMNS];
                    store(row, sums[r].left), store(row + LANES, sums[r].right);
                    for (ptrdiff_t s = 0; s < wide; s++)
                        out[s] = row[s] + (is_added ? out[s] : 0) + (bias ? bias[j + s] : 0);
                }
            }
        }
    }
}
