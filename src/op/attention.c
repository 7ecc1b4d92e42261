/* attention.c - softmax(q k^T * scale + mask) v: a routine in blocks, or composed */
#include "op/attention.h"

#include <math.h>

#include "core/scope.h"
#include "core/tape.h"

static double to_double(int64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static int64_t to_bits(double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

fr__attention_form fr__attention_of(const fr_array *y)
{
    return (fr__attention_form){to_double(y->par[0]), y->par[1] != 0};
}

static int check(const fr_array *q, const fr_array *k, const fr_array *v)
{
    const fr_array *all[] = {q, k, v};
    static const char *const names[] = {"q", "k", "v"};
    char a[FR__SHAPE_TEXT], b[FR__SHAPE_TEXT], c[FR__SHAPE_TEXT];
    for (int i = 0; i < 3; i++) {
        if (all[i]->ndim != 4)
            return fr__fail_int(FR__E_VALUE, "attention: %s is %s, not of 4 dimensions",
                                names[i], fr__shape_text(all[i], a));
        if (!fr__is_float(all[i]->dtype) || all[i]->dtype != q->dtype)
            return fr__fail_int(FR__E_TYPE,
                                "attention: q, k and v are of one float dtype, not %s, %s, %s",
                                fr__dtypes[q->dtype].name, fr__dtypes[k->dtype].name,
                                fr__dtypes[v->dtype].name);
    }
    bool good = k->dims[0] == q->dims[0] && v->dims[0] == q->dims[0] &&
                k->dims[1] == v->dims[1] && k->dims[2] == v->dims[2] &&
                q->dims[3] == k->dims[3] &&
                (k->dims[1] ? q->dims[1] % k->dims[1] == 0 : q->dims[1] == 0);
    return good
               ? 0
               : fr__fail_int(FR__E_VALUE, "attention: shapes don't fit: q %s, k %s, v %s",
                              fr__shape_text(q, a), fr__shape_text(k, b), fr__shape_text(v, c));
}

/* x [B, G, n, m] as [B, G, 1, n, m], q's heads as [B, G, H / G, ...]. */
static fr_array *grouped(fr_array *x, int64_t groups)
{
    int64_t shape[5] = {x->dims[0], groups, x->dims[1] / groups, x->dims[2], x->dims[3]};
    return fr_reshape(x, shape, 5);
}

/* Whether query i sees key j: bool [L, S]. */
static fr_array *causal_mask(int64_t queries, int64_t keys)
{
    fr_array *i = fr_arange((double)(keys - queries), (double)keys, 1, FR_INT32),
             *j = fr_arange(0, (double)keys, 1, FR_INT32);
    i = i ? fr_reshape(i, (int64_t[]){queries, 1}, 2) : NULL;
    return fr_ge(i, j);
}

_Thread_local int fr__attention_composing;

/* In an open scope. */
static fr_array *composed(fr_array *q, fr_array *k, fr_array *v, fr_array *mask,
                          fr__attention_form form)
{
    int64_t groups = k->dims[1], queries = q->dims[2], keys = k->dims[2];
    int dtype = q->dtype == FR_FLOAT64 ? FR_FLOAT64 : FR_FLOAT32;
    fr_array *x = grouped(fr_astype(q, (fr_dtype)dtype), groups),
             *y = grouped(fr_astype(k, (fr_dtype)dtype), groups),
             *z = grouped(fr_astype(v, (fr_dtype)dtype), groups);
    fr_array *s = fr_matmul(x, fr_transpose(y, (int[]){0, 1, 2, 4, 3}, 5));
    s = fr_mul(s, form.scale);
    if (mask) {
        mask = grouped(mask, groups);
        s = mask && mask->dtype == FR_BOOL ? fr_where(mask, s, -HUGE_VAL)
                                           : fr_add(s, fr_astype(mask, (fr_dtype)dtype));
    }
    if (form.causal)
        s = fr_where(causal_mask(queries, keys), s, -HUGE_VAL);
    s = fr_softmax(s, &(fr_reduce_options){.axes = (int[]){-1}, .naxes = 1});
    fr__attention_composing++;
    s = fr_matmul(s, z);
    fr__attention_composing--;
    int64_t shape[4] = {q->dims[0], q->dims[1], queries, v->dims[3]};
    return fr_astype(fr_reshape(s, shape, 4), (fr_dtype)q->dtype);
}

fr_array *fr__attention_composed(fr_array *const *in, int nin, fr__attention_form form)
{
    return composed(in[0], in[1], in[2], nin > 3 ? in[3] : NULL, form);
}

fr_array *fr__attention_gradients(fr_array *const *in, int nin, fr_array *out, fr_array *dout,
                                  fr__attention_form form)
{
    const fr_array *q = in[0], *k = in[1], *v = in[2];
    int64_t n = q->size + k->size + v->size;
    fr_array *all[6] = {in[0], in[1], in[2], out, dout, nin > 3 ? in[3] : NULL};
    fr_array *y = fr__node(FR__OP_ATTENTION_GRAD, q->dtype, 1, &n, nin > 3 ? 6 : 5, all, 2);
    if (y) {
        y->par[0] = to_bits(form.scale);
        y->par[1] = form.causal;
    }
    return y;
}

/* A mask as the routine reads it: of q's shape before the scores, bool or float32. */
static fr_array *wide_mask(fr_array *mask, const int64_t *shape)
{
    fr_array *m = mask->dtype == FR_BOOL ? fr_keep(mask) : fr_keep(fr_astype(mask, FR_FLOAT32));
    fr_array *y = m ? fr_broadcast_to(m, shape, 4) : NULL;
    fr_free(m);
    return y;
}

static fr_array *attention(fr_array *q, fr_array *k, fr_array *v, fr_array *mask,
                           fr__attention_form form)
{
    int64_t shape[4] = {q->dims[0], q->dims[1], q->dims[2], v->dims[3]},
            scores[4] = {q->dims[0], q->dims[1], q->dims[2], k->dims[2]};
    if (mask && mask->dtype != FR_BOOL && !fr__is_float(mask->dtype))
        return fr__fail(FR__E_TYPE, "attention: a mask is bool or of floats, not %s",
                        fr__dtypes[mask->dtype].name);
    fr_array *m = mask ? wide_mask(mask, scores) : NULL;
    if (mask && !m)
        return NULL;
    if (q->dtype == FR_FLOAT64 || !q->size || !k->size || !v->size)
        return composed(q, k, v, m, form);
    fr_array *in[4] = {q, k, v, m};
    fr_array *y = fr__node(FR__OP_ATTENTION, q->dtype, 4, shape, m ? 4 : 3, in, 2);
    if (y) {
        y->par[0] = to_bits(form.scale);
        y->par[1] = form.causal;
    }
    return y;
}

fr_array *fr_attention(fr_array *q, fr_array *k, fr_array *v, const fr_attention_options *o)
{
    fr_array *in[4] = {q, k, v, o ? o->mask : NULL}, *y = NULL;
    if (!fr__operands(in[3] ? 4 : 3, in) || check(q, k, v))
        return NULL;
    fr__attention_form form = {o ? o->scale : 0, o && o->causal};
    if (form.scale == 0)
        form.scale = 1 / sqrt((double)(q->dims[3] ? q->dims[3] : 1));
    fr_scope *s = fr_scope_open();
    if (s)
        y = fr__leave(s, attention(q, k, v, in[3], form));
    fr__settle(in[3] ? 4 : 3, in);
    return y;
}
