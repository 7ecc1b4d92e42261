/* routine.c (cuda) - the PTX of routines that were written in C, loaded once a device
 *
 * A module is compiled by the driver when the first of its entries is asked for, some tenths of a
 * second at most; the driver keeps what it made on disk.
 */
#include "device/cuda/routine.h"

#include "device/cuda/gpu.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Woverlength-strings"
#endif
#include "device/cuda/routines_ptx.h"

typedef struct loaded {
    char name[48]; /* of the entry */
    fr__gpu *gpu;
    int module;
    bool also; /* not the first entry of its module */
    fr__gpu_code *code;
} loaded;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FR__VEC(loaded *) all;

static loaded *find(fr__gpu *g, const char *name)
{
    for (int i = 0; i < all.n; i++)
        if (all.at[i]->gpu == g && !strcmp(all.at[i]->name, name))
            return all.at[i];
    return NULL;
}

static fr__gpu_code *load(fr__gpu *g, int module, const char *entry, bool *also)
{
    *also = true;
    for (int i = 0; i < all.n; i++)
        if (all.at[i]->gpu == g && all.at[i]->module == module && !all.at[i]->also)
            return fr__gpu_load_also(all.at[i]->code, entry);
    const char *text = routines_ptx[module].text;
    *also = false;
    return fr__gpu_load(g, text, strlen(text) + 1, entry);
}

static loaded *add(fr__gpu *g, const char *module, const char *name)
{
    for (int m = 0; m < FR__COUNT(routines_ptx); m++) {
        if (strcmp(routines_ptx[m].name, module))
            continue;
        loaded *l = fr__calloc(1, sizeof *l);
        if (!l)
            return NULL;
        l->gpu = g;
        l->module = m;
        snprintf(l->name, sizeof l->name, "%s", name);
        if ((l->code = load(g, m, name, &l->also)) && !fr__vec_push(&all, l))
            return l;
        fr__gpu_unload(l->code);
        fr__free(l);
        return NULL;
    }
    fr__fail(FR__E_INTERNAL, "no routine '%s' for GPUs", module);
    return NULL;
}

fr__gpu_code *fr__gpu_routine(fr__gpu *g, const char *module, const char *entry,
                              const char **name)
{
    char text[sizeof((loaded *)0)->name];
    snprintf(text, sizeof text, "%s_%s", module, entry);
    pthread_mutex_lock(&lock);
    loaded *l = find(g, text);
    l = l ? l : add(g, module, text);
    pthread_mutex_unlock(&lock);
    *name = l ? l->name : NULL;
    return l ? l->code : NULL;
}
