/* run.c - every graph on the first GPU: right, and how fast */
#include "run.h"
#include "work.h"
#include "gpu_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    REPEATS = 30,
    WARM_UP = 3,
    MAX_STEPS = 8,
    MAX_BUFFERS = 16,
    STATIC_SHARED = 1024, /* bytes that a kernel may use itself, generously */
};

typedef struct device {
    const fr__gpu_info *about;
    fr__gpu *gpu;
    fr__gpu_stream *stream;
    char driver[64];
} device;

typedef struct launch {
    fr__gpu_code *code;
    uint64_t *words;
    char *far_words;             /* of more than FR__PTX_WORDS of them */
    char *scratch;               /* where shared memory is too small */
    int64_t range, blocks_limit; /* blocks_limit: that the scratch is made for; 0: any */
    uint64_t scratch_bytes;
    const fr__kernel *kernel;
    unsigned processors;
    double load_ms;
} launch;

typedef struct program { /* a work on the GPU */
    int nsteps, nmade;
    launch steps[MAX_STEPS];
    fr__gpu_stream *stream;
    char *made[2 * MAX_BUFFERS]; /* to be freed */
    size_t bytes[2 * MAX_BUFFERS];
    char *out;
} program;

static fr__ptx_shape shape_of(const launch *l)
{
    return fr__ptx_spread(l->kernel, l->words, 0, l->range,
                          (fr__ptx_room){.processors = l->processors});
}

/* ---- a program on the device ---------------------------------------------------------- */

static char *take(program *p, size_t bytes)
{
    if (p->nmade == FR__COUNT(p->made))
        return NULL;
    char *at = fr__gpu_alloc(p->stream, bytes);
    if (!at)
        return NULL;
    p->bytes[p->nmade] = bytes;
    p->made[p->nmade++] = at;
    /* NaN: nothing passes unwritten */
    return fr__gpu_fill(p->stream, at, 0xff, bytes) ? NULL : at;
}

/* The whole buffer that a leaf looks at: strides may go any way from its first element. */
static bool upload_leaves(program *p, const work *w, char **to)
{
    for (int i = 0; i < w->nleaves; i++) {
        const fr_array *x = w->leaves[i];
        to[i] = NULL;
        if (!x->buf) /* no elements */
            continue;
        char *at = take(p, x->buf->bytes);
        if (!at || fr__gpu_upload(p->stream, at, x->buf->data, x->buf->bytes))
            return false;
        to[i] = at + (x->data - (char *)x->buf->data);
    }
    return true;
}

static bool place_stored(program *p, const fr__plan *plan, char **to)
{
    char *temporary = take(p, plan->temporary);
    for (int i = 0; i < plan->nstored; i++) {
        const fr__stored *s = &plan->stored[i];
        char *at = s->output < 0 ? temporary + s->place : take(p, s->bytes);
        if (!at || !temporary)
            return false;
        to[i] = at;
        if (i == plan->outs[0].stored)
            p->out = at + plan->outs[0].offset;
    }
    return true;
}

static bool load_kernel(launch *l, const device *d)
{
    size_t bytes;
    char *ptx = fr__llvm_ptx(l->kernel, PTX_ENTRY, d->about->sm, &bytes);
    if (!ptx)
        return false;
    double start = fr__now();
    l->code = fr__gpu_load(d->gpu, ptx, bytes, PTX_ENTRY);
    l->load_ms = 1e3 * (fr__now() - start);
    fr__free(ptx);
    return l->code;
}

static bool load_step(program *p, const work *w, const device *d, int i, char **leaves,
                      char **stored)
{
    const fr__step *s = &w->plan->steps[i];
    launch *l = &p->steps[i];
    *l = (launch){.kernel = s->kernel->kernel,
                  .range = s->range,
                  .processors = (unsigned)d->about->processors};
    l->words = calloc((size_t)s->nwords + 1, sizeof *l->words);
    if (!l->words || !load_kernel(l, d))
        return false;
    fr__step_words(w->plan, s, leaves, w->trace.literals.at, stored, l->words);
    if (s->nwords > FR__PTX_WORDS) {
        size_t bytes = sizeof *l->words * (size_t)s->nwords;
        l->far_words = take(p, bytes);
        if (!l->far_words || fr__gpu_upload(p->stream, l->far_words, l->words, bytes))
            return false;
    }
    l->scratch_bytes = (s->scratch + 127) & ~(uint64_t)127;
    if (l->scratch_bytes + STATIC_SHARED > (uint64_t)d->about->shared_block) {
        l->blocks_limit = 4 * (int64_t)d->about->processors;
        l->scratch = take(p, l->scratch_bytes * (size_t)l->blocks_limit);
        return l->scratch;
    }
    return true;
}

static bool load_program(program *p, const work *w, const device *d)
{
    char *leaves[MAX_BUFFERS], *stored[MAX_BUFFERS];
    *p = (program){.nsteps = w->plan->nsteps, .stream = d->stream};
    if (p->nsteps > MAX_STEPS || w->nleaves > MAX_BUFFERS || w->plan->nstored > MAX_BUFFERS)
        return false;
    if (!upload_leaves(p, w, leaves) || !place_stored(p, w->plan, stored))
        return false;
    for (int i = 0; i < p->nsteps; i++)
        if (!load_step(p, w, d, i, leaves, stored))
            return false;
    return true;
}

static void free_program(program *p)
{
    for (int i = 0; i < p->nsteps && i < MAX_STEPS; i++) {
        free(p->steps[i].words);
        fr__gpu_unload(p->steps[i].code);
    }
    for (int i = 0; i < p->nmade; i++)
        fr__gpu_free(p->stream, p->made[i], p->bytes[i]);
}

static bool launch_step(const launch *l)
{
    fr__ptx_shape how = shape_of(l);
    if (l->blocks_limit && how.blocks > l->blocks_limit)
        how.blocks = (unsigned)l->blocks_limit;
    const uint64_t *words = l->far_words ? (const uint64_t *)&l->far_words : l->words;
    return gpu_launch(l->code, words, 0, l->range, l->scratch, l->scratch_bytes, how);
}

/* ---- times ---------------------------------------------------------------------------- */

typedef struct task { /* what is timed: steps [from, to) of a program, or a copy */
    const program *p;
    int from, to;
    char *copy_to, *copy_from;
    size_t bytes;
} task;

static bool start_task(const task *t)
{
    for (int i = t->from; i < t->to; i++)
        if (!launch_step(&t->p->steps[i]))
            return false;
    return !t->bytes || !fr__gpu_copy(gpu_stream(), t->copy_to, t->copy_from, t->bytes);
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* Median of milliseconds on the GPU; negative: it failed. */
static double median_ms(const device *d, const task *t)
{
    double ms[REPEATS];
    for (int i = -WARM_UP; i < REPEATS; i++) {
        fr__gpu_mark *before = fr__gpu_mark_new(d->stream);
        bool started = before && start_task(t);
        fr__gpu_mark *after = started ? fr__gpu_mark_new(d->stream) : NULL;
        double seconds = after ? fr__gpu_mark_seconds(before, after) : -1;
        fr__gpu_mark_free(before);
        fr__gpu_mark_free(after);
        if (seconds < 0)
            return -1;
        if (i >= 0)
            ms[i] = 1e3 * seconds;
    }
    qsort(ms, REPEATS, sizeof *ms, by_value);
    return (ms[REPEATS / 2 - 1] + ms[REPEATS / 2]) / 2;
}

/* A copy that reads and writes `moved` bytes in all. */
static double copy_ms(const device *d, size_t moved)
{
    program p = {.stream = d->stream};
    task t = {.bytes = moved / 2};
    double ms = -1;
    t.copy_from = take(&p, t.bytes);
    t.copy_to = take(&p, t.bytes);
    if (t.copy_from && t.copy_to)
        ms = median_ms(d, &t);
    free_program(&p);
    return ms;
}

/* ---- right? --------------------------------------------------------------------------- */

/* Largest difference of the GPU's result to the CPU's, of the largest magnitude; the library
 * itself compares. Negative: it could not be had. */
static double difference(const work *w, const program *p)
{
    size_t bytes = fr_nbytes(w->out);
    void *host = malloc(bytes ? bytes : 1);
    double far = -1, most = 0;
    if (!host || fr__gpu_download(p->stream, host, p->out, bytes)) {
        free(host);
        return -1;
    }
    fr_array *gpu = fr_from_buffer(host, fr_dtype_of(w->out), fr_shape(w->out), fr_ndim(w->out),
                                   NULL, free, host);
    gpu = fr_astype(gpu, FR_FLOAT64);
    fr_array *cpu = fr_astype(w->out, FR_FLOAT64);
    int failed = fr_eval(w->out) || fr_item(fr_max(fr_abs(fr_sub(gpu, cpu)), NULL), &far) ||
                 fr_item(fr_max(fr_abs(cpu), NULL), &most);
    if (failed)
        return -1;
    return far == 0 ? 0 : far / most;
}

/* ---- the table ------------------------------------------------------------------------ */

typedef struct sheet { /* text for the terminal and the file alike */
    fr__text figures, kernels, checks;
    int wrong;
} sheet;

static void shape_text(const graph *g, char *to, size_t room)
{
    const graph_input *in = &g->in[0];
    int n = snprintf(to, room, "%s[", fr_dtype_name(in->dtype));
    for (int d = 0; d < in->ndim; d++)
        n +=
            snprintf(to + n, room - (size_t)n, "%s%lld", d ? "," : "", (long long)in->shape[d]);
    snprintf(to + n, room - (size_t)n, "]");
}

static bool time_work(sheet *to, const device *d, const work *w, const program *p)
{
    char shape[100];
    size_t moved = fr_nbytes(w->out);
    for (int i = 0; i < w->g->inputs; i++)
        moved += fr_nbytes(w->in[i]);
    task all = {.p = p, .to = p->nsteps};
    double ms = median_ms(d, &all), copy = copy_ms(d, moved);
    if (ms < 0 || copy < 0)
        return false;
    shape_text(w->g, shape, sizeof shape);
    fr__text_f(&to->figures, "| %-14s | %-22s | %7d | %7.4f | %5.0f | %7.4f | %5.2f |\n",
               w->g->name, shape, p->nsteps, ms, (double)moved / ms * 1e-6, copy, copy / ms);
    for (int i = 0; i < p->nsteps; i++) {
        const launch *l = &p->steps[i];
        task one = {.p = p, .from = i, .to = i + 1};
        fr__ptx_shape how = shape_of(l);
        fr__gpu_code_info code = {0};
        fr__gpu_code_about(l->code, &code);
        fr__text_f(&to->kernels,
                   "| %-14s | %4d | %9lld | %7u | %7u | %9d | %5d | %7llu | %7.4f | %6.1f |\n",
                   w->g->name, i, (long long)l->range, how.blocks, how.threads, code.registers,
                   code.local, (unsigned long long)(how.scratch ? l->scratch_bytes : 0),
                   median_ms(d, &one), l->load_ms);
    }
    return true;
}

static void check_work(sheet *to, const device *d, const graph *g)
{
    work w;
    program p = {0};
    const char *problem = NULL;
    double far = -1;
    if (work_open(&w, g, true))
        problem = fr_error_message();
    else if (!load_program(&p, &w, d))
        problem = fr_error() ? fr_error_message() : "the driver refused it";
    for (int i = 0; !problem && i < p.nsteps; i++)
        if (!launch_step(&p.steps[i]))
            problem = "a kernel did not start";
    if (!problem && fr__gpu_synchronize(d->stream))
        problem = fr_error_message();
    if (!problem && (far = difference(&w, &p)) < 0)
        problem = fr_error() ? fr_error_message() : "nothing to compare";
    if (!problem && !(far <= g->tolerance))
        problem = "WRONG";
    if (!problem && g->timed && !time_work(to, d, &w, &p))
        problem = "it could not be timed";
    fr__text_f(&to->checks, "| %-15s | %7d | %8.1e | %8.1e | %s |\n", g->name, p.nsteps, far,
               g->tolerance, problem ? problem : "ok");
    to->wrong += problem != NULL;
    if (problem)
        fprintf(stderr, "ptx: %s: %s\n", g->name, problem);
    fr_error_clear();
    free_program(&p);
    work_close(&w);
    fr_clear_cache();
}

/* ---- what it ran on ------------------------------------------------------------------- */

/* "NVRM version: NVIDIA UNIX ... Module  580.95.05  Release ...": the first number with dots. */
static void driver_version(char *to, size_t room)
{
    char line[300] = "";
    FILE *from = fopen("/proc/driver/nvidia/version", "r");
    if (from && !fgets(line, sizeof line, from))
        line[0] = 0;
    if (from)
        fclose(from);
    snprintf(to, room, "unknown");
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        if (strspn(word, "0123456789.") == strlen(word) && strchr(word, '.')) {
            snprintf(to, room, "%s", word);
            return;
        }
}

static bool open_device(device *d)
{
    *d = (device){.stream = gpu_stream()};
    if (!d->stream)
        return false;
    d->gpu = fr__gpu_of(d->stream);
    d->about = fr__gpu_about(d->gpu);
    driver_version(d->driver, sizeof d->driver);
    return true;
}

static void write_sheet(FILE *to, const sheet *s, const device *d)
{
    char date[40];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime(&now));
    fprintf(
        to,
        "# The kernels on a GPU\n\n"
        "Made by `tools/gpu-check`. One kernel IR: the plans are those that the CPU runs, the\n"
        "PTX is emitted by LLVM from the same kernels. %s, compute capability %d.%d,\n"
        "%d multiprocessors; driver %s (CUDA %d.%d); LLVM %s; ferrule %s; %s.\n\n",
        d->about->name, d->about->sm / 10, d->about->sm % 10, d->about->processors, d->driver,
        d->about->driver / 1000, d->about->driver % 1000 / 10, fr__llvm_version(), fr_version(),
        date);
    fprintf(
        to,
        "Times are medians of %d, by events on the GPU; GB/s count each\n"
        "input and the output once; the copy is the driver's, device to device, reading and\n"
        "writing as many bytes in all.\n\n"
        "| graph          | first input            | kernels | ms      | GB/s  | copy ms | "
        "share |\n"
        "| -------------- | ---------------------- | ------- | ------- | ----- | ------- | "
        "----- |\n%s\n",
        REPEATS, s->figures.at ? s->figures.at : "");
    fprintf(
        to,
        "Each kernel: its range, blocks, threads of a block, registers and local bytes a "
        "thread,\n"
        "scratch bytes in shared memory, time, and what the driver took to load its PTX.\n\n"
        "| graph          | step | range     | blocks  | threads | registers | local | scratch "
        "| ms      | load ms |\n"
        "| -------------- | ---- | --------- | ------- | ------- | --------- | ----- | ------- "
        "| ------- | ------- |\n%s\n",
        s->kernels.at ? s->kernels.at : "");
    fprintf(to,
            "Beside the CPU: the largest difference, of the result's largest magnitude.\n\n"
            "| graph           | kernels | is       | may be   |    |\n"
            "| --------------- | ------- | -------- | -------- | -- |\n%s\n",
            s->checks.at ? s->checks.at : "");
}

static bool write_results(const char *path, const char *notes, const sheet *s, const device *d)
{
    FILE *to = fopen(path, "w"), *from = notes ? fopen(notes, "r") : NULL;
    if (!to || (notes && !from)) {
        perror(to ? notes : path);
        return false;
    }
    write_sheet(to, s, d);
    for (int c; from && (c = getc(from)) != EOF;)
        putc(c, to);
    if (from)
        fclose(from);
    return !fclose(to);
}

int run_all(const char *results, const char *notes)
{
    device d;
    sheet s = {0};
    if (!fr__cuda_count()) {
        fprintf(stderr, "ptx: no GPU: %s\n", fr__cuda_why());
        return RUN_NO_GPU;
    }
    if (!open_device(&d)) {
        fprintf(stderr, "ptx: %s\n", fr_error_message());
        return 1;
    }
    for (int g = 0; g < graph_count; g++)
        check_work(&s, &d, &graphs[g]);
    write_sheet(stdout, &s, &d);
    printf("%d graphs right, %d wrong\n", graph_count - s.wrong, s.wrong);
    bool written = !results || write_results(results, notes, &s, &d);
    fr__text_free(&s.figures);
    fr__text_free(&s.kernels);
    fr__text_free(&s.checks);
    return s.wrong || !written;
}
