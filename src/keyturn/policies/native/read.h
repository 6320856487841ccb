/* Reading given texts: what the model says of every token, and all that a backward pass needs of it.
 *
 * A *piece* is one prompt and some of its rows: a block of tokens, the prompt's first, then each row's own (but
 * its last token, which predicts nothing). Linear maps see the block as one matrix; attention sees a tree, in which
 * every row goes on from the prompt. So a prompt is read once for all of its rows. */
#ifndef READ_H
#define READ_H
#include <stdatomic.h>
#include "weights.h"

/* What one token leaves in one layer. */
typedef struct {
    float x[D], qkv[3 * A], mixed[A], mid[D], gate_up[2 * F], logsum[UP(HEADS, 16)];
} Trace;
enum { LT = sizeof(Trace) / sizeof(float) };

/* What it leaves after the last layer. */
typedef struct {
    float x[D], logits[V];
} Top;
enum { LO = sizeof(Top) / sizeof(float) };

/* All that a token leaves, as drawing keeps it. */
typedef struct {
    Trace layer[LAYERS];
    Top top;
} Token;

/* A prompt as decoding goes on from it: keys [LAYERS][block of W tokens][HEADS][HP][W], values [LAYERS][token][A],
 * the convolution's last inputs and the logits of the first token. */
typedef struct {
    float *keys, *values;
    float recent[LAYERS][KERNEL - 1][D], logits[V];
} Prefix;

typedef struct {
    int64_t pieces;
    const int64_t *prompt_of; /* [pieces] */
    const int64_t *first; /* [pieces + 1]: a piece's rows in `order` */
    const int64_t *order; /* rows, those of one prompt together */
    const int32_t *prompts; /* prompts' tokens end to end, */
    const int64_t *prompt_at; /* each one's first */
    const int32_t *tokens; /* rows' tokens end to end, */
    const int64_t *row_at; /* each one's first, [rows + 1] */
    const float *cosine, *sine; /* [position][HEAD / 2] */
    float eps, temperature;
    float *logprobs, *entropies; /* of every token of the rows */
    int32_t *ranks; /* or null */
    float *tape; /* or null: Trace [LAYERS][token] and Top [token] of each piece */
    const int64_t *tape_at; /* [pieces + 1]: a piece's first token in the tape */
    Prefix *prefixes; /* or null: of each piece's prompt */
    /* What drawing these very texts with these very weights has left, or null: then nothing is read again. */
    const Token *const *drawn_row; /* [rows]: a row's own tokens */
    const float *const *drawn_prompt; /* [pieces]: the tape of its prompt, a piece without rows */
    const float *by_logprob, *by_entropy; /* gradients of the loss, of every token; for the backward pass */
    const Parameters *wanted; /* gradients that are not null here are summed up */
    Gradients *gradients; /* [buckets] */
    int64_t buckets;
    atomic_llong next; /* the next piece (or bucket) that a thread takes */
} Texts;

/* A piece laid out, and the memory to read it in. */
typedef struct {
    int real, m, prompt, rows; /* tokens; rounded up to whole tiles; of the prompt */
    int *token, *position, *before; /* [m]; `before` is the token before in the tree, or -1 */
    int64_t *row; /* [rows]: its number, */
    int *start, *own; /* its first token in the block, how many it has there */
    Trace *trace; /* of the first layer; the next layer's is `stride` tokens on, 0 without a tape */
    Top *tops;
    size_t stride;
    /* Where the traces of a token stand, which drawing leaves row by row: in the first layer, how many traces on in the
     * next one, and in the layer at hand (see locate). What rounds the piece up to whole tiles has blank ones. */
    const Trace **origin, **at;
    size_t *apart;
    const Top **top;
    Token *blank;
    float *normed, *mixed_in, *inner; /* [m][D], [m][D], [m][F] */
    float *kt, *vt, *keys, *values, *queries, *pulls, *scores, *dscores; /* of one head, see attention */
    int span; /* columns of kt, vt and of the scores */
    float *dlogits, *dx, *dy, *dinner, *dwide; /* backward: [m][V], [m][D], [m][D or A], [m][F], [m][max(2F, 3A)] */
} Piece;

static int tokens_of(const Texts *t, int64_t row) { return (int)(t->row_at[row + 1] - t->row_at[row]); }

/* The largest number of tokens, rows and keys of any piece. */
static void largest(const Texts *t, int *m, int *rows, int *span) {
    *m = *rows = *span = 0;
    for (int64_t p = 0; p < t->pieces; p++) {
        const int64_t which = t->prompt_of[p];
        const int prompt = (int)(t->prompt_at[which + 1] - t->prompt_at[which]);
        int tokens = prompt, longest = prompt;
        for (int64_t i = t->first[p]; i < t->first[p + 1]; i++) {
            const int own = tokens_of(t, t->order[i]) - 1;
            if (own <= 0) continue;
            tokens += own;
            if (prompt + own > longest) longest = prompt + own;
        }
        const int count = (int)(t->first[p + 1] - t->first[p]);
        if (tokens > *m) *m = tokens;
        if (count > *rows) *rows = count;
        if (longest > *span) *span = longest;
    }
    *m = UP(*m, MR);
    *span = UP(*span + MQ, W);
}

static Piece *room_for(const Texts *t, Arena *arena, int backward) {
    int m, rows, span;
    largest(t, &m, &rows, &span);
    Piece *p = take_zeros(arena, sizeof *p);
    if (!p) return p;
    const size_t f = sizeof(float), whole = m;
    p->span = span;
    p->token = take(arena, whole * sizeof(int));
    p->position = take(arena, whole * sizeof(int));
    p->before = take(arena, whole * sizeof(int));
    p->row = take(arena, (rows + 1) * sizeof(int64_t));
    p->start = take(arena, (rows + 1) * sizeof(int));
    p->own = take(arena, (rows + 1) * sizeof(int));
    p->normed = take(arena, whole * D * f);
    p->mixed_in = take(arena, whole * D * f);
    p->inner = take(arena, whole * INNER * f); /* in the backward pass also [m][D] and [m][A] */
    p->kt = take(arena, (size_t)HEAD * span * f);
    p->keys = take(arena, (size_t)span * HP * f);
    p->values = take(arena, (size_t)span * HP * f);
    p->queries = take(arena, (size_t)span * HP * f);
    p->scores = take(arena, (size_t)(backward ? span + MQ : MQ) * span * f);
    p->origin = take(arena, whole * sizeof *p->origin);
    p->at = take(arena, whole * sizeof *p->at);
    p->apart = take(arena, whole * sizeof *p->apart);
    p->top = take(arena, whole * sizeof *p->top);
    p->blank = take_zeros(arena, sizeof *p->blank);
    if (!t->tape && !t->drawn_row) {
        p->trace = take(arena, whole * sizeof(Trace));
        p->tops = take(arena, whole * sizeof(Top));
    }
    if (backward) {
        p->vt = take(arena, (size_t)HEAD * span * f);
        p->pulls = take(arena, (size_t)span * HP * f);
        p->dscores = take(arena, (size_t)(span + MQ) * span * f);
        p->dlogits = take(arena, whole * V * f);
        p->dx = take(arena, whole * D * f);
        p->dy = take(arena, whole * (D > A ? D : A) * f);
        p->dinner = take(arena, whole * (F > A ? F : A) * f);
        p->dwide = take(arena, whole * (2 * F > 3 * A ? 2 * F : 3 * A) * f);
    }
    return p;
}

/* The traces of a piece are where drawing has left them. */
static void recall(const Texts *t, int64_t piece, Piece *p) {
    const size_t stride = UP(p->prompt, MR);
    const Trace *prompt = (const Trace *)t->drawn_prompt[piece];
    for (int i = 0; i < p->prompt; i++) {
        p->origin[i] = prompt + i;
        p->apart[i] = stride;
        p->top[i] = (const Top *)(prompt + LAYERS * stride) + i;
    }
    for (int r = 0; r < p->rows; r++)
        for (int i = 0; i < p->own[r]; i++) {
            const Token *drawn = &t->drawn_row[p->row[r]][i];
            p->origin[p->start[r] + i] = drawn->layer;
            p->apart[p->start[r] + i] = 1;
            p->top[p->start[r] + i] = &drawn->top;
        }
    for (int i = p->real; i < p->m; i++) {
        p->origin[i] = p->blank->layer;
        p->apart[i] = 0;
        p->top[i] = &p->blank->top;
    }
}

static void lay_out(const Texts *t, int64_t piece, Piece *p) {
    const int64_t which = t->prompt_of[piece];
    const int32_t *prompt = t->prompts + t->prompt_at[which];
    p->prompt = (int)(t->prompt_at[which + 1] - t->prompt_at[which]);
    int n = 0;
    for (; n < p->prompt; n++) {
        p->token[n] = prompt[n];
        p->position[n] = n;
        p->before[n] = n - 1;
    }
    p->rows = (int)(t->first[piece + 1] - t->first[piece]);
    for (int r = 0; r < p->rows; r++) {
        const int64_t row = p->row[r] = t->order[t->first[piece] + r];
        const int32_t *own = t->tokens + t->row_at[row];
        const int count = tokens_of(t, row) - 1;
        p->start[r] = n;
        p->own[r] = count > 0 ? count : 0;
        for (int i = 0; i < p->own[r]; i++, n++) {
            p->token[n] = own[i];
            p->position[n] = p->prompt + i;
            p->before[n] = i ? n - 1 : p->prompt - 1;
        }
    }
    p->real = n;
    p->m = UP(n, MR);
    for (; n < p->m; n++) p->token[n] = p->before[n] = -1;
    if (t->tape) {
        p->stride = (size_t)(t->tape_at[piece + 1] - t->tape_at[piece]);
        p->trace = (Trace *)(t->tape + (size_t)t->tape_at[piece] * (LAYERS * LT + LO));
        p->tops = (Top *)(p->trace + LAYERS * p->stride);
    }
    if (t->drawn_row) {
        recall(t, piece, p);
        return;
    }
    for (int i = 0; i < p->m; i++) {
        p->origin[i] = p->trace + i;
        p->apart[i] = p->stride;
        p->top[i] = p->tops + i;
    }
}

/* Let `at` point to the traces of a layer. */
static void locate(Piece *p, int layer) {
    for (int i = 0; i < p->m; i++) p->at[i] = p->origin[i] + layer * p->apart[i];
}

/* The token whose logits predict token j of a row. */
static int predictor(const Piece *p, int r, int j) { return j ? p->start[r] + j - 1 : p->prompt - 1; }
/* Logits are needed from here on (a whole tile): those within the prompt predict nothing that is asked. */
static int first_predictor(const Piece *p) { return (p->prompt - 1) / MR * MR; }

/* Inputs of attention's projections: the normalised stream, convolved along the tree. */
static const float *convolved(const Weights *w, int layer, float eps, Piece *p) {
    for (int i = 0; i < p->m; i++)
        normalise(p->at[i]->x, w->layer[layer].norm1, eps, p->normed + (size_t)i * D);
    if (!CANON) return p->normed;
    for (int i = 0; i < p->m; i++) {
        const float *x = p->normed + (size_t)i * D;
        float *out = p->mixed_in + (size_t)i * D;
        memcpy(out, x, sizeof(float) * D);
        for (int tap = KERNEL - 1, at = i; tap >= 0 && at >= 0; tap--, at = p->before[at]) {
            const float *from = p->normed + (size_t)at * D, *filter = w->layer[layer].canon[tap];
            for (int d = 0; d < D; d++) out[d] += from[d] * filter[d];
        }
    }
    return p->mixed_in;
}

/* s[MQ][span] = the products of MQ rows of a with columns 0 .. upto of kt [HEAD][span]. */
INLINE void dots(const float *a, const float *kt, int span, int upto, float *s) {
    for (int t = 0; t < upto; t += W) {
        vec acc[MQ];
        UNROLL for (int r = 0; r < MQ; r++) acc[r] = (vec){0};
        for (int d = 0; d < HEAD; d++) {
            const vec k = load(kt + (size_t)d * span + t);
            UNROLL for (int r = 0; r < MQ; r++) acc[r] += a[r * HP + d] * k;
        }
        UNROLL for (int r = 0; r < MQ; r++) store(s + (size_t)r * span + t, acc[r]);
    }
}

/* acc[MQ][HP] = sum over i < n of s[r * sr + i * si] * b[i][HP]. */
INLINE void mixes(const float *s, int sr, int si, const float *b, int n, oct acc[MQ][HP / 8]) {
    memset(acc, 0, sizeof(oct) * MQ * (HP / 8));
    for (int i = 0; i < n; i++) {
        oct x[HP / 8];
        UNROLL for (int j = 0; j < HP / 8; j++) x[j] = load8(b + (size_t)i * HP + 8 * j);
        UNROLL for (int r = 0; r < MQ; r++) {
            const float share = s[(size_t)r * sr + (size_t)i * si];
            UNROLL for (int j = 0; j < HP / 8; j++) acc[r][j] += share * x[j];
        }
    }
}

/* Copy one head of n tokens (channels from `channel` on of their qkv) to rows [n][HP] from row `at` on and, where
 * `turned` is given, to its columns. */
static void gather(const Trace *const *trace, int channel, int n, float *rows, float *turned, int span, int at) {
    for (int i = 0; i < n; i++) {
        const float *from = trace[i]->qkv + channel;
        memcpy(rows + (size_t)(at + i) * HP, from, sizeof(float) * HP);
        if (turned)
            for (int d = 0; d < HEAD; d++) turned[(size_t)d * span + at + i] = from[d];
    }
}

/* Scores of queries first .. first + MQ of a sequence whose keys begin `past` tokens earlier; what is hidden from a
 * query becomes minus infinity. Returns how many columns were written. */
static int scores_of(const Piece *p, int past, int own, int first, float *s) {
    const int last = first + MQ < own ? first + MQ : own, upto = UP(past + last, W);
    dots(p->queries + (size_t)first * HP, p->kt, p->span, upto, s);
    for (int r = 0; r < MQ; r++)
        for (int t = past + first + r + 1; t < upto; t++) s[(size_t)r * p->span + t] = -INFINITY;
    return upto;
}

/* One head of one sequence: tokens at .. at + own attend to `past` tokens of the prompt and to themselves. */
static void attend_sequence(Trace *trace, int head, int at, int past, int own, Piece *p) {
    gather(p->at + at, head * HP, own, p->queries, 0, 0, 0);
    memset(p->queries + (size_t)own * HP, 0, sizeof(float) * MQ * HP);
    gather(p->at + at, A + head * HP, own, p->keys, p->kt, p->span, past);
    gather(p->at + at, 2 * A + head * HP, own, p->values, 0, 0, past);
    for (int i = 0; i < own; i += MQ) {
        const int upto = scores_of(p, past, own, i, p->scores), rows = own - i < MQ ? own - i : MQ;
        for (int r = 0; r < rows; r++)
            trace[at + i + r].logsum[head] = softmax(p->scores + (size_t)r * p->span, upto);
        oct out[MQ][HP / 8];
        mixes(p->scores, p->span, 1, p->values, past + i + rows, out);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < HP / 8; j++) store8(trace[at + i + r].mixed + head * HP + 8 * j, out[r][j]);
    }
}

static void attention(Trace *trace, Piece *p) {
    if (A > HEADS * HP)
        for (int i = 0; i < p->real; i++) memset(trace[i].mixed + HEADS * HP, 0, sizeof(float) * (A - HEADS * HP));
    for (int h = 0; h < HEADS; h++) {
        attend_sequence(trace, h, 0, 0, p->prompt, p); /* which leaves the prompt's keys and values in place */
        for (int r = 0; r < p->rows; r++) attend_sequence(trace, h, p->start[r], p->prompt, p->own[r], p);
    }
}

/* Log-probability (at a temperature), entropy and rank of a given token. */
static void judge(const float *logits, int given, float temperature, float *logprob, float *entropy, int32_t *rank) {
    float l[V];
    shift(logits, l);
    vec mass = {0}, moment = {0}, tempered = {0};
    for (int v = 0; v < V; v += W) {
        const vec x = load(l + v), e = exponential(x);
        mass += e;
        moment += e * x;
        if (temperature != 1.0f) tempered += exponential(x / temperature);
    }
    const float whole = total(mass);
    *entropy = logf(whole) - total(moment) / whole;
    *logprob = temperature == 1.0f ? l[given] - logf(whole) : l[given] / temperature - logf(total(tempered));
    if (rank) {
        int32_t above = 0;
        for (int v = 0; v < VOCAB; v++) above += l[v] > l[given];
        *rank = above;
    }
}

static void keep_prefix(const Trace *trace, int layer, const Piece *p, Prefix *to) {
    const int room = UP(p->prompt, W);
    float *keys = to->keys + (size_t)layer * room * HEADS * HP, *values = to->values + (size_t)layer * room * A;
    for (int t = 0; t < p->prompt; t++) {
        const float *k = trace[t].qkv + A;
        for (int c = 0; c < HEADS * HP; c++) keys[((size_t)(t / W) * HEADS * HP + c) * W + t % W] = k[c];
        memcpy(values + (size_t)t * A, k + A, sizeof(float) * A);
    }
    for (int j = 0; j < KERNEL - 1; j++) { /* oldest first; zeros before the beginning */
        const int t = p->prompt - (KERNEL - 1) + j;
        if (t >= 0) memcpy(to->recent[layer][j], p->normed + (size_t)t * D, sizeof(float) * D);
        else memset(to->recent[layer][j], 0, sizeof(float) * D);
    }
}

static void judge_rows(const Texts *t, const Piece *p) {
    for (int r = 0; r < p->rows; r++)
        for (int j = 0; j < tokens_of(t, p->row[r]); j++) {
            const int64_t at = t->row_at[p->row[r]] + j;
            judge(p->top[predictor(p, r, j)]->logits, t->tokens[at], t->temperature, t->logprobs + at,
                  t->entropies + at, t->ranks ? t->ranks + at : 0);
        }
}

static void read_piece(const Weights *w, const Texts *t, int64_t piece, Piece *p) {
    lay_out(t, piece, p);
    if (t->drawn_row) {
        judge_rows(t, p);
        return;
    }
    Trace *trace = p->trace;
    const int m = p->m;
    for (int i = 0; i < m; i++)
        if (i < p->real) memcpy(trace[i].x, w->embed[p->token[i]], sizeof(float) * D);
        else memset(&trace[i], 0, sizeof(Trace));
    for (int l = 0; l < LAYERS; l++) {
        const LayerWeights *layer = &w->layer[l];
        locate(p, l);
        multiply(convolved(w, l, t->eps, p), D, layer->qkv, trace->qkv, LT, m, 3 * A, DIM, 0);
        for (int i = 0; i < p->real; i++) {
            const float *c = t->cosine + (size_t)p->position[i] * (HEAD / 2);
            const float *s = t->sine + (size_t)p->position[i] * (HEAD / 2);
            rotate(trace[i].qkv, c, s, 1.0f);
            rotate(trace[i].qkv + A, c, s, 1.0f);
            for (int d = 0; d < A; d++) trace[i].qkv[d] *= 1.0f / sqrtf((float)HEAD);
        }
        attention(trace, p);
        if (t->prefixes) keep_prefix(trace, l, p, &t->prefixes[piece]);
        Trace *next = trace + p->stride;
        float *out = l + 1 < LAYERS ? next->x : p->tops->x;
        const int ldo = l + 1 < LAYERS ? LT : LO;
        for (int i = 0; i < m; i++) memcpy(trace[i].mid, trace[i].x, sizeof(float) * D);
        multiply(trace->mixed, LT, layer->o, trace->mid, LT, m, D, A, 1);
        for (int i = 0; i < m; i++) normalise(trace[i].mid, layer->norm2, t->eps, p->normed + (size_t)i * D);
        multiply(p->normed, D, layer->gate_up, trace->gate_up, LT, m, 2 * F, DIM, 0);
        gated(trace->gate_up, LT, p->inner, m);
        for (int i = 0; i < m; i++)
            for (int d = 0; d < D; d++) out[(size_t)i * ldo + d] = trace[i].mid[d] + (BIAS ? layer->bias[d] : 0.0f);
        multiply(p->inner, F, layer->down, out, ldo, m, D, INTER, 1);
        if (l + 1 < LAYERS && next != trace)
            for (int i = p->real; i < m; i++) { /* what no product fills */
                memset(next[i].mixed, 0, sizeof next[i].mixed);
                memset(next[i].logsum, 0, sizeof next[i].logsum);
            }
        trace = next;
    }
    const int from = first_predictor(p);
    for (int i = from; i < m; i++) normalise(p->tops[i].x, w->norm, t->eps, p->normed + (size_t)i * D);
    multiply(p->normed + (size_t)from * D, D, w->head, p->tops[from].logits, LO, m - from, V, DIM, 0);
    if (t->prefixes) memcpy(t->prefixes[piece].logits, p->tops[p->prompt - 1].logits, sizeof(float) * V);
    judge_rows(t, p);
}

int64_t tape_floats(void) { return LAYERS * LT + LO; }
int64_t tape_tile(void) { return MR; }

/* Read pieces until none is left; several threads may call it at once on the same texts. Not 0: no memory. */
int read_texts(const Weights *w, Texts *t) {
    Arena arena = {0};
    Piece *p = room_for(t, &arena, 0);
    if (!arena.failed)
        for (int64_t piece; (piece = atomic_fetch_add(&t->next, 1)) < t->pieces;) read_piece(w, t, piece, p);
    release(&arena);
    return arena.failed;
}
#endif
