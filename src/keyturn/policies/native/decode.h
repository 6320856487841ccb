/* Decoding: rows go on from their prompts, one token at a time.
 *
 * Rows of one prompt that have said the same so far are a *branch*, which is read once for all of them; they part
 * where they draw different tokens. SLOTS branches are read together, so that their activations stay in the
 * first-level cache and every product is of whole tiles; further ones wait. A branch that has ended leaves its slot
 * to the next: nothing is padded or compacted. It attends to its prompt's keys and values, which all rows of the
 * prompt share, and to its own. */
#ifndef DECODE_H
#define DECODE_H
#include "read.h"

enum {
    SLOTS = 12,
    MOST_ROWS = 192, /* rows that one thread holds at once, at most, */
    MOST_BYTES = 256 << 20, /* and the memory that their keys and values may need (SLOTS rows are always held) */
    AH = HEADS * HP
};

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

/* Rows that are one so far. */
typedef struct {
    int64_t prompt;
    int token, own; /* the token to read, and how many of their own were read before */
    int first; /* of its members */
    float *keys, *values; /* [LAYERS][block][AH][W], [LAYERS][width][A] */
    float (*recent)[KERNEL - 1][D]; /* [LAYERS]: the convolution's last inputs */
} Branch;

typedef struct {
    int64_t row;
    int next; /* member of the same branch, or -1 */
} Member;

typedef struct {
    float x[SLOTS][D], normed[SLOTS][D], convolved[SLOTS][D], qkv[SLOTS][3 * A], mixed[SLOTS][A];
    float logsum[SLOTS][HEADS], gate_up[SLOTS][2 * F], inner[SLOTS][F], logits[SLOTS][V];
    Branch branch[MOST_ROWS], *slot[SLOTS]; /* slots without a branch are null */
    Member member[MOST_ROWS];
    int order[MOST_ROWS], count; /* branches there are; those in front are in the slots */
    int idle_branch[MOST_ROWS], idle_branches, idle_member[MOST_ROWS], idle_members;
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
    Branch *s = b->slot[i];
    const int64_t past = j->prompt_tokens[s->prompt], at = past + s->own;
    const size_t room = UP(j->width, W);
    float *q = b->qkv[i], *k = q + A;
    float *keys = s->keys + layer * room * AH, *values = s->values + layer * room * A;
    rotate(q, j->cosine + at * (HEAD / 2), j->sine + at * (HEAD / 2), 1.0f);
    rotate(k, j->cosine + at * (HEAD / 2), j->sine + at * (HEAD / 2), 1.0f);
    for (int d = 0; d < A; d++) q[d] *= 1.0f / sqrtf((float)HEAD);
    float *block = keys + (size_t)(s->own / W) * W * AH + s->own % W;
    for (int c = 0; c < AH; c++) block[c * W] = k[c];
    memcpy(values + (size_t)s->own * A, k + A, sizeof(float) * A);
    attend(q, &j->prefixes[s->prompt], (int)past, layer, keys, values, s->own + 1, b->scores, b->mixed[i],
           b->logsum[i]);
}

/* Where a member's token is kept for a backward pass, or null. */
static Token *kept(const Draws *j, const Bench *b, const Branch *s, int member) {
    return j->tape ? j->tape + b->member[member].row * j->width + s->own : 0;
}

/* Read one token in every slot that has a branch, and leave the logits of the next. */
static void step(const Weights *w, const Draws *j, Bench *b) {
    const int live = b->count < SLOTS ? b->count : SLOTS, rows = UP(live, MR);
    Token *token[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        Branch *s = b->slot[i] = i < live ? &b->branch[b->order[i]] : 0;
        token[i] = s ? kept(j, b, s, s->first) : 0;
        if (s) memcpy(b->x[i], w->embed[s->token], sizeof b->x[i]);
        else memset(b->x[i], 0, sizeof b->x[i]);
    }
    for (int l = 0; l < LAYERS; l++) {
        const LayerWeights *layer = &w->layer[l];
        for (int i = 0; i < live; i++)
            slot_inputs(layer, j->eps, b->x[i], b->slot[i]->recent[l], b->normed[i], b->convolved[i]);
        multiply(CANON ? b->convolved[0] : b->normed[0], D, layer->qkv, b->qkv[0], 3 * A, rows, 3 * A, DIM, 0);
        for (int i = 0; i < live; i++) {
            slot_attention(j, b, i, l);
            if (!token[i]) continue;
            Trace *trace = &token[i]->layer[l];
            memcpy(trace->x, b->x[i], sizeof trace->x);
            memcpy(trace->qkv, b->qkv[i], sizeof trace->qkv);
            memcpy(trace->mixed, b->mixed[i], sizeof trace->mixed);
            memcpy(trace->logsum, b->logsum[i], sizeof b->logsum[i]);
        }
        multiply(b->mixed[0], A, layer->o, b->x[0], D, rows, D, A, 1);
        for (int i = 0; i < live; i++) normalise(b->x[i], layer->norm2, j->eps, b->normed[i]);
        multiply(b->normed[0], D, layer->gate_up, b->gate_up[0], 2 * F, rows, 2 * F, DIM, 0);
        for (int i = 0; i < live; i++) {
            if (!token[i]) continue;
            memcpy(token[i]->layer[l].mid, b->x[i], sizeof b->x[i]);
            memcpy(token[i]->layer[l].gate_up, b->gate_up[i], sizeof b->gate_up[i]);
        }
        gated(b->gate_up[0], 2 * F, b->inner[0], live);
        if (BIAS)
            for (int i = 0; i < live; i++)
                for (int d = 0; d < D; d++) b->x[i][d] += layer->bias[d];
        multiply(b->inner[0], F, layer->down, b->x[0], D, rows, D, INTER, 1);
    }
    for (int i = 0; i < live; i++) normalise(b->x[i], w->norm, j->eps, b->normed[i]);
    multiply(b->normed[0], D, w->head, b->logits[0], V, rows, V, DIM, 0);
    for (int i = 0; i < live; i++) {
        if (!token[i]) continue;
        memcpy(token[i]->top.x, b->x[i], sizeof b->x[i]);
        memcpy(token[i]->top.logits, b->logits[i], sizeof b->logits[i]);
        for (int m = b->member[b->slot[i]->first].next; m >= 0; m = b->member[m].next)
            memcpy(kept(j, b, b->slot[i], m), token[i], sizeof(Token));
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

/* A branch without members, behind the others. */
static Branch *sprout(Bench *b, int64_t prompt, int token, int own) {
    const int which = b->order[b->count++] = b->idle_branch[--b->idle_branches];
    Branch *s = &b->branch[which];
    s->prompt = prompt;
    s->token = token;
    s->own = own;
    s->first = -1;
    return s;
}

/* The branch among `from`, `from` + 1... that reads this token next, after as many of its own; or null. */
static Branch *found(Bench *b, int from, int64_t prompt, int token, int own) {
    for (int k = from; k < b->count; k++) {
        Branch *s = &b->branch[b->order[k]];
        if (s->token == token && s->prompt == prompt && s->own == own) return s;
    }
    return 0;
}

static void join(Bench *b, Branch *s, int member) {
    b->member[member].next = s->first;
    s->first = member;
}

/* Take a row of the queue, which is done where it needs no more than its first token. */
static void begin(Draws *j, Bench *b, int64_t row) {
    const int64_t prompt = j->prompt[row];
    const Prefix *prefix = &j->prefixes[prompt];
    int token;
    if (j->limits[row] <= 0 || !advance(j, row, 0, prefix->logits, &token)) return;
    Branch *s = found(b, 0, prompt, token, 0);
    if (!s) {
        s = sprout(b, prompt, token, 0);
        memcpy(s->recent, prefix->recent, sizeof prefix->recent);
    }
    const int member = b->idle_member[--b->idle_members];
    b->member[member].row = row;
    join(b, s, member);
}

/* Fill the slots from the queue. All rows of a prompt come together, so that they are read as one while they can be. */
static void fill(Draws *j, Bench *b) {
    int64_t row, next;
    while (b->count < SLOTS && b->idle_members && (row = atomic_fetch_add(&j->next, 1)) < j->rows) {
        begin(j, b, row);
        while (b->idle_members && (next = atomic_load(&j->next)) < j->rows && j->prompt[next] == j->prompt[row])
            if ((next = atomic_fetch_add(&j->next, 1)) < j->rows) begin(j, b, next);
    }
}

/* Give every member of a slot's branch its next token. The first that goes on keeps the branch; others stay in it or
 * part from it, with a copy of its keys and values. */
static void part(const Draws *j, Bench *b, int i) {
    Branch *s = b->slot[i];
    const size_t room = UP(j->width, W);
    const int made = b->count, own = ++s->own;
    int next = s->first;
    s->first = -1;
    for (int m = next; m >= 0; m = next) {
        int token;
        next = b->member[m].next;
        if (!advance(j, b->member[m].row, own, b->logits[i], &token)) {
            b->idle_member[b->idle_members++] = m;
            continue;
        }
        if (s->first < 0) s->token = token;
        Branch *to = s->token == token ? s : found(b, made, s->prompt, token, own);
        if (!to) {
            to = sprout(b, s->prompt, token, own);
            memcpy(to->recent, s->recent, sizeof(float) * LAYERS * (KERNEL - 1) * D);
            for (int l = 0; l < LAYERS; l++) {
                memcpy(to->keys + l * room * AH, s->keys + l * room * AH, sizeof(float) * UP(own, W) * AH);
                memcpy(to->values + l * room * A, s->values + l * room * A, sizeof(float) * own * A);
            }
        }
        join(b, to, m);
    }
}

/* Drop the branches that have ended. */
static void prune(Bench *b) {
    int kept = 0;
    for (int k = 0; k < b->count; k++)
        if (b->branch[b->order[k]].first >= 0) b->order[kept++] = b->order[k];
        else b->idle_branch[b->idle_branches++] = b->order[k];
    b->count = kept;
}

/* Memory for as many rows as are held at once. */
static Bench *bench_for(const Draws *j, Arena *arena) {
    const size_t room = UP(j->width, W), f = sizeof(float), own = LAYERS * room * (AH + A) * f;
    size_t longest = 0, held = MOST_BYTES / own;
    for (int64_t r = 0; r < j->rows; r++)
        if ((size_t)j->prompt_tokens[j->prompt[r]] > longest) longest = j->prompt_tokens[j->prompt[r]];
    if (held > MOST_ROWS) held = MOST_ROWS;
    if (held < SLOTS) held = SLOTS;
    Bench *b = take_zeros(arena, sizeof(Bench));
    float *keys = take(arena, held * LAYERS * room * AH * f), *values = take(arena, held * LAYERS * room * A * f);
    float *recent = take(arena, held * LAYERS * (KERNEL - 1) * D * f);
    float *scores = take(arena, HEADS * (UP(longest, W) + room) * f);
    if (arena->failed) return b;
    b->scores = scores;
    b->idle_branches = b->idle_members = (int)held;
    for (size_t i = 0; i < held; i++) { /* the first ones are taken first */
        b->branch[i].keys = keys + i * LAYERS * room * AH;
        b->branch[i].values = values + i * LAYERS * room * A;
        b->branch[i].recent = (float (*)[KERNEL - 1][D])(recent + i * LAYERS * (KERNEL - 1) * D);
        b->idle_branch[i] = b->idle_member[i] = (int)(held - 1 - i);
    }
    return b;
}

/* Decode rows until the queue is empty; several threads may call it at once on the same draws. Not 0: no memory. */
int decode_rows(const Weights *w, Draws *j) {
    Arena arena = {0};
    Bench *b = bench_for(j, &arena);
    if (!arena.failed)
        for (fill(j, b); b->count; fill(j, b)) {
            step(w, j, b);
            const int live = b->count < SLOTS ? b->count : SLOTS;
            for (int i = 0; i < live; i++) part(j, b, i);
            prune(b);
        }
    release(&arena);
    return arena.failed;
}
#endif
