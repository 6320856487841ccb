/* Decoding: rows go on from their prompts, one token at a time.
 *
 * SLOTS rows are read together, so that their activations stay in the first-level cache and every product is of
 * whole tiles. A row that has ended leaves its slot to the next of the queue: nothing is padded or compacted. A
 * row attends to its prompt's keys and values, which all rows of the prompt share, and to its own. */
#ifndef DECODE_H
#define DECODE_H
#include "read.h"

enum { SLOTS = 12, AH = HEADS * HP };

typedef struct {
    int64_t rows, width; /* columns of the tables */
    const int64_t *prompt; /* [rows]: whose prefix a row goes on from */
    const int64_t *prompt_tokens; /* [prompts] */
    const Prefix *prefixes; /* [prompts] */
    const double *uniforms; /* [rows][width] */
    const int64_t *limits; /* [rows]: tokens it may have, at most width */
    const uint8_t *is_end; /* [VOCAB] */
    const float *cosine, *sine; /* [position][HEAD / 2] */
    float eps, temperature; /* 0 is greedy */
    int32_t *tokens; /* [rows][width] */
    float *logprobs, *entropies; /* [rows][width] */
    int64_t *lengths; /* [rows] */
    uint8_t *ended; /* [rows] */
    Token *tape; /* or null: [rows][width], what a backward pass needs of every token that was read */
    atomic_llong next; /* the next row that a slot takes */
} Draws;

/* A row that is being decoded; row -1 is an empty slot. */
typedef struct {
    int64_t row;
    int token, own; /* the token to read, and how many of its own were read before */
    float *keys, *values; /* [LAYERS][block][AH][W], [LAYERS][width][A] */
} Slot;

typedef struct {
    float x[SLOTS][D], normed[SLOTS][D], convolved[SLOTS][D], qkv[SLOTS][3 * A], mixed[SLOTS][A];
    float logsum[SLOTS][HEADS], gate_up[SLOTS][2 * F], inner[SLOTS][F], logits[SLOTS][V], recent[SLOTS][LAYERS][KERNEL - 1][D];
    Slot slot[SLOTS];
    float *scores; /* [HEADS][of prompt and own] */
} Bench;

/* scores[HEADS][stride] of one query with n keys, W at a time. */
static void own_scores(const float *q, const float *keys, int n, float *scores, int stride) {
    for (int t = 0; t < n; t += W) {
        const float *block = keys + (size_t)t * AH;
        vec acc[HEADS];
        for (int h = 0; h < HEADS; h++) acc[h] = (vec){0};
        for (int d = 0; d < HEAD; d++)
            UNROLL for (int h = 0; h < HEADS; h++) acc[h] += q[h * HP + d] * load(block + (h * HP + d) * W);
        for (int h = 0; h < HEADS; h++) store(scores + (size_t)h * stride + t, acc[h]);
    }
}

static void own_mixes(const float *scores, int stride, const float *values, int n, oct acc[HEADS][HP / 8]) {
    for (int t = 0; t < n; t++)
        UNROLL for (int h = 0; h < HEADS; h++)
            UNROLL for (int j = 0; j < HP / 8; j++)
                acc[h][j] += scores[(size_t)h * stride + t] * load8(values + (size_t)t * A + h * HP + 8 * j);
}

static void attend(const float *q, const Prefix *prefix, int prompt, int layer, const float *keys,
                   const float *values, int n, float *scores, float *out, float *logsum) {
    const int left = UP(prompt, W), stride = left + UP(n, W);
    const float *past_keys = prefix->keys + (size_t)layer * left * AH;
    const float *past_values = prefix->values + (size_t)layer * left * A;
    own_scores(q, past_keys, prompt, scores, stride);
    own_scores(q, keys, n, scores + left, stride);
    for (int h = 0; h < HEADS; h++) {
        float *s = scores + (size_t)h * stride;
        for (int t = prompt; t < left; t++) s[t] = -INFINITY;
        for (int t = left + n; t < stride; t++) s[t] = -INFINITY;
        logsum[h] = softmax(s, stride);
    }
    oct acc[HEADS][HP / 8];
    memset(acc, 0, sizeof acc);
    own_mixes(scores, stride, past_values, prompt, acc);
    own_mixes(scores + left, stride, values, n, acc);
    for (int h = 0; h < HEADS; h++)
        for (int j = 0; j < HP / 8; j++) store8(out + h * HP + 8 * j, acc[h][j]);
}

/* A slot's input of attention's projections; the convolution remembers its last inputs. */
static void slot_inputs(const LayerWeights *w, float eps, const float *x, float recent[KERNEL - 1][D], float *normed,
                        float *convolved) {
    normalise(x, w->norm1, eps, normed);
    if (!CANON) return;
    for (int d = 0; d < D; d++) {
        float sum = normed[d] + normed[d] * w->canon[KERNEL - 1][d];
        for (int tap = KERNEL - 2; tap >= 0; tap--) sum += recent[tap][d] * w->canon[tap][d];
        convolved[d] = sum;
    }
    memmove(recent[0], recent[1], sizeof(float) * (KERNEL - 2) * D);
    memcpy(recent[KERNEL - 2], normed, sizeof(float) * D);
}

static void slot_attention(const Draws *j, Bench *b, int i, int layer) {
    Slot *s = &b->slot[i];
    const int64_t prompt = j->prompt[s->row], past = j->prompt_tokens[prompt], at = past + s->own;
    const size_t room = UP(j->width, W);
    float *q = b->qkv[i], *k = q + A;
    float *keys = s->keys + layer * room * AH, *values = s->values + layer * room * A;
    rotate(q, j->cosine + at * (HEAD / 2), j->sine + at * (HEAD / 2), 1.0f);
    rotate(k, j->cosine + at * (HEAD / 2), j->sine + at * (HEAD / 2), 1.0f);
    for (int d = 0; d < A; d++) q[d] *= 1.0f / sqrtf((float)HEAD);
    float *block = keys + (size_t)(s->own / W) * W * AH + s->own % W;
    for (int c = 0; c < AH; c++) block[c * W] = k[c];
    memcpy(values + (size_t)s->own * A, k + A, sizeof(float) * A);
    attend(q, &j->prefixes[prompt], (int)past, layer, keys, values, s->own + 1, b->scores, b->mixed[i],
           b->logsum[i]);
}

/* Where a slot's token is kept for a backward pass, or null. */
static Token *kept(const Draws *j, const Slot *s) {
    return j->tape && s->row >= 0 ? j->tape + s->row * j->width + s->own : 0;
}

/* Read one token in every slot that has a row, and leave the logits of the next. */
static void step(const Weights *w, const Draws *j, Bench *b) {
    for (int i = 0; i < SLOTS; i++)
        if (b->slot[i].row >= 0) memcpy(b->x[i], w->embed[b->slot[i].token], sizeof b->x[i]);
        else memset(b->x[i], 0, sizeof b->x[i]);
    for (int l = 0; l < LAYERS; l++) {
        const LayerWeights *layer = &w->layer[l];
        for (int i = 0; i < SLOTS; i++)
            slot_inputs(layer, j->eps, b->x[i], b->recent[i][l], b->normed[i], b->convolved[i]);
        multiply(CANON ? b->convolved[0] : b->normed[0], D, layer->qkv, b->qkv[0], 3 * A, SLOTS, 3 * A, DIM, 0);
        for (int i = 0; i < SLOTS; i++)
            if (b->slot[i].row >= 0) slot_attention(j, b, i, l);
        for (int i = 0; i < SLOTS; i++) {
            Token *token = kept(j, &b->slot[i]);
            if (!token) continue;
            Trace *trace = &token->layer[l];
            memcpy(trace->x, b->x[i], sizeof trace->x);
            memcpy(trace->qkv, b->qkv[i], sizeof trace->qkv);
            memcpy(trace->mixed, b->mixed[i], sizeof trace->mixed);
            memcpy(trace->logsum, b->logsum[i], sizeof b->logsum[i]);
        }
        multiply(b->mixed[0], A, layer->o, b->x[0], D, SLOTS, D, A, 1);
        for (int i = 0; i < SLOTS; i++) normalise(b->x[i], layer->norm2, j->eps, b->normed[i]);
        multiply(b->normed[0], D, layer->gate_up, b->gate_up[0], 2 * F, SLOTS, 2 * F, DIM, 0);
        for (int i = 0; i < SLOTS; i++) {
            Token *token = kept(j, &b->slot[i]);
            if (!token) continue;
            memcpy(token->layer[l].mid, b->x[i], sizeof b->x[i]);
            memcpy(token->layer[l].gate_up, b->gate_up[i], sizeof b->gate_up[i]);
        }
        gated(b->gate_up[0], 2 * F, b->inner[0], SLOTS);
        if (BIAS)
            for (int i = 0; i < SLOTS; i++)
                for (int d = 0; d < D; d++) b->x[i][d] += layer->bias[d];
        multiply(b->inner[0], F, layer->down, b->x[0], D, SLOTS, D, INTER, 1);
    }
    for (int i = 0; i < SLOTS; i++) normalise(b->x[i], w->norm, j->eps, b->normed[i]);
    multiply(b->normed[0], D, w->head, b->logits[0], V, SLOTS, V, DIM, 0);
    for (int i = 0; i < SLOTS; i++) {
        Token *token = kept(j, &b->slot[i]);
        if (!token) continue;
        memcpy(token->top.x, b->x[i], sizeof b->x[i]);
        memcpy(token->top.logits, b->logits[i], sizeof b->logits[i]);
    }
}

/* The smallest token whose cumulative probability exceeds u: sums of blocks first, then within the block. */
static int inverse(const float *mass, double u) {
    double block[V / W], whole = 0, below = 0;
    for (int b = 0; b < V / W; b++) {
        block[b] = 0;
        for (int i = 0; i < W; i++) block[b] += (double)mass[b * W + i];
        whole += block[b];
    }
    double point = u * whole, most = nextafter(whole, 0.0);
    if (point > most) point = most; /* or rounding could step past the last token that has any probability */
    int b = 0, last = 0;
    while (b < V / W - 1 && below + block[b] <= point) below += block[b++];
    for (int v = b * W; v < (b + 1) * W && v < VOCAB; v++) {
        if (mass[v] > 0) last = v;
        below += (double)mass[v];
        if (below > point) return v;
    }
    return last;
}

/* One token from logits, as keyturn.policies.sampling.choose takes it. */
static int choose(const float *logits, double u, float temperature, float *logprob, float *entropy) {
    float l[V], mass[V];
    shift(logits, l);
    vec sum = {0}, moment = {0};
    for (int v = 0; v < V; v += W) {
        const vec x = load(l + v), e = exponential(x);
        store(mass + v, e);
        sum += e;
        moment += e * x;
    }
    float whole = total(sum);
    *entropy = logf(whole) - total(moment) / whole;
    if (temperature == 0.0f) {
        int best = 0;
        while (best < VOCAB - 1 && l[best] != 0.0f) best++; /* the first of the largest */
        *logprob = 0;
        return best;
    }
    if (temperature != 1.0f) {
        sum = (vec){0};
        for (int v = 0; v < V; v += W) {
            const vec x = load(l + v) / temperature, e = exponential(x);
            store(l + v, x);
            store(mass + v, e);
            sum += e;
        }
        whole = total(sum);
    }
    const int token = inverse(mass, u);
    *logprob = l[token] - logf(whole);
    return token;
}

/* Give a row its next token; whether it goes on. */
static int advance(const Draws *j, int64_t row, int64_t n, const float *logits, int *token) {
    const size_t at = (size_t)row * j->width + n;
    *token = j->tokens[at] = choose(logits, j->uniforms[at], j->temperature, j->logprobs + at, j->entropies + at);
    j->lengths[row] = n + 1;
    j->ended[row] = j->is_end[*token];
    return !j->ended[row] && n + 1 < j->limits[row];
}

/* Fill an empty slot from the queue with a row that needs more than its first token. */
static void fill(Draws *j, Bench *b, int i) {
    Slot *s = &b->slot[i];
    for (int64_t row; s->row < 0 && (row = atomic_fetch_add(&j->next, 1)) < j->rows;) {
        const Prefix *prefix = &j->prefixes[j->prompt[row]];
        if (j->limits[row] <= 0 || !advance(j, row, 0, prefix->logits, &s->token)) continue;
        s->row = row;
        s->own = 0;
        memcpy(b->recent[i], prefix->recent, sizeof b->recent[i]);
    }
}

/* Decode rows until the queue is empty; several threads may call it at once on the same draws. Not 0: no memory. */
int decode_rows(const Weights *w, Draws *j) {
    Arena arena = {0};
    const size_t room = UP(j->width, W), f = sizeof(float);
    size_t longest = 0;
    for (int64_t r = 0; r < j->rows; r++)
        if ((size_t)j->prompt_tokens[j->prompt[r]] > longest) longest = j->prompt_tokens[j->prompt[r]];
    Bench *b = take_zeros(&arena, sizeof(Bench));
    float *keys = take(&arena, SLOTS * LAYERS * room * AH * f), *values = take(&arena, SLOTS * LAYERS * room * A * f);
    float *scores = take(&arena, HEADS * (UP(longest, W) + room) * f);
    if (!arena.failed) {
        b->scores = scores;
        for (int i = 0; i < SLOTS; i++)
            b->slot[i] = (Slot){.row = -1, .keys = keys + i * LAYERS * room * AH, .values = values + i * LAYERS * room * A};
        for (;;) {
            int live = 0;
            for (int i = 0; i < SLOTS; i++) {
                if (b->slot[i].row < 0) fill(j, b, i);
                live += b->slot[i].row >= 0;
            }
            if (!live) break;
            step(w, j, b);
            for (int i = 0; i < SLOTS; i++) {
                Slot *s = &b->slot[i];
                if (s->row < 0) continue;
                s->own++;
                if (!advance(j, s->row, s->own, b->logits[i], &s->token)) s->row = -1;
            }
        }
    }
    release(&arena);
    return arena.failed;
}
#endif
