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

// The left side of a product, in tiles of ROWS rows: how far it is from one tile, row and place of the depth to the next.
// Either places lie side by side (column 1: a matrix as it lies), or rows do (row 1: its transpose as it lies, or packed).
typedef struct {
    const float *data;
    ptrdiff_t tile, row, column;
} left_side;

INLINE left_side in_rows(const float *data, ptrdiff_t stride) { return {data, ROWS * stride, stride, 1}; }
INLINE left_side in_columns(const float *data, ptrdiff_t stride) { return {data, ROWS, 1, stride}; }
INLINE left_side packed_rows(const float *data, ptrdiff_t deep) { return {data, ROWS * deep, 1, ROWS}; }

// One tile of C: HIGH x COLUMNS sums over `depth`, in registers.
template <int HIGH>
INLINE void multiply_tile(ptrdiff_t depth, const float *__restrict a, ptrdiff_t row, ptrdiff_t column, const float *__restrict b,
                          pair sums[ROWS]) {
#pragma GCC unroll 16
    for (int i = 0; i < HIGH; i++) sums[i] = (pair){all(0), all(0)};
    for (ptrdiff_t k = 0; k < depth; k++) {
        const vector left = load(b), right = load(b + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < HIGH; i++) {
            sums[i].left += a[i * row] * left;
            sums[i].right += a[i * row] * right;
        }
        a += column, b += COLUMNS;
    }
}

// The same for `high` rows, 1 to HIGH.
template <int HIGH>
static void multiply_few(ptrdiff_t high, ptrdiff_t depth, const float *a, ptrdiff_t row, ptrdiff_t column, const float *b,
                         pair sums[ROWS]) {
    if (high == HIGH)
        multiply_tile<HIGH>(depth, a, row, column, b, sums);
    else if constexpr (HIGH > 1)
        multiply_few<HIGH - 1>(high, depth, a, row, column, b, sums);
}

// C (rows x columns) = or += A · packed B; bias, where given, is added to every row. B was packed `deep` places deep, of which the
// first `depth` count.
static void multiply_packed(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, left_side a, const float *b, ptrdiff_t deep, float *c,
                            ptrdiff_t stride, const float *bias, int is_added) {
    pair sums[ROWS];
    for (ptrdiff_t j = 0; j < columns; j += COLUMNS) {
        const ptrdiff_t wide = columns - j < COLUMNS ? columns - j : COLUMNS;
        const float *tile = a.data;
        for (ptrdiff_t i = 0; i < rows; i += ROWS, tile += a.tile) {
            const ptrdiff_t high = rows - i < ROWS ? rows - i : ROWS;
            if (high < ROWS)
                multiply_few<ROWS - 1>(high, depth, tile, a.row, a.column, b + j * deep, sums);
            else if (a.column == 1)
                multiply_tile<ROWS>(depth, tile, a.row, 1, b + j * deep, sums);
            else
                multiply_tile<ROWS>(depth, tile, 1, a.column, b + j * deep, sums);
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
