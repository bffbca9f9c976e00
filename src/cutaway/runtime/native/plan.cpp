// A recorded plan: one token through a whole model, as a list of operations over fixed buffers, replayed by one call.
//
// Short vectors are made by every thread for itself, in memory of its own, so that threads wait for each other only where the rows
// of a matrix, the heads of attention or a long vector were shared among them. What is computed does not depend on their number.
#include <omp.h>

#include "heads.h"
#include "one.h"

// Where a vector lies: with every thread (own: floats from one thread's to the next's), or once (own 0). data NULL: the result.
typedef struct {
    float *data;
    ptrdiff_t own;
} place;

// Rows first … last of a matrix times x. prepare, where given, is called by every thread before, with memory of its own.
typedef void (*prepare_function)(const void *matrix, const float *x, void *prepared);
typedef void (*rows_function)(const void *matrix, const float *x, const void *prepared, float *out, ptrdiff_t first, ptrdiff_t last);

enum kind { LOOK_UP, ADD, MULTIPLY, SCALE, TANH, CLAMP, ACTIVATE, LAYER_NORM, RMS_NORM, ANGLES, ROTATE, PRODUCT, ATTEND };
enum bias_kind { NO_BIAS, SLOPES, BUCKETS };

typedef struct {
    int32_t kind, variant;
    int32_t waits;      // for what other threads made
    int32_t is_shared;  // each thread makes a part of the result
    ptrdiff_t size, count;
    place a, b, c, out;
    const float *weight, *bias;
    float numbers[2];
    ptrdiff_t wholes[6];
    const void *more;
    prepare_function prepare;
    rows_function rows;
} op;

// How a store holds numbers: in fp32, in bf16, or as codes of 8 bits.
enum form { FULL, HALVES, CODES };

// What differs from token to token. values: [layer, 2, 1, kv_head, capacity, …], in a form; scales: of codes, one for each vector;
// fields: [6, 1, capacity], the visibility of the keys.
typedef struct {
    ptrdiff_t token, position, capacity, form;
    void *values;
    float *scales;
    int64_t *fields;
    float *result;
} step;

typedef struct {
    const step *now;
    ptrdiff_t me, threads;
} worker;

INLINE float *at(const worker &w, const place &p) { return p.data ? p.data + p.own * w.me : w.now->result; }

// The part of `size` that a thread makes, a multiple of `whole` but for the last.
INLINE void share(const worker &w, ptrdiff_t size, ptrdiff_t whole, ptrdiff_t *first, ptrdiff_t *last) {
    const ptrdiff_t parts = (size + whole - 1) / whole;
    *first = parts * w.me / w.threads * whole;
    *last = parts * (w.me + 1) / w.threads * whole;
    if (*last > size) *last = size;
}

static void by_number(const op &o, const worker &w) {
    const float *const a = at(w, o.a), *const b = at(w, o.b), one = o.numbers[0], other = o.numbers[1];
    float *const out = at(w, o.out);
    ptrdiff_t first = 0, last = o.size;
    if (o.is_shared) share(w, o.size, LANES, &first, &last);
    switch (o.kind) {
        case ADD: return combine(first, last, a, b, out, [](vector x, vector y) { return x + y; });
        case MULTIPLY: return combine(first, last, a, b, out, [](vector x, vector y) { return x * y; });
        case SCALE: return change(first, last, a, out, [=](vector x) { return x * one; });
        case TANH: return change(first, last, a, out, hyperbolic_tangent);
        case CLAMP: return change(first, last, a, out, [=](vector x) { return most(all(one), least(all(other), x)); });
        case ACTIVATE: return activate(o.variant, first, last, a, out);
    }
}

// weight: [row, size]. variant 0: the row of the token, 1: of its position, `wholes[0]` rows further.
static void look_up(const op &o, const worker &w) {
    const ptrdiff_t row = o.variant == 0 ? w.now->token : w.now->position + o.wholes[0];
    const float *const from = o.weight + row * o.size, scale = o.numbers[0];
    change(0, o.size, from, at(w, o.out), [=](vector x) { return x * scale; });
}

static void normalise(const op &o, const worker &w) {
    const float *const x = at(w, o.a);
    float *const out = at(w, o.out);
    for (ptrdiff_t i = 0; i < o.count; i++)
        if (o.kind == LAYER_NORM)
            layer_norm(o.size, x + i * o.size, o.weight, o.bias, o.numbers[0], out + i * o.size);
        else
            rms_norm(o.size, x + i * o.size, o.weight, o.numbers[1], o.numbers[0], out + i * o.size);
}

// cos and sin, side by side, of the position times each frequency (weight).
static void angles(const op &o, const worker &w) {
    float *const out = at(w, o.out);
    for (ptrdiff_t i = 0; i < o.size; i++) {
        const float angle = (float)w.now->position * o.weight[i];
        out[i] = cosf(angle) * o.numbers[0];
        out[o.size + i] = sinf(angle) * o.numbers[0];
    }
}

static void rotate_heads(const op &o, const worker &w) {
    const ptrdiff_t pairs = o.wholes[0];
    const float *const x = at(w, o.a), *const cos = at(w, o.b);
    float *const out = at(w, o.out);
    for (ptrdiff_t i = 0; i < o.count; i++)
        rotate(o.size, pairs, o.variant, x + i * o.size, cos, cos + pairs, out + i * o.size);
}

#define MANY_PARTS 64  // from here on a quarter of a matrix is left to whoever is free: a core that a neighbour slows holds up none

// Each thread makes its part of what is fixed; the rest goes, a 64th of the matrix at a time, to whoever is free.
static void multiply(const op &o, const worker &w, int32_t *taken) {
    const ptrdiff_t whole = o.wholes[0], parts = (o.size + whole - 1) / whole, piece = parts / MANY_PARTS * whole;
    const ptrdiff_t fixed = piece && w.threads > 1 ? parts * 3 / 4 * whole : o.size;
    const float *const x = at(w, o.a);
    float *const out = at(w, o.out);
    void *const prepared = o.prepare ? at(w, o.c) : NULL;
    if (o.prepare) o.prepare(o.more, x, prepared);
    ptrdiff_t first, last;
    share(w, fixed, whole, &first, &last);
    if (first < last) o.rows(o.more, x, prepared, out, first, last);
    while (fixed < o.size) {
        first = fixed + __atomic_fetch_add(taken, 1, __ATOMIC_RELAXED) * piece;
        if (first >= o.size) return;
        o.rows(o.more, x, prepared, out, first, first + piece < o.size ? first + piece : o.size);
    }
}

// wholes: heads, key-value heads, layer, window (0: none), sinks, greatest distance of a bucket. a, b, c: query, key, value.
#define HEADS 0
#define KV_HEADS 1
#define LAYER 2
#define WINDOW 3
#define SINKS 4
#define FARTHEST 5

INLINE ptrdiff_t bucket_of(const op &o, ptrdiff_t distance) {
    const ptrdiff_t farthest = o.wholes[FARTHEST];
    const ptrdiff_t held = distance > farthest ? farthest : distance < -farthest ? -farthest : distance;
    return ((const int32_t *)o.more)[held + farthest];
}

// The score bias of a head, and the window: by positions, as they stand beside the keys.
static void hide_and_bias(const op &o, const worker &w, ptrdiff_t head, ptrdiff_t keys, float *scores) {
    if (o.variant == NO_BIAS && o.wholes[WINDOW] == 0) return;
    const int64_t *const positions = w.now->fields + 5 * w.now->capacity;
    for (ptrdiff_t j = 0; j < keys; j++) {
        const ptrdiff_t position = j + 1 < keys ? positions[j] : w.now->position, distance = position - w.now->position;
        const ptrdiff_t apart = distance < 0 ? -distance : distance;
        if (o.variant == SLOPES) scores[j] -= o.bias[head] * apart;
        if (o.variant == BUCKETS) scores[j] += o.bias[bucket_of(o, distance) * o.wholes[HEADS] + head];
        if (o.wholes[WINDOW] && apart >= o.wholes[WINDOW] && position >= o.wholes[SINKS]) scores[j] = -INFINITY;
    }
}

// scores -> e^(score − most); their sum comes back. padded: `count` up to a multiple of LANES, the rest is written.
INLINE float soften(ptrdiff_t count, float *scores) {
    const ptrdiff_t padded = up_to(count, LANES);
    for (ptrdiff_t j = count; j < padded; j++) scores[j] = -INFINITY;
    vector high = load(scores), sum = all(0);
    for (ptrdiff_t j = LANES; j < padded; j += LANES) high = most(high, load(scores + j));
    const float top = most_of(high);
    for (ptrdiff_t j = 0; j < padded; j += LANES) {
        const vector part = exponential(load(scores + j) - top);
        store(scores + j, part);
        sum += part;
    }
    return sum_of(sum);
}

// Of a head: up to a whole vector for this token and those before it, and what the last keys at once may write beyond.
INLINE ptrdiff_t room_for_scores(ptrdiff_t before) { return up_to(before + 1, LANES) + LANES; }

// What a store holds of a key-value head: a key, or a value, for each token. scales: of codes, else NULL.
template <typename NUMBER>
struct column {
    NUMBER *numbers;
    float *scales;
};

template <typename NUMBER>
INLINE column<NUMBER> column_of(const op &o, const worker &w, ptrdiff_t is_value, ptrdiff_t kv) {
    const ptrdiff_t first = ((o.wholes[LAYER] * 2 + is_value) * o.wholes[KV_HEADS] + kv) * w.now->capacity;
    return {(NUMBER *)w.now->values + first * o.size, w.now->scales ? w.now->scales + first : NULL};
}

INLINE void by_scales(ptrdiff_t count, const float *scales, float *x) {
    if (scales) combine(0, count, x, scales, x, [](vector a, vector b) { return a * b; });
}

// This token's key or value as the store holds it, and `again`, in fp32, as it is read there; put into the store where asked for.
template <typename NUMBER>
INLINE void note(const worker &w, ptrdiff_t width, const float *x, column<NUMBER> into, bool is_put, NUMBER *held, float *again) {
    const float scale = hold(width, x, held);
    for (ptrdiff_t i = 0; i < width; i++) again[i] = wide(held[i]) * scale;
    if (!is_put) return;
    memcpy(into.numbers + w.now->position * width, held, width * sizeof(NUMBER));
    if (into.scales) into.scales[w.now->position] = scale;
}

// Heads head … head + H, which share keys and values: over those before this token, which lie in the store, and its own, k and v.
template <int H, typename NUMBER>
static void attend_heads(const op &o, const worker &w, ptrdiff_t head, column<NUMBER> keys, column<NUMBER> values, const float *k,
                         const float *v, float *scores) {
    const ptrdiff_t before = w.now->position, width = o.size, apart = room_for_scores(before);
    const float *const q = at(w, o.a) + head * width;
    float *const out = at(w, o.out) + head * width, scale = o.numbers[0], cap = o.numbers[1];
    float sums[H];
    score_keys<H>(width, q, keys.numbers, before, scores, apart);
    for (int h = 0; h < H; h++) {
        float *const row = scores + h * apart;
        by_scales(before, keys.scales, row);
        row[before] = inner_product(width, q + h * width, k);
        change(0, before + 1, row, row, [=](vector x) { return x * scale; });
        if (cap > 0) change(0, before + 1, row, row, [=](vector x) { return hyperbolic_tangent(x / cap) * cap; });
        hide_and_bias(o, w, head + h, before + 1, row);
        sums[h] = soften(before + 1, row);
        const float own = row[before];
        change(0, width, v, out + h * width, [=](vector x) { return x * own; });
        by_scales(before, values.scales, row);
    }
    add_values<H>(width, scores, apart, values.numbers, before, out);
    for (int h = 0; h < H; h++) {
        const float sum = sums[h];
        change(0, width, out + h * width, out + h * width, [=](vector x) { return x / sum; });
    }
}

// Each thread has a part of the heads, of which up to four that share keys and values are taken at once. The first head of a group
// puts the group's key and value into the store.
template <typename NUMBER>
static void attend_in(const op &o, const worker &w) {
    const ptrdiff_t heads = o.wholes[HEADS], group = heads / o.wholes[KV_HEADS], width = o.size;
    float *const scores = room_for(4 * room_for_scores(w.now->position), 0), *const k = room_for(3 * width, 1), *const v = k + width;
    NUMBER *const held = (NUMBER *)(v + width);
    ptrdiff_t head, last, count;
    share(w, heads, 1, &head, &last);
    for (; head < last; head += count) {
        const ptrdiff_t kv = head / group, end = (kv + 1) * group < last ? (kv + 1) * group : last;
        const column<NUMBER> keys = column_of<NUMBER>(o, w, 0, kv), values = column_of<NUMBER>(o, w, 1, kv);
        note(w, width, at(w, o.b) + kv * width, keys, head % group == 0, held, k);
        note(w, width, at(w, o.c) + kv * width, values, head % group == 0, held, v);
        count = end - head >= 4 ? 4 : end - head >= 2 ? 2 : 1;
        if (count == 4) attend_heads<4>(o, w, head, keys, values, k, v, scores);
        if (count == 2) attend_heads<2>(o, w, head, keys, values, k, v, scores);
        if (count == 1) attend_heads<1>(o, w, head, keys, values, k, v, scores);
    }
}

static void attend(const op &o, const worker &w) {
    switch (w.now->form) {
        case FULL: return attend_in<float>(o, w);
        case HALVES: return attend_in<uint16_t>(o, w);
        case CODES: return attend_in<int8_t>(o, w);
    }
}

static void run(const op &o, const worker &w, int32_t *taken) {
    switch (o.kind) {
        case LOOK_UP: return look_up(o, w);
        case LAYER_NORM:
        case RMS_NORM: return normalise(o, w);
        case ANGLES: return angles(o, w);
        case ROTATE: return rotate_heads(o, w);
        case PRODUCT: return multiply(o, w, taken);
        case ATTEND: return attend(o, w);
        default: return by_number(o, w);
    }
}

// The next token stands among the keys: causal, at its position, in the one segment.
static void note_token(const step &now) {
    const int64_t fields[] = {now.position, now.position, -1, 0, 0, now.position};
    for (int field = 0; now.fields && field < 6; field++) now.fields[field * now.capacity + now.position] = fields[field];
}

extern "C" __attribute__((visibility("default"))) void PUBLIC(replay)(const op *ops, ptrdiff_t count, const step *now, int num_threads) {
    note_token(*now);
    int32_t *const taken = (int32_t *)room_for(count, 2);  // of each operation, how many pieces were taken
    memset(taken, 0, count * sizeof *taken);
#pragma omp parallel num_threads(num_threads)
    {
        const worker w = {now, omp_get_thread_num(), omp_get_num_threads()};
        for (ptrdiff_t i = 0; i < count; i++) {
            if (ops[i].waits) {
#pragma omp barrier
            }
            run(ops[i], w, taken + i);
        }
    }
}

typedef struct {
    const float *weight, *bias;
    ptrdiff_t depth, columns;
} dense;

// Rows of a matrix in full precision, as `product_few` makes them.
extern "C" __attribute__((visibility("default"))) void PUBLIC(rows_dense)(const void *matrix, const float *x, const void *prepared,
                                                                          float *out, ptrdiff_t first, ptrdiff_t last) {
    const dense m = *(const dense *)matrix;
    for (ptrdiff_t j = first; j < last; j += AT_ONCE) {
        const ptrdiff_t count = last - j < AT_ONCE ? last - j : AT_ONCE;
        float sums[AT_ONCE];
        multiply_row(m.depth, x, m.weight + j * m.depth, m.depth, count, sums);
        for (ptrdiff_t c = 0; c < count; c++) out[j + c] = sums[c] + (m.bias ? m.bias[j + c] : 0);
    }
}
