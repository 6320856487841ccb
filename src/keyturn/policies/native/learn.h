/* The backward pass: gradients of sum over tokens of by_logprob * logprob + by_entropy * entropy, from the traces
 * that reading has left on the tape, or drawing.
 *
 * Pieces are dealt into buckets, whose number does not depend on the threads; a bucket's pieces are added in order
 * by one thread, and buckets are added in order at the end. So the sums are the same bytes at any number of
 * threads. */
#ifndef LEARN_H
#define LEARN_H
#include "read.h"

/* d logprob / d l = (1_y - p^T) / T and d entropy / d l = -p (log p + entropy), added to dlogits. */
static void judge_back(const float *logits, int given, float temperature, float by_logprob, float by_entropy,
                       float *dlogits) {
    float l[V];
    shift(logits, l);
    vec mass = {0}, moment = {0}, tempered = {0};
    for (int v = 0; v < V; v += W) {
        const vec x = load(l + v), e = exponential(x);
        mass += e;
        moment += e * x;
        tempered += temperature == 1.0f ? e : exponential(x / temperature);
    }
    const float whole = total(mass), mean = total(moment) / whole, cool = by_logprob / temperature;
    const float drawn = cool / total(tempered), own = by_entropy / whole;
    for (int v = 0; v < V; v += W) {
        const vec x = load(l + v), e = exponential(x), t = temperature == 1.0f ? e : exponential(x / temperature);
        store(dlogits + v, load(dlogits + v) - t * drawn - e * own * (x - mean));
    }
    dlogits[given] += cool;
}

static void head_back(const Weights *w, const Turned *turned, const Texts *t, Piece *p, Gradients *g) {
    const int from = first_predictor(p), m = p->m - from;
    float *normed = p->normed + (size_t)from * D, *dnormed = p->dy + (size_t)from * D;
    float *dlogits = p->dlogits + (size_t)from * V;
    memset(dlogits, 0, sizeof(float) * V * m);
    for (int r = 0; r < p->rows; r++)
        for (int j = 0; j < tokens_of(t, p->row[r]); j++) {
            const int64_t at = t->row_at[p->row[r]] + j;
            const int i = predictor(p, r, j);
            if (t->by_logprob[at] != 0 || t->by_entropy[at] != 0)
                judge_back(p->top[i]->logits, t->tokens[at], t->temperature, t->by_logprob[at], t->by_entropy[at],
                           p->dlogits + (size_t)i * V);
        }
    for (int i = 0; i < m; i++) normalise(p->top[from + i]->x, w->norm, t->eps, normed + (size_t)i * D);
    if (t->wanted->embed) outer(dlogits, V, normed, D, g->embed[0], D, V, D, m);
    multiply(dlogits, V, turned->head, dnormed, D, m, D, VOCAB, 0);
    memset(p->dx, 0, sizeof(float) * D * p->m);
    for (int i = from; i < p->m; i++)
        normalise_back(p->top[i]->x, w->norm, t->eps, p->dy + (size_t)i * D, p->dx + (size_t)i * D, g->norm);
}

static void feed_forward_back(const LayerWeights *w, const LayerTurned *turned, const Texts *t, int l, Piece *p,
                              LayerGradients *g) {
    const LayerParameters *wanted = &t->wanted->layer[l];
    const int m = p->m;
    multiply(p->dx, D, turned->down, p->dinner, F, m, F, DIM, 0);
    for (int i = 0; i < m; i++)
        for (int c = 0; c < F; c += W) {
            const float *both = p->at[i]->gate_up + 2 * c;
            const vec gate = load(both), up = load(both + W), open = 1.0f / (1.0f + exponential(-gate));
            const vec pull = load(p->dinner + (size_t)i * F + c);
            float *out = p->dwide + (size_t)i * 2 * F + 2 * c;
            store(p->inner + (size_t)i * F + c, gate * open * up);
            store(out, pull * up * open * (1.0f + gate * (1.0f - open)));
            store(out + W, pull * gate * open);
        }
    if (wanted->down) outer(p->dx, D, p->inner, F, g->down[0], F, D, F, m);
    if (wanted->bias)
        for (int i = 0; i < m; i++)
            for (int d = 0; d < D; d++) g->bias[d] += p->dx[(size_t)i * D + d];
    for (int i = 0; i < m; i++) normalise(p->at[i]->mid, w->norm2, t->eps, p->normed + (size_t)i * D);
    if (wanted->gate || wanted->up) outer(p->dwide, 2 * F, p->normed, D, g->gate_up[0], D, 2 * F, D, m);
    multiply(p->dwide, 2 * F, turned->gate_up, p->dy, D, m, D, 2 * F, 0);
    for (int i = 0; i < m; i++)
        normalise_back(p->at[i]->mid, w->norm2, t->eps, p->dy + (size_t)i * D, p->dx + (size_t)i * D, g->norm2);
}

/* Gradients of keys and values from..from + n (columns of the scores from `column` on), of the queries from
 * `first` on: added to dqkv, whose row of the first of these keys is `row`. */
static void keys_back(const Piece *p, int head, int column, int n, int first, int own, float *row) {
    for (int t = 0; t < n; t += MQ) {
        oct dk[MQ][HP / 8], dv[MQ][HP / 8];
        const int from = first < 0 ? 0 : first + t, count = own - from, rows = n - t < MQ ? n - t : MQ;
        const size_t at = (size_t)from * p->span + column + t;
        mixes(p->scores + at, 1, p->span, p->pulls + (size_t)from * HP, count, dv);
        mixes(p->dscores + at, 1, p->span, p->queries + (size_t)from * HP, count, dk);
        for (int r = 0; r < rows; r++) {
            float *k = row + (size_t)(t + r) * 3 * A + A + head * HP, *v = k + A;
            for (int j = 0; j < HP / 8; j++) {
                store8(k + 8 * j, load8(k + 8 * j) + dk[r][j]);
                store8(v + 8 * j, load8(v + 8 * j) + dv[r][j]);
            }
        }
    }
}

/* As attend_sequence, back: dmixed [m][A] to dqkv [m][3A], added. */
static void attend_sequence_back(int head, int at, int past, int own, const float *dmixed, float *dqkv, Piece *p) {
    gather(p->at + at, head * HP, own, p->queries, 0, 0, 0);
    gather(p->at + at, A + head * HP, own, p->keys, p->kt, p->span, past);
    gather(p->at + at, 2 * A + head * HP, own, p->values, p->vt, p->span, past);
    for (int i = 0; i < own; i++)
        memcpy(p->pulls + (size_t)i * HP, dmixed + (size_t)(at + i) * A + head * HP, sizeof(float) * HP);
    memset(p->queries + (size_t)own * HP, 0, sizeof(float) * MQ * HP);
    memset(p->pulls + (size_t)own * HP, 0, sizeof(float) * MQ * HP);
    for (int i = 0; i < own; i += MQ) {
        float *s = p->scores + (size_t)i * p->span, *ds = p->dscores + (size_t)i * p->span;
        const int upto = scores_of(p, past, own, i, s), rows = own - i < MQ ? own - i : MQ;
        dots(p->pulls + (size_t)i * HP, p->vt, p->span, upto, ds);
        for (int r = 0; r < rows; r++) {
            const float *out = p->at[at + i + r]->mixed + head * HP, *pull = p->pulls + (size_t)(i + r) * HP;
            float *sr = s + (size_t)r * p->span, *dr = ds + (size_t)r * p->span, mean = 0;
            for (int d = 0; d < HEAD; d++) mean += out[d] * pull[d];
            for (int c = 0; c < upto; c += W) {
                const vec share = exponential(load(sr + c) - p->at[at + i + r]->logsum[head]);
                store(sr + c, share);
                store(dr + c, share * (load(dr + c) - mean));
            }
        }
        oct dq[MQ][HP / 8];
        mixes(ds, p->span, 1, p->keys, past + i + rows, dq);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < HP / 8; j++)
                store8(dqkv + (size_t)(at + i + r) * 3 * A + head * HP + 8 * j, dq[r][j]);
    }
    keys_back(p, head, 0, past, -1, own, dqkv); /* every query sees the whole prompt */
    keys_back(p, head, past, own, 0, own, dqkv + (size_t)at * 3 * A);
}

static void attention_back(const Weights *w, const LayerTurned *turned, const Texts *t, int l, Piece *p,
                           LayerGradients *g) {
    const LayerParameters *wanted = &t->wanted->layer[l];
    const int m = p->m;
    float *dqkv = p->dwide, *dmixed = p->dinner;
    if (wanted->o) {
        for (int i = 0; i < m; i++) memcpy(p->inner + (size_t)i * A, p->at[i]->mixed, sizeof(float) * A);
        outer(p->dx, D, p->inner, A, g->o[0], A, D, A, m);
    }
    multiply(p->dx, D, turned->o, dmixed, A, m, A, DIM, 0);
    memset(dqkv, 0, sizeof(float) * 3 * A * m);
    for (int h = 0; h < HEADS; h++) {
        attend_sequence_back(h, 0, 0, p->prompt, dmixed, dqkv, p);
        for (int r = 0; r < p->rows; r++)
            attend_sequence_back(h, p->start[r], p->prompt, p->own[r], dmixed, dqkv, p);
    }
    for (int i = 0; i < p->real; i++) {
        float *q = dqkv + (size_t)i * 3 * A;
        const float *c = t->cosine + (size_t)p->position[i] * (HEAD / 2);
        const float *s = t->sine + (size_t)p->position[i] * (HEAD / 2);
        for (int d = 0; d < A; d++) q[d] *= 1.0f / sqrtf((float)HEAD);
        rotate(q, c, s, -1.0f);
        rotate(q + A, c, s, -1.0f);
    }
    const float *inputs = convolved(w, l, t->eps, p);
    if (wanted->q || wanted->k || wanted->v) outer(dqkv, 3 * A, inputs, D, g->qkv[0], D, 3 * A, D, m);
    multiply(dqkv, 3 * A, turned->qkv, p->dy, D, m, D, 3 * A, 0);
    float *dnormed = p->dy;
    if (CANON) {
        dnormed = p->inner;
        memcpy(dnormed, p->dy, sizeof(float) * D * m);
        for (int i = 0; i < p->real; i++)
            for (int tap = KERNEL - 1, at = i; tap >= 0 && at >= 0; tap--, at = p->before[at]) {
                const float *dy = p->dy + (size_t)i * D, *x = p->normed + (size_t)at * D;
                const float *filter = w->layer[l].canon[tap];
                float *dx = dnormed + (size_t)at * D, *dfilter = g->canon[tap];
                for (int d = 0; d < D; d++) {
                    dx[d] += dy[d] * filter[d];
                    dfilter[d] += dy[d] * x[d];
                }
            }
    }
    for (int i = 0; i < m; i++)
        normalise_back(p->at[i]->x, w->layer[l].norm1, t->eps, dnormed + (size_t)i * D, p->dx + (size_t)i * D, g->norm1);
}

static void learn_piece(const Weights *w, const Turned *turned, const Texts *t, int64_t piece, Piece *p,
                        Gradients *g) {
    lay_out(t, piece, p);
    head_back(w, turned, t, p, g);
    for (int l = LAYERS - 1; l >= 0; l--) {
        locate(p, l);
        feed_forward_back(&w->layer[l], &turned->layer[l], t, l, p, &g->layer[l]);
        attention_back(w, &turned->layer[l], t, l, p, &g->layer[l]);
    }
    if (t->wanted->embed)
        for (int i = 0; i < p->real; i++)
            for (int d = 0; d < D; d++) g->embed[p->token[i]][d] += p->dx[(size_t)i * D + d];
}

/* The backward pass of what read_texts left on the tape; threads and answer as there. */
int learn_texts(const Weights *w, const Turned *turned, Texts *t) {
    Arena arena = {0};
    Piece *p = room_for(t, &arena, 1);
    if (!arena.failed)
        for (int64_t b; (b = atomic_fetch_add(&t->next, 1)) < t->buckets;) {
            memset(&t->gradients[b], 0, sizeof(Gradients));
            for (int64_t piece = b; piece < t->pieces; piece += t->buckets)
                learn_piece(w, turned, t, piece, p, &t->gradients[b]);
        }
    release(&arena);
    return arena.failed;
}
#endif
