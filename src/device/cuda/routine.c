/* routine.c (cuda) - the PTX of routines that were written in C, unpacked and loaded once a device
 *
 * A module is loaded when the first of its entries is asked for, or before: what a program will want is
 * collected by a run that starts nothing, then compiled by several threads.
 */
#include "device/cuda/routine.h"

#include "device/cuda/gpu.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#ifdef FR_ZLIB
#include <zlib.h>
#endif

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Woverlength-strings"
#endif
#include "device/cuda/routines_ptx.h"

typedef struct loaded {
    char name[48]; /* of the entry; "": the module itself */
    fr__gpu *gpu;
    int module;
    fr__gpu_code *code;
} loaded;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FR__VEC(loaded *) all;

char *(*fr__gpu_routine_image)(fr__gpu *g, const char *text, size_t *bytes);

/* ---- what would be wanted --------------------------------------------------------------- */

static _Thread_local fr__gpu_modules *collecting;

void fr__gpu_collect(fr__gpu_modules *to) { collecting = to; }

static fr__gpu_code *collect(int module)
{
    for (int i = 0; i < collecting->n; i++)
        if (collecting->at[i] == module)
            return fr__gpu_no_code();
    if (collecting->n < FR__COUNT(collecting->at))
        collecting->at[collecting->n++] = module;
    return fr__gpu_no_code();
}

/* ---- texts ----------------------------------------------------------------------------- */

#ifdef FR_ZLIB
static unsigned digit(char c)
{
    return c >= 'a'   ? (unsigned)(c - 'a') + 26
           : c >= 'A' ? (unsigned)(c - 'A')
           : c >= '0' ? (unsigned)(c - '0') + 52
           : c == '+' ? 62
                      : 63;
}

/* Of base64, in groups of four. How many bytes. */
static size_t decode(const char *from, unsigned char *to)
{
    unsigned char *begin = to;
    for (; *from; from += 4, to += 3) {
        unsigned x =
            digit(from[0]) << 18 | digit(from[1]) << 12 | digit(from[2]) << 6 | digit(from[3]);
        to[0] = (unsigned char)(x >> 16);
        to[1] = (unsigned char)(x >> 8);
        to[2] = (unsigned char)x;
    }
    return (size_t)(to - begin) - (to > begin && from[-1] == '=') -
           (to > begin && from[-2] == '=');
}

/* The text of a module, fr__malloc'ed. */
static char *unpack(int module)
{
    const char *packed = routines_ptx[module].packed;
    uLongf bytes = routines_ptx[module].bytes;
    char *text = fr__malloc(bytes + 1);
    unsigned char *bits = fr__malloc(strlen(packed) / 4 * 3 + 1);
    int bad = !text || !bits;
    if (!bad) {
        uLong n = (uLong)decode(packed, bits);
        int status = uncompress((Bytef *)text, &bytes, bits, n);
        bad = status != Z_OK || bytes != routines_ptx[module].bytes;
        if (bad)
            fr__fail(status == Z_MEM_ERROR ? FR__E_MEMORY : FR__E_INTERNAL,
                     "the routines %s for GPUs can't be unpacked (zlib: %d)",
                     routines_ptx[module].name, status);
    }
    fr__free(bits);
    if (bad) {
        fr__free(text);
        return NULL;
    }
    text[bytes] = 0;
    return text;
}
#else
static char *unpack(int module)
{
    return fr__fail(FR__E_DEVICE,
                    "the routines %s for GPUs are packed, and this build has no zlib to unpack "
                    "them: build it where zlib's header is (zlib1g-dev)",
                    routines_ptx[module].name);
}
#endif

/* ---- modules, entries -------------------------------------------------------------------- */

static int find_module(const char *name)
{
    for (int m = 0; m < FR__COUNT(routines_ptx); m++)
        if (!strcmp(routines_ptx[m].name, name))
            return m;
    return fr__fail_int(FR__E_INTERNAL, "no routine '%s' for GPUs", name);
}

/* Locked. */
static loaded *find(fr__gpu *g, int module, const char *name)
{
    for (int i = 0; i < all.n; i++)
        if (all.at[i]->gpu == g && all.at[i]->module == module &&
            !strcmp(all.at[i]->name, name))
            return all.at[i];
    return NULL;
}

/* Locked. Takes the code over. */
static loaded *add(fr__gpu *g, int module, const char *name, fr__gpu_code *code)
{
    loaded *l = code ? fr__calloc(1, sizeof *l) : NULL;
    if (l) {
        *l = (loaded){.gpu = g, .module = module, .code = code};
        snprintf(l->name, sizeof l->name, "%s", name);
        if (!fr__vec_push(&all, l))
            return l;
    }
    fr__gpu_unload(code);
    fr__free(l);
    return NULL;
}

static bool is_loaded(fr__gpu *g, int module)
{
    pthread_mutex_lock(&lock);
    bool is = find(g, module, "") != NULL;
    pthread_mutex_unlock(&lock);
    return is;
}

int fr__gpu_routine_load(fr__gpu *g, int module)
{
    if (is_loaded(g, module))
        return 0;
    char *text = unpack(module);
    if (!text)
        return -1;
    size_t bytes = strlen(text) + 1;
    char *image = fr__gpu_routine_image ? fr__gpu_routine_image(g, text, &bytes) : NULL;
    fr__gpu_code *code =
        fr__failed() ? NULL : fr__gpu_load(g, image ? image : text, bytes, NULL);
    fr__free(image);
    fr__free(text);
    pthread_mutex_lock(&lock);
    int status = 0;
    if (code && find(g, module, "")) /* another thread was faster */
        fr__gpu_unload(code);
    else
        status = add(g, module, "", code) ? 0 : -1;
    pthread_mutex_unlock(&lock);
    return status;
}

fr__gpu_code *fr__gpu_routine(fr__gpu *g, const char *module, const char *entry,
                              const char **name)
{
    char text[sizeof((loaded *)0)->name];
    int m = find_module(module);
    *name = NULL;
    if (m >= 0 && collecting)
        return collect(m);
    if (m < 0 || fr__gpu_routine_load(g, m))
        return NULL;
    snprintf(text, sizeof text, "%s_%s", module, entry);
    pthread_mutex_lock(&lock);
    loaded *l = find(g, m, text);
    l = l ? l : add(g, m, text, fr__gpu_load_also(find(g, m, "")->code, text));
    pthread_mutex_unlock(&lock);
    *name = l ? l->name : NULL;
    return l ? l->code : NULL;
}
