// A recorded plan: a few tokens through a whole model, as a list of operations over fixed buffers, replayed by one call. What is
// computed of a token does not depend on those beside it, but for what it sees of them.
//
// Short vectors are made by every thread for itself, in memory of its own, so that threads wait for each other only where the rows
// of a matrix, the heads of attention or a long vector were shared among them. What is computed does not depend on their number.
#include <omp.h>

#include "heads.h"
#include "one.h"

// Where the vectors of some tokens lie: with every thread (own: floats from one thread's to the next's), or once (own 0); row: floats
// from one token's to the next's, 0 where it is there for all. data NULL: the result.
typedef struct {
    float *data;
    ptrdiff_t own, row;
} place;

// Outputs first … last of a matrix times the x of some tokens, one behind the other. prepare, where given, is called by every thread
// before, with memory of its own.
typedef void (*prepare_function)(const void *matrix, ptrdiff_t tokens, const float *x, void *prepared);
typedef void (*rows_function)(const void *matrix, ptrdiff_t tokens, const float *x, const void *prepared, float *out, ptrdiff_t first,
                              ptrdiff_t last);

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

// What differs from pass to pass. count: of tokens; start: where in the store the first of them goes. Operations from `head` on run for
// the tokens from `read` on. is_causal: each sees what is before it, all that the store holds, and stands at its index; else their
// `fields` are there, and they see all that the store held. values: [layer, 2, 1, kv_head, capacity, …], in a form; scales: of codes,
// one for each vector; fields: [6, 1, capacity], the visibility of the keys.
typedef struct {
    ptrdiff_t count, start, read, head, is_causal, capacity, form;
    const int64_t *ids;
    void *values;
    float *scales;
    int64_t *fields;
    float *result;
} step;

// The keys that a token sees beside its own: those before `end`, but for `hidden` of this pass, a bit for each.
#define MOST_TOKENS 128
typedef unsigned __int128 bits;
typedef struct {
    ptrdiff_t end;
    bits hidden;
} sight;

// first: the token from which on operations run.
typedef struct {
    const step *now;
    const sight *sights;
    ptrdiff_t me, threads, first;
} worker;

INLINE float *at(const worker &w, const place &p, ptrdiff_t token) {
    return p.data ? p.data + p.own * w.me + p.row * token : w.now->result + p.row * (token - w.now->read);
}

enum field { KNOWN, READS, GROUP, RANK, SEGMENT, POSITION, FIELDS };
INLINE int64_t field_of(const step &now, int field, ptrdiff_t token) { return now.fields[field * now.capacity + now.start + token]; }
INLINE ptrdiff_t position_of(const step &now, ptrdiff_t token) {
    return now.is_causal ? now.start + token : field_of(now, POSITION, token);
}

// The part of `size` that a thread makes, a multiple of `whole` but for the last.
INLINE void share(const worker &w, ptrdiff_t size, ptrdiff_t whole, ptrdiff_t *first, ptrdiff_t *last) {
    const ptrdiff_t parts = (size + whole - 1) / whole;
    *first = parts * w.me / w.threads * whole;
    *last = parts * (w.me + 1) / w.threads * whole;
    if (*last > size) *last = size;
}

static void by_number(const op &o, const worker &w, ptrdiff_t token) {
    const float *const a = at(w, o.a, token), *const b = at(w, o.b, token), one = o.numbers[0], other = o.numbers[1];
    float *const out = at(w, o.out, token);
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
static void look_up(const op &o, const worker &w, ptrdiff_t token) {
    const ptrdiff_t row = o.variant == 0 ? w.now->ids[token] : position_of(*w.now, token) + o.wholes[0];
    const float *const from = o.weight + row * o.size, scale = o.numbers[0];
    change(0, o.size, from, at(w, o.out, token), [=](vector x) { return x * scale; });
}

static void normalise(const op &o, const worker &w, ptrdiff_t token) {
    const float *const x = at(w, o.a, token);
    float *const out = at(w, o.out, token);
    for (ptrdiff_t i = 0; i < o.count; i++)
        if (o.kind == LAYER_NORM)
            layer_norm(o.size, x + i * o.size, o.weight, o.bias, o.numbers[0], out + i * o.size);
        else
            rms_norm(o.size, x + i * o.size, o.weight, o.numbers[1], o.numbers[0], out + i * o.size);
}

// cos and sin, side by side, of the position times each frequency (weight).
static void angles(const op &o, const worker &w, ptrdiff_t token) {
    const float position = position_of(*w.now, token);
    float *const out = at(w, o.out, token);
    for (ptrdiff_t i = 0; i < o.size; i++) {
        const float angle = position * o.weight[i];
        out[i] = cosf(angle) * o.numbers[0];
        out[o.size + i] = sinf(angle) * o.numbers[0];
    }
}

static void rotate_heads(const op &o, const worker &w, ptrdiff_t token) {
    const ptrdiff_t pairs = o.wholes[0];
    const float *const x = at(w, o.a, token), *const cos = at(w, o.b, token);
    float *const out = at(w, o.out, token);
    for (ptrdiff_t i = 0; i < o.count; i++)
        rotate(o.size, pairs, o.variant, x + i * o.size, cos, cos + pairs, out + i * o.size);
}

#define MANY_PARTS 64  // from here on a quarter of a matrix is left to whoever is free: a core that a neighbour slows holds up none

// Each thread makes its part of what is fixed; the rest goes, a 64th of the matrix at a time, to whoever is free.
static void multiply(const op &o, const worker &w, int32_t *taken) {
    const ptrdiff_t whole = o.wholes[0], parts = (o.size + whole - 1) / whole, piece = parts / MANY_PARTS * whole;
    const ptrdiff_t fixed = piece && w.threads > 1 ? parts * 3 / 4 * whole : o.size;
    const ptrdiff_t tokens = w.now->count - w.first;
    const float *const x = at(w, o.a, w.first);
    float *const out = at(w, o.out, w.first);
    void *const prepared = o.prepare ? at(w, o.c, 0) : NULL;
    if (o.prepare) o.prepare(o.more, tokens, x, prepared);
    ptrdiff_t first, last;
    share(w, fixed, whole, &first, &last);
    if (first < last) o.rows(o.more, tokens, x, prepared, out, first, last);
    while (fixed < o.size) {
        first = fixed + __atomic_fetch_add(taken, 1, __ATOMIC_RELAXED) * piece;
        if (first >= o.size) return;
        o.rows(o.more, tokens, x, prepared, out, first, first + piece < o.size ? first + piece : o.size);
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
static void hide_and_bias(const op &o, const worker &w, ptrdiff_t token, ptrdiff_t head, ptrdiff_t keys, float *scores) {
    const sight &seen = w.sights[token];
    for (ptrdiff_t j = 0; seen.hidden && j < w.now->count; j++)
        if (seen.hidden >> j & 1) scores[w.now->start + j] = -INFINITY;
    if (o.variant == NO_BIAS && o.wholes[WINDOW] == 0) return;
    const int64_t *const positions = w.now->fields + POSITION * w.now->capacity;
    const ptrdiff_t own = position_of(*w.now, token);
    for (ptrdiff_t j = 0; j < keys; j++) {
        const ptrdiff_t position = j + 1 < keys ? positions[j] : own, distance = position - own;
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

// Of a head: up to a whole vector for this token and those that it sees, and what the last keys at once may write beyond.
INLINE ptrdiff_t room_for_scores(ptrdiff_t others) { return up_to(others + 1, LANES) + LANES; }

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

// A token's key or value as the store holds it, and `again`, in fp32, as it is read there; put into the store where asked for.
template <typename NUMBER>
INLINE void note(ptrdiff_t index, ptrdiff_t width, const float *x, column<NUMBER> into, bool is_put, NUMBER *held, float *again) {
    const float scale = hold(width, x, held);
    for (ptrdiff_t i = 0; i < width; i++) again[i] = wide(held[i]) * scale;
    if (!is_put) return;
    memcpy(into.numbers + index * width, held, width * sizeof(NUMBER));
    if (into.scales) into.scales[index] = scale;
}

// Heads head … head + H of a token, which share keys and values: over those that it sees in the store, and its own, k and v.
template <int H, typename NUMBER>
static void attend_heads(const op &o, const worker &w, ptrdiff_t token, ptrdiff_t head, column<NUMBER> keys, column<NUMBER> values,
                         const float *k, const float *v, float *scores) {
    const ptrdiff_t others = w.sights[token].end, width = o.size, apart = room_for_scores(others);
    const float *const q = at(w, o.a, token) + head * width;
    float *const out = at(w, o.out, token) + head * width, scale = o.numbers[0], cap = o.numbers[1];
    float sums[H];
    score_keys<H>(width, q, keys.numbers, others, scores, apart);
    for (int h = 0; h < H; h++) {
        float *const row = scores + h * apart;
        by_scales(others, keys.scales, row);
        row[others] = inner_product(width, q + h * width, k);
        change(0, others + 1, row, row, [=](vector x) { return x * scale; });
        if (cap > 0) change(0, others + 1, row, row, [=](vector x) { return hyperbolic_tangent(x / cap) * cap; });
        hide_and_bias(o, w, token, head + h, others + 1, row);
        sums[h] = soften(others + 1, row);
        const float own = row[others];
        change(0, width, v, out + h * width, [=](vector x) { return x * own; });
        by_scales(others, values.scales, row);
    }
    add_values<H>(width, scores, apart, values.numbers, others, out);
    for (int h = 0; h < H; h++) {
        const float sum = sums[h];
        change(0, width, out + h * width, out + h * width, [=](vector x) { return x / sum; });
    }
}

// The memory of a thread that attends: scores of four heads, a key, a value, and one of both as it is held.
template <typename NUMBER>
struct attending {
    float *scores, *k, *v;
    NUMBER *held;
};

// The key and value of a group's heads, noted.
template <typename NUMBER>
INLINE void note_both(const op &o, const worker &w, ptrdiff_t token, ptrdiff_t kv, bool is_put, const attending<NUMBER> &m) {
    const ptrdiff_t width = o.size, index = w.now->start + token;
    note(index, width, at(w, o.b, token) + kv * width, column_of<NUMBER>(o, w, 0, kv), is_put, m.held, m.k);
    note(index, width, at(w, o.c, token) + kv * width, column_of<NUMBER>(o, w, 1, kv), is_put, m.held, m.v);
}

// How many heads of a group are taken at once from a head on: decided by the model alone, for a compiler may round otherwise where it
// takes other numbers of them, and at most a fourth of all, so that threads find something to share.
INLINE ptrdiff_t at_once(ptrdiff_t heads, ptrdiff_t group, ptrdiff_t head) {
    const ptrdiff_t left = group - head % group, most = heads >= 16 ? 4 : heads >= 8 ? 2 : 1;
    return most == 4 && left >= 4 ? 4 : most >= 2 && left >= 2 ? 2 : 1;
}

// Each thread has a part of the heads: those that begin a batch in its share, and the rest of their batches. Several tokens first put
// all their keys and values into the store; of one alone, the first head of a group does.
template <typename NUMBER>
static void attend_in(const op &o, const worker &w) {
    const ptrdiff_t heads = o.wholes[HEADS], group = heads / o.wholes[KV_HEADS], width = o.size, tokens = w.now->count;
    float *const scores = room_for(4 * room_for_scores(w.now->start + tokens), 0), *const k = room_for(3 * width, 1);
    const attending<NUMBER> m = {scores, k, k + width, (NUMBER *)(k + 2 * width)};
    ptrdiff_t first, last;
    if (tokens > 1) {
        share(w, o.wholes[KV_HEADS], 1, &first, &last);
        for (; first < last; first++)
            for (ptrdiff_t token = 0; token < tokens; token++) note_both(o, w, token, first, true, m);
#pragma omp barrier
    }
    share(w, heads, 1, &first, &last);
    for (ptrdiff_t head = 0, count; head < last; head += count) {
        count = at_once(heads, group, head);
        if (head < first) continue;
        const ptrdiff_t kv = head / group;
        const column<NUMBER> keys = column_of<NUMBER>(o, w, 0, kv), values = column_of<NUMBER>(o, w, 1, kv);
        for (ptrdiff_t token = w.first; token < tokens; token++) {
            note_both(o, w, token, kv, tokens == 1 && head % group == 0, m);
            if (count == 4) attend_heads<4>(o, w, token, head, keys, values, m.k, m.v, scores);
            if (count == 2) attend_heads<2>(o, w, token, head, keys, values, m.k, m.v, scores);
            if (count == 1) attend_heads<1>(o, w, token, head, keys, values, m.k, m.v, scores);
        }
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
    if (o.kind == PRODUCT) return multiply(o, w, taken);
    if (o.kind == ATTEND) return attend(o, w);
    for (ptrdiff_t token = w.first; token < w.now->count; token++) switch (o.kind) {
            case LOOK_UP: look_up(o, w, token); break;
            case LAYER_NORM:
            case RMS_NORM: normalise(o, w, token); break;
            case ANGLES: angles(o, w, token); break;
            case ROTATE: rotate_heads(o, w, token); break;
            default: by_number(o, w, token);
        }
}

// Causal tokens stand among the keys, at their index, in the one segment.
static void note_tokens(const step &now) {
    for (ptrdiff_t at = now.start; now.is_causal && now.fields && at < now.start + now.count; at++) {
        const int64_t fields[FIELDS] = {at, at, -1, 0, 0, at};
        for (int field = 0; field < FIELDS; field++) now.fields[field * now.capacity + at] = fields[field];
    }
}

// Whether a token sees another one of the pass: see model/visibility.py.
INLINE bool sees(const step &now, ptrdiff_t token, ptrdiff_t other) {
    const int64_t group = field_of(now, GROUP, token);
    const bool is_peer = group >= 0 && field_of(now, GROUP, other) == group && field_of(now, RANK, other) <= field_of(now, RANK, token);
    const bool is_known = field_of(now, KNOWN, other) <= field_of(now, READS, token);
    return (is_known || is_peer) && field_of(now, SEGMENT, other) == field_of(now, SEGMENT, token);
}

// Whoever sees those before it and no others needs no more than they: what it computes is then what it would compute alone.
static sight sight_of(const step &now, ptrdiff_t token) {
    if (now.is_causal) return {now.start + token, 0};
    bits seen = 0;
    for (ptrdiff_t other = 0; other < now.count; other++)
        if (other != token && sees(now, token, other)) seen |= (bits)1 << other;
    const bits before = ((bits)1 << token) - 1, all = now.count < MOST_TOKENS ? ((bits)1 << now.count) - 1 : ~(bits)0;
    if (seen == before) return {now.start + token, 0};
    return {now.start + now.count, all & ~seen};
}

// now: of at most MOST_TOKENS tokens, each of which sees itself.
extern "C" __attribute__((visibility("default"))) void PUBLIC(replay)(const op *ops, ptrdiff_t count, const step *now, int num_threads) {
    note_tokens(*now);
    sight sights[MOST_TOKENS];
    for (ptrdiff_t token = 0; token < now->count; token++) sights[token] = sight_of(*now, token);
    int32_t *const taken = (int32_t *)room_for(count, 2);  // of each operation, how many pieces were taken
    memset(taken, 0, count * sizeof *taken);
#pragma omp parallel num_threads(num_threads)
    {
        worker w = {now, sights, omp_get_thread_num(), omp_get_num_threads(), 0};
        for (ptrdiff_t i = 0; i < count; i++) {
            if (i == now->head) w.first = now->read;
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

// Outputs of a matrix in full precision, as `product_few` makes them.
extern "C" __attribute__((visibility("default"))) void PUBLIC(rows_dense)(const void *matrix, ptrdiff_t tokens, const float *x, const void *,
                                                                          float *out, ptrdiff_t first, ptrdiff_t last) {
    const dense m = *(const dense *)matrix;
    for (ptrdiff_t j = first; j < last; j += AT_ONCE) {
        const ptrdiff_t count = last - j < AT_ONCE ? last - j : AT_ONCE;
        multiply_all_rows(tokens, m.depth, x, m.weight + j * m.depth, count, m.bias ? m.bias + j : NULL, out + j, m.columns);
    }
}
