/* library.c - opens a library of NVIDIA's and finds its functions
 *
 * needs   its names, and the driver
 * gives   a filled table, or why not
 */
#include "device/cuda/library.h"

#include "device/cuda/driver.h"

#include <dlfcn.h>
#include <stdio.h>

static void *open_file(fr__library *l)
{
    const char *path = fr__env(l->setting);
    void *file = NULL;
    if (path && !strcmp(path, "off")) {
        snprintf(l->why, sizeof l->why, "switched off by FERRULE_%s", l->setting);
        return NULL;
    }
    if (path && *path)
        file = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    else
        for (int i = 0; !file && l->known[i]; i++)
            file = dlopen(l->known[i], RTLD_LAZY | RTLD_LOCAL);
    if (!file)
        snprintf(l->why, sizeof l->why, "no %s: %s", l->title, dlerror());
    return file;
}

void fr__library_open(fr__library *l)
{
    if (!fr__cuda_ready()) {
        snprintf(l->why, sizeof l->why, "no GPU");
        return;
    }
    void *file = open_file(l);
    if (!file)
        return;
    for (int i = 0; i < l->n; i++) {
        void *symbol = dlsym(file, l->entries[i].name);
        if (!symbol) {
            snprintf(l->why, sizeof l->why, "%s has no %s", l->title, l->entries[i].name);
            return;
        }
        memcpy((char *)l->functions + l->entries[i].offset, &symbol, sizeof symbol);
    }
    snprintf(l->why, sizeof l->why, "%s %zu", l->title, (*l->version)());
    l->ready = true;
}
