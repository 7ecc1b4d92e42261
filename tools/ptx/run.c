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
    THREADS = 256, /* of a block, unless other numbers are tried */
    MAX_STEPS = 8,
    MAX_BUFFERS = 16,
    STATIC_SHARED = 1024, /* bytes that a kernel may use itself, generously */
};

/* The driver's numbers for attributes. */
enum { DEVICE_SHARED_OPTIN = 97, DEVICE_MAJOR = 75, DEVICE_MINOR = 76, DEVICE_UNITS = 16 };
enum { FUNCTION_LOCAL = 3, FUNCTION_REGISTERS = 4 };

typedef struct device {
    char name[128], driver[64];
    int sm, units, shared, cuda;
    void *before, *after; /* events */
} device;

typedef struct launch {
    void *module, *function;
    uint64_t *words;
    gpu_pointer far_words;       /* of more than FR__PTX_WORDS of them */
    gpu_pointer scratch;         /* where shared memory is too small */
    int64_t range, blocks_limit; /* blocks_limit: that the scratch is made for; 0: any */
    uint64_t scratch_bytes;
    const fr__kernel *kernel;
    double load_ms;
} launch;

typedef struct program { /* a work on the GPU */
    int nsteps, nmade;
    launch steps[MAX_STEPS];
    gpu_pointer made[2 * MAX_BUFFERS]; /* to be freed */
    gpu_pointer out;
} program;

/* ---- a program on the device ---------------------------------------------------------- */

static gpu_pointer take(program *p, size_t bytes)
{
    gpu_pointer at = 0;
    if (p->nmade == FR__COUNT(p->made) || cuMemAlloc_v2(&at, bytes ? bytes : 1))
        return 0;
    p->made[p->nmade++] = at;
    return cuMemsetD8_v2(at, 0xff, bytes ? bytes : 1) ? 0
                                                      : at; /* NaN: nothing passes unwritten */
}

/* The whole buffer that a leaf looks at: strides may go any way from its first element. */
static bool upload_leaves(program *p, const work *w, char **to)
{
    for (int i = 0; i < w->nleaves; i++) {
        const fr_array *x = w->leaves[i];
        to[i] = NULL;
        if (!x->buf) /* no elements */
            continue;
        gpu_pointer at = take(p, x->buf->bytes);
        if (!at || cuMemcpyHtoD_v2(at, x->buf->data, x->buf->bytes))
            return false;
        to[i] = (char *)(uintptr_t)at + (x->data - (char *)x->buf->data);
    }
    return true;
}

static bool place_stored(program *p, const fr__plan *plan, char **to)
{
    gpu_pointer temporary = take(p, plan->temporary);
    for (int i = 0; i < plan->nstored; i++) {
        const fr__stored *s = &plan->stored[i];
        gpu_pointer at = s->output < 0 ? temporary + s->place : take(p, s->bytes);
        if (!at || !temporary)
            return false;
        to[i] = (char *)(uintptr_t)at;
        if (i == plan->outs[0].stored)
            p->out = at + (gpu_pointer)plan->outs[0].offset;
    }
    return true;
}

static bool load_kernel(launch *l, const device *d)
{
    size_t bytes;
    char *ptx = fr__llvm_ptx(l->kernel, PTX_ENTRY, d->sm, &bytes);
    if (!ptx)
        return false;
    double start = fr__now();
    bool ok = !cuModuleLoadData(&l->module, ptx) &&
              !cuModuleGetFunction(&l->function, l->module, PTX_ENTRY);
    l->load_ms = 1e3 * (fr__now() - start);
    fr__free(ptx);
    return ok;
}

static bool load_step(program *p, const work *w, const device *d, int i, char **leaves,
                      char **stored)
{
    const fr__step *s = &w->plan->steps[i];
    launch *l = &p->steps[i];
    *l = (launch){.kernel = s->kernel->kernel, .range = s->range};
    l->words = calloc((size_t)s->nwords + 1, sizeof *l->words);
    if (!l->words || !load_kernel(l, d))
        return false;
    fr__step_words(w->plan, s, leaves, w->trace.literals.at, stored, l->words);
    if (s->nwords > FR__PTX_WORDS) {
        size_t bytes = sizeof *l->words * (size_t)s->nwords;
        l->far_words = take(p, bytes);
        if (!l->far_words || cuMemcpyHtoD_v2(l->far_words, l->words, bytes))
            return false;
    }
    l->scratch_bytes = (s->scratch + 127) & ~(uint64_t)127;
    if (l->scratch_bytes + STATIC_SHARED > (uint64_t)d->shared) {
        l->blocks_limit = 4 * (int64_t)d->units;
        l->scratch = take(p, l->scratch_bytes * (size_t)l->blocks_limit);
        return l->scratch;
    }
    return true;
}

static bool load_program(program *p, const work *w, const device *d)
{
    char *leaves[MAX_BUFFERS], *stored[MAX_BUFFERS];
    *p = (program){.nsteps = w->plan->nsteps};
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
        if (p->steps[i].module)
            cuModuleUnload(p->steps[i].module);
    }
    for (int i = 0; i < p->nmade; i++)
        cuMemFree_v2(p->made[i]);
}

static bool launch_step(const launch *l, int threads)
{
    int64_t per_block = fr__ptx_per_block(l->kernel, threads);
    int64_t blocks = (l->range + per_block - 1) / per_block;
    if (l->blocks_limit && blocks > l->blocks_limit)
        blocks = l->blocks_limit;
    blocks = blocks > INT32_MAX ? INT32_MAX : blocks;
    const uint64_t *words = l->far_words ? (const uint64_t *)&l->far_words : l->words;
    return gpu_launch(l->function, words, 0, l->range, l->scratch, l->scratch_bytes, blocks,
                      threads);
}

/* ---- times ---------------------------------------------------------------------------- */

typedef struct task { /* what is timed: steps [from, to) of a program, or a copy */
    const program *p;
    int from, to, threads;
    gpu_pointer copy_to, copy_from;
    size_t bytes;
} task;

static bool start_task(const task *t)
{
    for (int i = t->from; i < t->to; i++)
        if (!launch_step(&t->p->steps[i], t->threads))
            return false;
    return !t->bytes || !cuMemcpyDtoDAsync_v2(t->copy_to, t->copy_from, t->bytes, NULL);
}

static int by_value(const void *x, const void *y)
{
    float a = *(const float *)x, b = *(const float *)y;
    return a < b ? -1 : a > b;
}

/* Median of milliseconds on the GPU; negative: it failed. */
static double median_ms(const device *d, const task *t)
{
    float ms[REPEATS];
    for (int i = -WARM_UP; i < REPEATS; i++) {
        if (cuEventRecord(d->before, NULL) || !start_task(t) || cuEventRecord(d->after, NULL) ||
            cuEventSynchronize(d->after))
            return -1;
        if (i >= 0 && cuEventElapsedTime(&ms[i], d->before, d->after))
            return -1;
    }
    qsort(ms, REPEATS, sizeof *ms, by_value);
    return ((double)ms[REPEATS / 2 - 1] + (double)ms[REPEATS / 2]) / 2;
}

/* A copy that reads and writes `moved` bytes in all. */
static double copy_ms(const device *d, size_t moved)
{
    program p = {0};
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
    if (!host || cuMemcpyDtoH_v2(host, p->out, bytes)) {
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

static const int tried[] = {128, 256, 512, 1024};

static bool time_work(sheet *to, const device *d, const work *w, const program *p)
{
    char shape[100];
    size_t moved = fr_nbytes(w->out);
    for (int i = 0; i < w->g->inputs; i++)
        moved += fr_nbytes(w->in[i]);
    task all = {.p = p, .to = p->nsteps, .threads = THREADS};
    double ms = median_ms(d, &all), copy = copy_ms(d, moved), best = ms;
    int best_threads = THREADS;
    if (ms < 0 || copy < 0)
        return false;
    for (int i = 0; i < FR__COUNT(tried); i++) {
        task other = {.p = p, .to = p->nsteps, .threads = tried[i]};
        double t = median_ms(d, &other);
        if (t > 0 && t < best) {
            best = t;
            best_threads = tried[i];
        }
    }
    shape_text(w->g, shape, sizeof shape);
    fr__text_f(&to->figures,
               "| %-14s | %-22s | %7d | %7.4f | %5.0f | %7.4f | %5.2f | %7.4f (%4d) |\n",
               w->g->name, shape, p->nsteps, ms, (double)moved / ms * 1e-6, copy, copy / ms,
               best, best_threads);
    for (int i = 0; i < p->nsteps; i++) {
        const launch *l = &p->steps[i];
        task one = {.p = p, .from = i, .to = i + 1, .threads = THREADS};
        int registers = 0, local = 0;
        cuFuncGetAttribute(&registers, FUNCTION_REGISTERS, l->function);
        cuFuncGetAttribute(&local, FUNCTION_LOCAL, l->function);
        int64_t each = fr__ptx_per_block(l->kernel, THREADS);
        fr__text_f(&to->kernels,
                   "| %-14s | %4d | %9lld | %7lld | %9d | %5d | %7llu | %7.4f | %6.1f |\n",
                   w->g->name, i, (long long)l->range,
                   (long long)((l->range + each - 1) / each), registers, local,
                   (unsigned long long)l->scratch_bytes, median_ms(d, &one), l->load_ms);
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
        if (!launch_step(&p.steps[i], THREADS))
            problem = "a kernel did not start";
    if (!problem && cuCtxSynchronize())
        problem = "a kernel failed";
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
    int major = 0, minor = 0;
    *d = (device){0};
    bool ok = !cuDeviceGetName(d->name, sizeof d->name, 0) &&
              !cuDeviceGetAttribute(&major, DEVICE_MAJOR, 0) &&
              !cuDeviceGetAttribute(&minor, DEVICE_MINOR, 0) &&
              !cuDeviceGetAttribute(&d->units, DEVICE_UNITS, 0) &&
              !cuDeviceGetAttribute(&d->shared, DEVICE_SHARED_OPTIN, 0) &&
              !cuDriverGetVersion(&d->cuda) && !cuEventCreate(&d->before, 0) &&
              !cuEventCreate(&d->after, 0);
    d->sm = 10 * major + minor;
    driver_version(d->driver, sizeof d->driver);
    return ok;
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
        d->name, d->sm / 10, d->sm % 10, d->units, d->driver, d->cuda / 1000,
        d->cuda % 1000 / 10, fr__llvm_version(), fr_version(), date);
    fprintf(
        to,
        "Times are medians of %d, by events on the GPU, with %d threads a block; GB/s count "
        "each\n"
        "input and the output once; the copy is the driver's, device to device, reading and\n"
        "writing as many bytes in all. Last: the fastest of 128, 256, 512 and 1024 threads.\n\n"
        "| graph          | first input            | kernels | ms      | GB/s  | copy ms | "
        "share | best ms (threads) |\n"
        "| -------------- | ---------------------- | ------- | ------- | ----- | ------- | "
        "----- | ----------------- |\n%s\n",
        REPEATS, THREADS, s->figures.at ? s->figures.at : "");
    fprintf(
        to,
        "Each kernel: its range, blocks, registers and local bytes a thread, scratch bytes in\n"
        "shared memory, time, and what the driver took to load its PTX.\n\n"
        "| graph          | step | range     | blocks  | registers | local | scratch | ms      "
        "| load ms |\n"
        "| -------------- | ---- | --------- | ------- | --------- | ----- | ------- | ------- "
        "| ------- |\n%s\n",
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
    if (!gpu_ready()) {
        fprintf(stderr, "ptx: no GPU\n");
        return RUN_NO_GPU;
    }
    if (!open_device(&d)) {
        fprintf(stderr, "ptx: the GPU does not say what it is\n");
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
