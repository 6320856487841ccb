/* Arithmetic of the tiny model: vectors, exponentials, matrix products, norms, softmax.
 *
 * Shapes are constants of the compiler (DIM, HEADS, INTER, LAYERS, VOCAB, CANON, BIAS), so that loops have known
 * lengths and tables are plain structs. Every axis is padded with zeros to whole tiles: padding is never looked at
 * and costs no branch. One vector type of the compiler's own (W floats, as wide as the processor has) is used
 * where a sum must be split in a fixed way or registers must be blocked; the other loops are plain C.
 *
 * An output of any function here depends on its own row's inputs alone and is summed in a fixed order. So a row's
 * numbers are the same bytes in every batch, and at any number of threads. */
#ifndef KERNELS_H
#define KERNELS_H
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define W 16 /* floats of a vector */
#define MR 12 /* rows of a tile of a matrix product: as many as there are registers for */
#elif defined(__AVX__)
#define W 8
#define MR 6
#elif defined(__aarch64__)
#define W 4
#define MR 12
#else
#define W 4
#define MR 6
#endif
#define NR (2 * W) /* columns of that tile */
#define MQ (W == 16 ? 8 : 4) /* queries that attention handles at once; rows of a tile of a weight's gradient */
#define PANEL 144 /* inner length of a product that leaves a panel of the right side in the first-level cache */
#define KERNEL 4 /* taps of the convolution */

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))
#define UP(n, m) (((n) + (m) - 1) / (m) * (m))

enum {
    HEAD = DIM / HEADS, /* channels of a head; padded: */
    HP = UP(HEAD, 8),
    D = UP(DIM, NR), /* residual stream */
    A = UP(HEADS * HP, NR), /* heads side by side */
    F = UP(INTER, NR), /* inside of the feed-forward block */
    V = UP(VOCAB, NR),
    INNER = F > D ? (F > A ? F : A) : (D > A ? D : A)
};

typedef float vec __attribute__((vector_size(4 * W)));
typedef int32_t ivec __attribute__((vector_size(4 * W)));
typedef float oct __attribute__((vector_size(32)));

INLINE vec load(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, vec v) { memcpy(p, &v, sizeof v); }
INLINE oct load8(const float *p) { oct v; memcpy(&v, p, sizeof v); return v; }
INLINE void store8(float *p, oct v) { memcpy(p, &v, sizeof v); }
INLINE vec pick(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }

INLINE float total(vec v) {
    float a[W];
    store(a, v);
    for (int n = W / 2; n; n /= 2)
        for (int i = 0; i < n; i++) a[i] += a[i + n];
    return a[0];
}

INLINE float highest(vec v) {
    float a[W];
    store(a, v);
    for (int n = W / 2; n; n /= 2)
        for (int i = 0; i < n; i++) a[i] = a[i] > a[i + n] ? a[i] : a[i + n];
    return a[0];
}

/* exp to a unit in the last place or two: 2^n times Cephes' polynomial; 0 below -87.3, bounded above 88, NaN stays. */
INLINE vec exponential(vec x) {
    const vec zero = {0}, magic = zero + 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    const ivec under = x < zero - 87.3f;
    x = pick(x > zero + 88.0f, zero + 88.0f, x);
    vec shifted = x * 1.44269504088896341f + magic;
    ivec n = (ivec)shifted - (ivec)magic;
    vec whole = shifted - magic;
    vec r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = zero + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    n = ((n & ~under) + 127) << 23;
    return pick(under, zero, p * (vec)n);
}

/* c[m][n] (+)= a[m][k] b[k][n]; b is packed as panels [n / NR][k][NR], m a multiple of MR, n of NR. */
static void multiply(const float *a, int lda, const float *b, float *c, int ldc, int m, int n, int k, int add) {
    for (int col = 0; col < n; col += NR)
        for (int from = 0; from < k; from += PANEL) {
            const float *panel = b + (size_t)col * k + (size_t)from * NR;
            const int inner = k - from < PANEL ? k - from : PANEL, more = add || from;
            for (int row = 0; row < m; row += MR) {
                const float *left = a + (size_t)row * lda + from;
                float *out = c + (size_t)row * ldc + col;
                vec acc[MR][2];
                UNROLL for (int r = 0; r < MR; r++) {
                    acc[r][0] = more ? load(out + (size_t)r * ldc) : (vec){0};
                    acc[r][1] = more ? load(out + (size_t)r * ldc + W) : (vec){0};
                }
                for (int i = 0; i < inner; i++) {
                    vec b0 = load(panel + i * NR), b1 = load(panel + i * NR + W);
                    UNROLL for (int r = 0; r < MR; r++) {
                        float x = left[(size_t)r * lda + i];
                        acc[r][0] += x * b0;
                        acc[r][1] += x * b1;
                    }
                }
                UNROLL for (int r = 0; r < MR; r++) {
                    store(out + (size_t)r * ldc, acc[r][0]);
                    store(out + (size_t)r * ldc + W, acc[r][1]);
                }
            }
        }
}

/* c[m][n] += a[k][m]^T b[k][n], the gradient of a weight; m a multiple of MQ, n of NR. */
static void outer(const float *a, int lda, const float *b, int ldb, float *c, int ldc, int m, int n, int k) {
    for (int from = 0; from < k; from += 128)
        for (int col = 0; col < n; col += NR)
            for (int row = 0; row < m; row += MQ) {
                const int inner = k - from < 128 ? k - from : 128;
                const float *left = a + (size_t)from * lda + row, *right = b + (size_t)from * ldb + col;
                float *out = c + (size_t)row * ldc + col;
                vec acc[MQ][2];
                UNROLL for (int r = 0; r < MQ; r++) {
                    acc[r][0] = load(out + (size_t)r * ldc);
                    acc[r][1] = load(out + (size_t)r * ldc + W);
                }
                for (int i = 0; i < inner; i++, left += lda, right += ldb) {
                    vec b0 = load(right), b1 = load(right + W);
                    UNROLL for (int r = 0; r < MQ; r++) {
                        acc[r][0] += left[r] * b0;
                        acc[r][1] += left[r] * b1;
                    }
                }
                UNROLL for (int r = 0; r < MQ; r++) {
                    store(out + (size_t)r * ldc, acc[r][0]);
                    store(out + (size_t)r * ldc + W, acc[r][1]);
                }
            }
}

/* out = x / sqrt(mean(x^2) + eps) * weight; returns the scale. */
static float normalise(const float *x, const float *weight, float eps, float *out) {
    vec squares = {0};
    for (int i = 0; i < D; i += W) squares += load(x + i) * load(x + i);
    const float scale = 1.0f / sqrtf(total(squares) / DIM + eps);
    for (int i = 0; i < D; i++) out[i] = x[i] * scale * weight[i];
    return scale;
}

/* dx += and dweight += for out = normalise(x) and its gradient dy. */
static void normalise_back(const float *x, const float *weight, float eps, const float *dy, float *dx, float *dweight) {
    vec squares = {0}, pulls = {0};
    for (int i = 0; i < D; i += W) {
        squares += load(x + i) * load(x + i);
        pulls += load(x + i) * load(dy + i) * load(weight + i);
    }
    const float scale = 1.0f / sqrtf(total(squares) / DIM + eps);
    const float back = total(pulls) * scale * scale * scale / DIM;
    for (int i = 0; i < D; i++) {
        dx[i] += dy[i] * weight[i] * scale - x[i] * back;
        dweight[i] += dy[i] * x[i] * scale;
    }
}

/* Scores become their softmax, in place; n is a multiple of W, and what is hidden is minus infinity. Returns the
 * logarithm of the sum of their exponentials. */
static float softmax(float *s, int n) {
    vec top = load(s), sum = {0};
    for (int t = W; t < n; t += W) top = pick(load(s + t) > top, load(s + t), top);
    const float most = highest(top);
    for (int t = 0; t < n; t += W) {
        vec e = exponential(load(s + t) - most);
        store(s + t, e);
        sum += e;
    }
    const float whole = total(sum), share = 1.0f / whole;
    for (int t = 0; t < n; t++) s[t] *= share;
    return most + logf(whole);
}

/* Logits less the largest of them; what pads the vocabulary has no probability. */
static void shift(const float *logits, float *out) {
    vec top = {0};
    top += -INFINITY;
    for (int v = 0; v + W <= VOCAB; v += W) top = pick(load(logits + v) > top, load(logits + v), top);
    float most = highest(top);
    for (int v = VOCAB / W * W; v < VOCAB; v++) most = logits[v] > most ? logits[v] : most;
    for (int v = 0; v < VOCAB; v++) out[v] = logits[v] - most;
    for (int v = VOCAB; v < V; v++) out[v] = -1e30f; /* times its probability of 0 it is 0 */
}

/* Turn the heads of a query or key to its position; a turn back where sign is -1. */
static void rotate(float *x, const float *cosine, const float *sine, float sign) {
    for (int h = 0; h < HEADS; h++)
        for (int j = 0; j < HEAD / 2; j++) {
            const float a = x[h * HP + j], b = x[h * HP + j + HEAD / 2], s = sign * sine[j];
            x[h * HP + j] = a * cosine[j] - b * s;
            x[h * HP + j + HEAD / 2] = b * cosine[j] + a * s;
        }
}

/* inner[n][F] = silu(gate) * up; gate and up stand W channels of each in turn in gate_up[n], lda floats a row. */
static void gated(const float *gate_up, int lda, float *inner, int n) {
    for (int t = 0; t < n; t++)
        for (int c = 0; c < F; c += W) {
            const float *both = gate_up + (size_t)t * lda + 2 * c;
            const vec gate = load(both);
            store(inner + (size_t)t * F + c, gate / (1.0f + exponential(-gate)) * load(both + W));
        }
}

/* Memory of one call: everything taken is released together; `failed` where there was none left. */
typedef struct {
    void *held[40];
    int count, failed;
} Arena;

static void *take(Arena *arena, size_t bytes) {
    void *p = aligned_alloc(64, UP(bytes + 64, 64));
    if (!p) arena->failed = 1;
    else arena->held[arena->count++] = p;
    return p;
}

static void *take_zeros(Arena *arena, size_t bytes) {
    void *p = take(arena, bytes);
    return p ? memset(p, 0, bytes) : p;
}

static void release(Arena *arena) {
    while (arena->count) free(arena->held[--arena->count]);
}
#endif
