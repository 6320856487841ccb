/* The tiny model in C, one library for each shape: see docs/native.md. */
#include "decode.h"
#include "learn.h"

int64_t prefix_bytes(void) { return sizeof(Prefix); }
int64_t texts_bytes(void) { return sizeof(Texts); }
int64_t draws_bytes(void) { return sizeof(Draws); }
int64_t token_floats(void) { return sizeof(Token) / sizeof(float); }
int64_t heads_width(void) { return HEADS * HP; }
int64_t values_width(void) { return A; }
int64_t vector_width(void) { return W; }
