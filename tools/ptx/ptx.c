/* ptx.c - the kernels of some graphs as PTX: written to files, or run on a GPU
 *
 *     ptx emit FOLDER SM...              FOLDER/GRAPH.STEP.sm_SM.ptx and FOLDER/manifest.txt
 *     ptx run [RESULTS.md [NOTES]]       every graph on the first GPU beside the CPU; the timed
 *                                        ones timed beside a copy of the same bytes
 *
 * The proof that one kernel IR serves both: what becomes machine code on the CPU becomes PTX
 * here. Exits 0 if all went well, 1 otherwise, 77 if there is no GPU to run on.
 */
#include "run.h"
#include "work.h"

#include <stdio.h>
#include <stdlib.h>

static bool write_file(const char *path, const char *text)
{
    FILE *to = fopen(path, "w");
    bool ok = to && fputs(text, to) >= 0;
    ok = to && !fclose(to) && ok;
    if (!ok)
        perror(path);
    return ok;
}

/* One line a file: file, sm, graph, number of the step, steps, name of the entry. */
static bool emit_work(const work *w, const char *folder, int sm, FILE *manifest)
{
    for (int s = 0; s < w->plan->nsteps; s++) {
        char file[200], path[1000];
        size_t bytes;
        char *ptx = fr__llvm_ptx(w->plan->steps[s].kernel->kernel, PTX_ENTRY, sm, &bytes);
        if (!ptx)
            return false;
        snprintf(file, sizeof file, "%s.%d.sm_%d.ptx", w->g->name, s, sm);
        snprintf(path, sizeof path, "%s/%s", folder, file);
        bool ok = write_file(path, ptx);
        fr__free(ptx);
        if (!ok)
            return false;
        fprintf(manifest, "%s %d %s %d %d %s\n", file, sm, w->g->name, s, w->plan->nsteps,
                PTX_ENTRY);
    }
    return true;
}

static bool emit(const char *folder, int devices, char **sm)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/manifest.txt", folder);
    FILE *manifest = fopen(path, "w");
    bool ok = true;
    if (!manifest) {
        perror(path);
        return false;
    }
    for (int g = 0; g < graph_count && ok; g++) {
        work w;
        ok = !work_open(&w, &graphs[g], false);
        for (int d = 0; d < devices && ok; d++)
            ok = emit_work(&w, folder, atoi(sm[d]), manifest);
        if (!ok)
            fprintf(stderr, "ptx: %s: %s\n", graphs[g].name, fr_error_message());
        work_close(&w);
    }
    return !fclose(manifest) && ok;
}

int main(int argc, char **argv)
{
    bool emits = argc >= 4 && !strcmp(argv[1], "emit");
    bool runs = argc >= 2 && argc <= 4 && !strcmp(argv[1], "run");
    if (!emits && !runs) {
        fprintf(stderr, "usage: ptx emit FOLDER SM...\n"
                        "       ptx run [RESULTS.md [NOTES]]\n");
        return 2;
    }
    if (!fr__llvm_ready()) {
        fprintf(stderr, "ptx: PTX needs LLVM: %s\n", fr__llvm_why());
        return 1;
    }
    if (emits)
        return emit(argv[2], argc - 3, argv + 3) ? 0 : 1;
    return run_all(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
}
