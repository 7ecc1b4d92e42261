/* attention_rows.h - scores of some queries, on tensor cores, to exponentials: a pass over the keys
 *
 * Included where these are known: TILES of 16 queries a warp, ACROSS: 8 keys each, and WIDE: tiles of 8
 * columns of what is summed. Row l / 4 and row l / 4 + 8 of a tile are lane l's and three others'. What is
 * subtracted from a row's scores before the exponentials is not always the largest so far: it may be less
 * by so much that these stay below 2^ROOM, and sums are seldom scaled.
 */
#ifndef FR_ROUTINES_ATTENTION_ROWS_H
#define FR_ROUTINES_ATTENTION_ROWS_H

#include "device/cuda/routines/attention.h"
#include "device/cuda/routines/tensor.h"

typedef struct rows {
    float most[TILES][2], sum[TILES][2]; /* of rows l / 4 and l / 4 + 8 of a tile */
} rows;

/* Scores of some queries and keys as they are compared: those that aren't seen are -infinity. */
INLINED void mask_scores(const fr__attention_args *s, float (*c)[4], const char *mask,
                         int query, int key)
{
    int row = query + (int)(lane() >> 2), col = key + 2 * (int)(lane() & 3);
    float first = scale_first(s);
    int64_t step = s->mask.col;
    EACH (t, TILES)
        EACH (h, 2) {
            int own = row + 16 * t + 8 * h, last = last_key(s, own) - col;
            const char *m = mask + own * s->mask.row + col * step;
#define EVERY(x)                                                                               \
    EACH (n, ACROSS)                                                                           \
        EACH (i, 2) {                                                                          \
            bool seen = 8 * n + i <= last;                                                     \
            float *p = &c[t * ACROSS + n][2 * h + i];                                          \
            *p = x;                                                                            \
            m += i ? 7 * step : step;                                                          \
        }
            if (s->mask_kind == FR__MASK_NONE) {
                EVERY(seen ? *p * first : MINUS_INFINITY)
            } else if (s->mask_kind == FR__MASK_BOOL) {
                EVERY(with_bool(m, seen, *p * first))
            } else {
                EVERY(with_float(m, seen, *p * first))
            }
#undef EVERY
        }
}

/* The largest scores so far become those that are subtracted; scale: what was summed before is so much now. */
INLINED void raise(rows *r, float (*most)[2], float (*scale)[2], float factor)
{
    EACH (t, TILES)
        EACH (h, 2) {
            float before = r->most[t][h], after = quad_max(__builtin_fmaxf(most[t][h], before));
            scale[t][h] = after == MINUS_INFINITY ? 1 : exp2_fast((before - after) * factor);
            r->most[t][h] = after;
            r->sum[t][h] *= scale[t][h];
        }
}

/* Scores to exponentials. True: what was summed of them before is to be scaled. */
INLINED bool exponentials(float (*c)[4], rows *r, float (*scale)[2], float factor)
{
    float most[TILES][2];
    bool raised = false;
    EACH (t, TILES)
        EACH (h, 2) {
            float m = MINUS_INFINITY;
            EACH (n, ACROSS)
                m = __builtin_fmaxf(
                    m, __builtin_fmaxf(c[t * ACROSS + n][2 * h], c[t * ACROSS + n][2 * h + 1]));
            most[t][h] = m;
            raised |= (m - r->most[t][h]) * factor > ROOM;
        }
    raised = any_lane(raised);
    if (raised)
        raise(r, most, scale, factor);
    EACH (t, TILES)
        EACH (h, 2) {
            float shift = r->most[t][h] == MINUS_INFINITY ? 0 : r->most[t][h] * factor, sum = 0;
            EACH (n, ACROSS)
                UNROLLED for (int i = 2 * h; i < 2 * h + 2; i++)
                {
                    float *p = &c[t * ACROSS + n][i];
                    *p = exp2_fast(__builtin_fmaf(*p, factor, -shift));
                    sum += *p;
                }
            r->sum[t][h] += sum;
        }
    return raised;
}

INLINED void scale_sums(float (*y)[4], float (*scale)[2])
{
    EACH (t, TILES)
        EACH (n, WIDE)
            EACH (i, 4)
                y[t * WIDE + n][i] *= scale[t][i >> 1];
}

INLINED void start(rows *r)
{
    EACH (t, TILES)
        EACH (h, 2) {
            r->most[t][h] = MINUS_INFINITY;
            r->sum[t][h] = 0;
        }
}

/* Of 16 bytes each. */
INLINED float dot(const uint32_t *x, const uint32_t *y)
{
    float sum = 0;
    EACH (i, 4) {
#if KIND == 2
        sum = __builtin_fmaf(fr__float32(x[i]), fr__float32(y[i]), sum);
#elif KIND == 1
        sum = __builtin_fmaf(fr__from_bf16((uint16_t)x[i]), fr__from_bf16((uint16_t)y[i]), sum);
        sum = __builtin_fmaf(fr__from_bf16((uint16_t)(x[i] >> 16)),
                             fr__from_bf16((uint16_t)(y[i] >> 16)), sum);
#else
        sum = __builtin_fmaf(from_f16((uint16_t)x[i]), from_f16((uint16_t)y[i]), sum);
        sum = __builtin_fmaf(from_f16((uint16_t)(x[i] >> 16)), from_f16((uint16_t)(y[i] >> 16)),
                             sum);
#endif
    }
    return sum;
}

#endif
