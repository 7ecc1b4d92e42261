/* call.c - compiled functions of C: a function, its context, its state
 *
 * A call: arguments and the state's arrays -> program (found, or traced now) -> results and new
 * state. Built of the pieces of compile.c that bindings use too.
 */
#include "core/scope.h"
#include "core/tape.h"
#include "run/function.h"

fr_function *fr_compile(fr_fn *fn, void *ctx, const fr_compile_options *options)
{
    if (fr__failed())
        return NULL;
    if (!fn)
        return fr__fail(FR__E_VALUE, "compile: the function is NULL");
    fr_function *f =
        fr_function_new(options ? options->name : NULL, options ? options->cache_limit : 0);
    if (!f)
        return NULL;
    if (options && options->nslots > 0) {
        f->slots = fr__memdup(options->slots, sizeof *f->slots * (size_t)options->nslots);
        if (!f->slots) {
            fr_function_free(f);
            return NULL;
        }
        f->nslots = options->nslots;
    }
    f->strict = options && options->strict;
    fr_function_check(f, options && options->check);
    f->shapeless = options && options->shapeless;
    f->fn = fn;
    f->ctx = ctx;
    f->free_ctx = options ? options->free_ctx : NULL;
    return f;
}

static void set_slots(const fr_function *f, fr_array *const *to)
{
    for (int i = 0; i < f->nslots; i++)
        *f->slots[i] = to[i];
}

/* Runs the user's function in a scope. Its results, then what it left in the slots, as references
 * of the caller's; the slots themselves are as before. */
static int run_function(fr_function *f, int n_in, fr_array *const *in, int n_out,
                        fr_array **out)
{
    fr_array *few[16], **before = few;
    int n = n_out + f->nslots;
    if (f->nslots > FR__COUNT(few) &&
        !(before = fr__malloc(sizeof *before * (size_t)f->nslots)))
        return -1;
    fr_scope *s = fr_scope_open();
    for (int i = 0; i < f->nslots; i++)
        before[i] = *f->slots[i];
    for (int i = 0; i < n; i++)
        out[i] = NULL;
    int status = s ? f->fn(f->ctx, n_in, in, n_out, out) : -1;
    if (!status && fr__failed())
        status = -1;
    if (status && !fr__failed())
        fr__fail(FR__E_CALLBACK, "%s: the function returned %d", f->name, status);
    for (int i = 0; i < f->nslots; i++)
        out[n_out + i] = *f->slots[i];
    set_slots(f, before);
    for (int i = 0; !status && i < n; i++)
        if (!out[i])
            status = fr__fail_int(FR__E_VALUE,
                                  i < n_out ? "%s: result %d was not set"
                                            : "%s: slot %d was set to NULL",
                                  f->name, i < n_out ? i : i - n_out);
    for (int i = 0; !status && i < n; i++)
        fr_keep(out[i]);
    fr_scope_close(s);
    if (before != few)
        fr__free(before);
    return status ? -1 : 0;
}

/* NULL without an error: the function captured what is being differentiated. again: after a trace
 * with hidden sizes that came to nothing. */
static fr_program *trace_function(fr_function *f, int n_in, fr_array *const *in, int n_out,
                                  bool again)
{
    int n_all = n_in + f->nslots, n_results = n_out + f->nslots;
    fr_array **room = fr__malloc(sizeof *room * (size_t)(n_all + n_results + f->nslots + 1));
    if (!room)
        return NULL;
    fr_array **given = room, **out = given + n_all, **before = out + n_results;
    fr_trace *t = fr_trace_begin_call(f, &n_out, sizeof n_out, n_all, in, given, NULL);
    fr_program *p = NULL;
    bool hides = t && fr_trace_hides_sizes(t);
    if (t) {
        for (int i = 0; i < f->nslots; i++)
            before[i] = *f->slots[i];
        set_slots(f, given + n_in);
        int status = run_function(f, n_in, given, n_out, out);
        set_slots(f, before);
        if (status) {
            fr_trace_refuse(t, &n_out, sizeof n_out);
        } else {
            bool taped = false;
            for (int i = 0; i < n_results; i++)
                taped |= fr__is_taped(out[i]);
            if (taped)
                fr_trace_refuse(t, &n_out, sizeof n_out);
            else
                p = fr_trace_end(t, &n_out, sizeof n_out, n_results, out);
            for (int i = 0; i < n_results; i++)
                fr_free(out[i]);
        }
        for (int i = 0; i < n_all; i++)
            fr_free(given[i]);
    }
    fr__free(room);
    if (!p && hides && !again) {
        fr_error_clear();
        return trace_function(f, n_in, in, n_out, true);
    }
    return p;
}

static int call_inline(fr_function *f, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    if (run_function(f, n_in, in, n_out, out))
        return -1;
    for (int i = 0; i < n_out; i++)
        if (fr__in_scope()) { /* the scope's, as every result */
            fr__own_result(fr__ref(out[i]));
            fr_free(out[i]);
        }
    for (int i = 0; i < f->nslots && fr__failed(); i++)
        fr_free(out[n_out + i]);
    return fr__failed() ? -1 : 0;
}

/* Each slot's new array takes the place of its old one. */
static int offer_slots(fr_program *p, int n_in, int n_out, int nslots)
{
    fr_donation *pairs = fr__malloc(sizeof *pairs * (size_t)(nslots + 1));
    for (int i = 0; pairs && i < nslots; i++)
        pairs[i] = (fr_donation){.in = n_in + i, .out = n_out + i};
    int status = pairs ? fr_program_offer(p, nslots, pairs) : -1;
    fr__free(pairs);
    return status;
}

/* Runs it in the memory of those slots that nobody else holds. */
static int run_in_place(fr_program *p, int n_in, int n_all, fr_array *const *in, int n_out,
                        int n_results, fr_array **out)
{
    enum { FEW = 64 };
    bool few[FEW], *which = few;
    if (!fr_program_is_offered(p) && offer_slots(p, n_in, n_out, n_all - n_in))
        return -1;
    int n = fr_program_donations(p, 0, NULL);
    if (n > FEW && !(which = fr__malloc(sizeof *which * (size_t)n)))
        return -1;
    for (int i = 0; i < n_all; i++) /* who stands at two places has too many references then */
        fr_keep(in[i]);
    for (int i = 0; i < n; i++)
        which[i] = true;
    n = n ? fr_program_claim(p, in, which) : 0;
    int status = fr__program_run(p, n_all, in, n_results, out, n ? which : NULL, n_out);
    for (int i = 0; i < n_all; i++)
        fr_free(in[i]);
    if (which != few)
        fr__free(which);
    return status;
}

/* in: arguments and state; out: results as those of an operation, and new state as references of
 * the caller's. */
static int call(fr_function *f, int n_in, int n_all, fr_array *const *in, int n_out,
                fr_array **out)
{
    bool traced = false;
    for (int i = 0; i < n_all; i++)
        traced |= fr__flag(in[i], FR__TRACED) || fr__is_taped(in[i]);
    if (traced || !fr_compile_enabled())
        return call_inline(f, n_in, in, n_out, out);
    fr_program *p = fr_function_find(f, &n_out, sizeof n_out, n_all, in);
    if (!p && !fr__failed())
        p = trace_function(f, n_in, in, n_out, false);
    if (!p && fr_is_tracing() && fr_error() == FR_ERROR_TRACE)
        fr_error_clear(); /* it uses placeholders of the trace around it */
    if (!p)
        return fr__failed() ? -1 : call_inline(f, n_in, in, n_out, out);
    int status = f->nslots ? run_in_place(p, n_in, n_all, in, n_out, n_out + f->nslots, out)
                           : fr_program_run(p, n_all, in, n_out, out);
    fr_program_free(p);
    return status;
}

static int call_with_state(fr_function *f, int n_in, fr_array *const *in, int n_out,
                           fr_array **out)
{
    int n_all = n_in + f->nslots, n_results = n_out + f->nslots, status = -1;
    fr_array **room = fr__malloc(sizeof *room * (size_t)(n_all + n_results));
    if (!room)
        return -1;
    fr_array **all = room, **results = room + n_all;
    pthread_mutex_lock(&f->calls);
    for (int i = 0; i < n_in; i++)
        all[i] = in[i];
    for (int i = 0; i < f->nslots; i++)
        if (!(all[n_in + i] = *f->slots[i])) {
            fr__fail(FR__E_VALUE, "%s: slot %d is NULL", f->name, i);
            goto out;
        }
    if (call(f, n_in, n_all, all, n_out, results))
        goto out;
    for (int i = 0; i < n_out; i++)
        out[i] = results[i];
    for (int i = 0; i < f->nslots; i++) { /* new arrays: who holds an old one keeps it */
        fr_array *old = *f->slots[i];
        *f->slots[i] = results[n_out + i];
        fr_free(old);
    }
    status = 0;
out:
    pthread_mutex_unlock(&f->calls);
    fr__free(room);
    return status;
}

int fr_call(fr_function *f, int n_in, fr_array *const *in, int n_out, fr_array **out)
{
    if (!f)
        return fr__fail_int(FR__E_VALUE, "call: the function is NULL");
    if (!f->fn)
        return fr__fail_int(FR__E_VALUE, "call: %s has no C function", f->name);
    if (!fr__good_inputs(f, n_in, in))
        return -1;
    return f->nslots ? call_with_state(f, n_in, in, n_out, out)
                     : call(f, n_in, n_in, in, n_out, out);
}

fr_array *fr_call1(fr_function *f, fr_array *x)
{
    fr_array *y;
    return fr_call(f, 1, &x, 1, &y) ? NULL : y;
}
