/* The model's parameters: as torch holds them, packed for products, and the gradient's own tables. */
#ifndef WEIGHTS_H
#define WEIGHTS_H
#include "kernels.h"

/* Parameters (or gradients) as torch's tensors, row-major; null where there is none or it is not wanted. */
typedef struct {
    float *norm1, *norm2, *canon, *q, *k, *v, *o, *gate, *up, *down, *bias;
} LayerParameters;
typedef struct {
    float *embed, *norm;
    LayerParameters layer[LAYERS];
} Parameters;

/* Packed into panels for multiply: right sides of y = x W^T. */
typedef struct {
    float norm1[D], norm2[D], canon[KERNEL][D], bias[D];
    float qkv[3 * A * DIM], o[D * A], gate_up[2 * F * DIM], down[D * INTER];
} LayerWeights;
typedef struct {
    float embed[VOCAB][D], norm[D], head[V * DIM];
    LayerWeights layer[LAYERS];
} Weights;

/* The same matrices for dx = dy W. */
typedef struct {
    float qkv[D * 3 * A], o[A * DIM], gate_up[D * 2 * F], down[F * DIM];
} LayerTurned;
typedef struct {
    float head[D * VOCAB];
    LayerTurned layer[LAYERS];
} Turned;

/* Sums of gradients, padded, row-major. */
typedef struct {
    float norm1[D], norm2[D], canon[KERNEL][D], bias[D];
    float qkv[3 * A][D], o[D][A], gate_up[2 * F][D], down[D][F];
} LayerGradients;
typedef struct {
    float embed[V][D], norm[D];
    LayerGradients layer[LAYERS];
} Gradients;

/* Where a channel of torch's stands in a padded axis. */
INLINE int same(int c) { return c; }
INLINE int of_head(int c) { return c / HEAD * HP + c % HEAD; }
INLINE int of_gate(int c) { return c / W * NR + c % W; }
INLINE int of_up(int c) { return c / W * NR + W + c % W; }

/* Put w[rows][cols] into panels whose inner length is k; the panels' columns are the rows of w, or, turned, its
 * columns. */
INLINE void pack(float *to, int k, const float *w, int rows, int cols, int (*row)(int), int (*col)(int), int turned) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const int n = turned ? col(c) : row(r), i = turned ? row(r) : col(c);
            to[(size_t)(n / NR) * NR * k + i * NR + n % NR] = w[(size_t)r * cols + c];
        }
}

int64_t weights_bytes(void) { return sizeof(Weights); }
int64_t turned_bytes(void) { return sizeof(Turned); }
int64_t gradients_bytes(void) { return sizeof(Gradients); }

void pack_weights(const Parameters *p, Weights *to) {
    memset(to, 0, sizeof *to);
    for (int t = 0; t < VOCAB; t++) memcpy(to->embed[t], p->embed + (size_t)t * DIM, sizeof(float) * DIM);
    memcpy(to->norm, p->norm, sizeof(float) * DIM);
    pack(to->head, DIM, p->embed, VOCAB, DIM, same, same, 0);
    for (int l = 0; l < LAYERS; l++) {
        const LayerParameters *from = &p->layer[l];
        LayerWeights *w = &to->layer[l];
        memcpy(w->norm1, from->norm1, sizeof(float) * DIM);
        memcpy(w->norm2, from->norm2, sizeof(float) * DIM);
        if (CANON)
            for (int j = 0; j < KERNEL; j++) memcpy(w->canon[j], from->canon + j * DIM, sizeof(float) * DIM);
        if (BIAS) memcpy(w->bias, from->bias, sizeof(float) * DIM);
        pack(w->qkv, DIM, from->q, DIM, DIM, of_head, same, 0);
        pack(w->qkv + (size_t)A * DIM, DIM, from->k, DIM, DIM, of_head, same, 0);
        pack(w->qkv + (size_t)2 * A * DIM, DIM, from->v, DIM, DIM, of_head, same, 0);
        pack(w->o, A, from->o, DIM, DIM, same, of_head, 0);
        pack(w->gate_up, DIM, from->gate, INTER, DIM, of_gate, same, 0);
        pack(w->gate_up, DIM, from->up, INTER, DIM, of_up, same, 0);
        pack(w->down, INTER, from->down, DIM, INTER, same, same, 0);
    }
}

void pack_turned(const Parameters *p, Turned *to) {
    memset(to, 0, sizeof *to);
    pack(to->head, VOCAB, p->embed, VOCAB, DIM, same, same, 1);
    for (int l = 0; l < LAYERS; l++) {
        const LayerParameters *from = &p->layer[l];
        LayerTurned *w = &to->layer[l];
        pack(w->qkv, 3 * A, from->q, DIM, DIM, of_head, same, 1);
        pack(w->qkv + (size_t)A * NR, 3 * A, from->k, DIM, DIM, of_head, same, 1);
        pack(w->qkv + (size_t)2 * A * NR, 3 * A, from->v, DIM, DIM, of_head, same, 1);
        pack(w->o, DIM, from->o, DIM, DIM, same, of_head, 1);
        pack(w->gate_up, 2 * F, from->gate, INTER, DIM, of_gate, same, 1);
        pack(w->gate_up, 2 * F, from->up, INTER, DIM, of_up, same, 1);
        pack(w->down, DIM, from->down, DIM, INTER, same, same, 1);
    }
}

/* Sum one padded table of every bucket, in order, into torch's. `from` is the first bucket's; the others follow at
 * the distance of a Gradients. */
INLINE void unpack(float *to, const float *from, int ld, int rows, int cols, int (*row)(int), int (*col)(int),
                   int64_t buckets) {
    if (!to) return;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            const float *at = from + (size_t)row(r) * ld + col(c);
            float sum = 0;
            for (int64_t b = 0; b < buckets; b++) sum += at[b * (sizeof(Gradients) / sizeof(float))];
            to[(size_t)r * cols + c] = sum;
        }
}

void unpack_gradients(const Gradients *g, int64_t buckets, const Parameters *to) {
    unpack(to->embed, g->embed[0], D, VOCAB, DIM, same, same, buckets);
    unpack(to->norm, g->norm, D, 1, DIM, same, same, buckets);
    for (int l = 0; l < LAYERS; l++) {
        const LayerGradients *from = &g->layer[l];
        const LayerParameters *into = &to->layer[l];
        unpack(into->norm1, from->norm1, D, 1, DIM, same, same, buckets);
        unpack(into->norm2, from->norm2, D, 1, DIM, same, same, buckets);
        unpack(into->canon, from->canon[0], D, KERNEL, DIM, same, same, buckets);
        unpack(into->bias, from->bias, D, 1, DIM, same, same, buckets);
        unpack(into->q, from->qkv[0], D, DIM, DIM, of_head, same, buckets);
        unpack(into->k, from->qkv[A], D, DIM, DIM, of_head, same, buckets);
        unpack(into->v, from->qkv[2 * A], D, DIM, DIM, of_head, same, buckets);
        unpack(into->o, from->o[0], A, DIM, DIM, same, of_head, buckets);
        unpack(into->gate, from->gate_up[0], D, INTER, DIM, of_gate, same, buckets);
        unpack(into->up, from->gate_up[0], D, INTER, DIM, of_up, same, buckets);
        unpack(into->down, from->down[0], F, DIM, INTER, same, same, buckets);
    }
}
#endif
