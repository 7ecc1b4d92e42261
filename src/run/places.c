/* places.c - where a plan's temporaries lie
 *
 * needs   steps with their patches
 * gives   for each temporary a place in one block, by its lifetime; and another in the buffers of results
 *         that aren't there yet, or a smaller block
 *
 * What is made element by element of a temporary that nobody reads later has its memory. The second
 * layout is for runs in which all results have buffers that are new.
 */
#include "core/place.h"
#include "run/plan.h"

#include <stdlib.h>

/* On a GPU steps run side by side: so many more, and what they touch isn't used again at once. */
enum { MORE = 8 };

typedef struct {
    int stored, from, to; /* steps that touch it first and last */
    int tail;             /* of those that have its memory one after the other, the last */
} lifetime;

/* ---- one in place of another -------------------------------------------------------------- */

/* Of temporary i, whose memory it gets: base[i], itself if it has its own. */
static void find_bases(const fr__plan *p, const lifetime *life, int32_t *base, bool *taken)
{
    for (int i = 0; i < p->nstored; i++) {
        int at = life[i].from;
        base[i] = i;
        if (p->stored[i].output >= 0 || at < 0 || !p->steps[at].kernel ||
            p->steps[at].together != 1 || p->place != FR__HOST)
            continue;
        const fr__step *s = &p->steps[at];
        for (int j = 0; j < s->npatches && base[i] == i; j++) {
            int a = s->patches[j].index;
            bool ends = !s->patches[j].is_leaf && a != i && p->stored[a].output < 0 &&
                        life[a].from < at && life[a].to == at && !taken[a] &&
                        !fr__strip_reads(p, at, false, a);
            if (ends && p->stored[a].bytes == p->stored[i].bytes &&
                fr__in_place(s, false, a, i, p->stored[i].bytes)) {
                base[i] = a;
                taken[a] = true;
            }
        }
    }
}

/* Lifetimes of those that have memory of their own, for all that have it after them. */
static int join_lives(const fr__plan *p, lifetime *life, int32_t *base, lifetime *joined)
{
    int n = 0;
    for (int i = 0; i < p->nstored;
         i++) { /* base[i] is made before i, but may have a greater number */
        int first = i;
        while (base[first] != first)
            first = base[first];
        for (int at = i, next; at != first; at = next) {
            next = base[at];
            base[at] = first;
        }
    }
    for (int i = 0; i < p->nstored; i++)
        if (p->stored[i].output < 0 && base[i] == i) {
            life[i].tail = n; /* where it is among the joined, for now */
            joined[n] = life[i];
            joined[n++].tail = i;
        }
    for (int i = 0; i < p->nstored; i++) {
        lifetime *x = p->stored[i].output < 0 ? &joined[life[base[i]].tail] : NULL;
        if (x && life[i].to > x->to) {
            x->to = life[i].to;
            x->tail = i;
        }
    }
    return n;
}

/* ---- few: largest first, each where it fits ------------------------------------------------- */

static int by_size(const void *x, const void *y, void *plan)
{
    const fr__stored *s = ((fr__plan *)plan)->stored;
    size_t a = s[((const lifetime *)x)->stored].bytes,
           b = s[((const lifetime *)y)->stored].bytes;
    return a < b   ? 1
           : a > b ? -1
                   : ((const lifetime *)x)->stored - ((const lifetime *)y)->stored;
}

static size_t room_for(size_t bytes) { return (bytes + 127) & ~(size_t)63; }

/* Below or between those that live at the same time in the block, or in the buffer of `host`. inside:
 * of the second layout. */
static size_t first_fit(const fr__plan *p, const lifetime *life, int i, bool inside, int host)
{
    size_t bytes = room_for(p->stored[life[i].stored].bytes), place = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int j = 0; j < i; j++) {
            const fr__stored *o = &p->stored[life[j].stored];
            size_t at = inside ? o->inside : o->place, end = at + room_for(o->bytes);
            if ((inside && o->host != host) || life[j].from > life[i].to ||
                life[i].from > life[j].to || place >= end || at >= place + bytes)
                continue;
            place = end;
            moved = true;
        }
    }
    return place;
}

/* The buffer of a result in which temporary i fits before the result is made, and where; -1: none. */
static int find_host(const fr__plan *p, const lifetime *life, int i, const lifetime *all,
                     size_t *place)
{
    size_t bytes = p->stored[life[i].stored].bytes;
    for (int h = 0; h < p->nstored; h++) {
        const fr__stored *x = &p->stored[h];
        int at = all[h].from;
        if (x->output < 0 || at < 0 || at < life[i].to || x->bytes < bytes)
            continue;
        *place = first_fit(p, life, i, true, h);
        if (at == life[i].to ? !*place && x->bytes == bytes && p->steps[at].kernel &&
                                   p->steps[at].together == 1 &&
                                   !fr__strip_reads(p, at, false, life[i].tail) &&
                                   fr__in_place(&p->steps[at], false, life[i].tail, h, bytes)
                             : *place + room_for(bytes) <= room_for(x->bytes))
            return h;
    }
    return -1;
}

/* Each has two places: in the one layout, and in the other. */
static void place_by_size(fr__plan *p, lifetime *life, int n, const lifetime *all)
{
    qsort_r(life, (size_t)n, sizeof *life, by_size, p);
    for (int i = 0; i < n; i++) {
        fr__stored *s = &p->stored[life[i].stored];
        size_t bytes = room_for(s->bytes);
        s->place = first_fit(p, life, i, false, -1);
        p->temporary = s->place + bytes > p->temporary ? s->place + bytes : p->temporary;
        s->host = p->place == FR__HOST ? find_host(p, life, i, all, &s->inside) : -1;
        if (s->host >= 0)
            continue;
        s->inside = first_fit(p, life, i, true, -1);
        p->beside = s->inside + bytes > p->beside ? s->inside + bytes : p->beside;
    }
}

/* ---- many: in the order of time ---------------------------------------------------------------- */

static int by_end(const void *x, const void *y)
{
    const lifetime *a = x, *b = y;
    return a->to != b->to ? (a->to < b->to ? -1 : 1) : a->stored - b->stored;
}

static int by_begin(const void *x, const void *y)
{
    const lifetime *a = x, *b = y;
    return a->from != b->from ? (a->from < b->from ? -1 : 1) : a->stored - b->stored;
}

/* Classes of sizes, eight to each power of two. *bytes becomes that of the class. */
static int size_class(size_t *bytes)
{
    size_t units = *bytes / 64;
    if (units < 8)
        return (int)units;
    int shift = 60 - __builtin_clzll(units);
    units = (units + ((size_t)1 << shift) - 1) >> shift; /* 8 to 16 */
    *bytes = (units << shift) * 64;
    return shift * 8 + (int)units;
}

/* Each has a place of its size that is free again, or one on top. */
static int place_by_time(fr__plan *p, lifetime *life, int n)
{
    enum { CLASSES = 512, LARGER = 8 };
    struct block {
        int class, next;
    } *blocks = fr__malloc(sizeof *blocks * (size_t)(p->nstored + 1));
    lifetime *ends = fr__malloc(sizeof *ends * (size_t)(n + 1));
    int free_of[CLASSES + LARGER + 1];
    if (!blocks || !ends) {
        fr__free(blocks);
        fr__free(ends);
        return -1;
    }
    memset(free_of, -1, sizeof free_of);
    memcpy(ends, life, sizeof *ends * (size_t)n);
    qsort(life, (size_t)n, sizeof *life, by_begin);
    qsort(ends, (size_t)n, sizeof *ends, by_end);
    for (int i = 0, ended = 0; i < n; i++) {
        for (; ends[ended].to < life[i].from; ended++) { /* never past i itself */
            struct block *b = &blocks[ends[ended].stored];
            b->next = free_of[b->class];
            free_of[b->class] = ends[ended].stored;
        }
        fr__stored *s = &p->stored[life[i].stored];
        size_t bytes = room_for(s->bytes);
        int class = size_class(&bytes), last = class + LARGER;
        while (class < last && free_of[class] < 0)
            class ++;
        int from = free_of[class];
        if (from >= 0) {
            free_of[class] = blocks[from].next;
            s->place = p->stored[from].place;
        } else {
            class = last - LARGER;
            s->place = p->temporary;
            p->temporary += bytes;
        }
        s->inside = s->place;
        s->host = -1;
        blocks[life[i].stored].class = class;
    }
    p->beside = p->temporary;
    fr__free(blocks);
    fr__free(ends);
    return 0;
}

int fr__plan_places(fr__plan *p)
{
    enum { FEW = 256 };
    size_t count = (size_t)p->nstored + 1;
    lifetime *life = fr__malloc(2 * sizeof *life * count);
    int32_t *base = fr__malloc((sizeof *base + sizeof(bool)) * count);
    if (!life || !base) {
        fr__free(life);
        fr__free(base);
        return -1;
    }
    bool *taken = memset(base + count, 0, sizeof *taken * count);
    lifetime *own = life + count;
    for (int i = 0; i < p->nstored; i++)
        life[i] = (lifetime){i, -1, -1, i};
    int more = p->place == FR__HOST ? 0 : MORE;
    for (int k = 0, first = 0, last = -1; k < p->nsteps; k++) {
        if (k > last) { /* those of one launch are at the same time */
            first = k;
            last = p->steps[k].together > 1 ? k + p->steps[k].together - 1 : k;
        }
        int end =
            last; /* of its launch: while the product runs that packs it, the kernel after */
        for (; p->steps[end].made; end++)
            ;
        end += end + 1 < p->nsteps && p->steps[end + 1].strip;
        for (int j = 0; j < p->steps[k].npatches; j++) {
            const fr__patch *q = &p->steps[k].patches[j];
            if (q->is_leaf)
                continue;
            if (life[q->index].from < 0)
                life[q->index].from = first;
            life[q->index].to = end + more;
        }
    }
    find_bases(p, life, base, taken);
    int n = join_lives(p, life, base, own), status = 0;
    if (n <= FEW)
        place_by_size(p, own, n, life);
    else
        status = place_by_time(p, own, n);
    for (int i = 0; i < p->nstored; i++)
        if (base[i] != i) {
            const fr__stored *s = &p->stored[base[i]];
            p->stored[i].place = s->place;
            p->stored[i].inside = s->inside;
            p->stored[i].host = s->host;
        }
    fr__free(life);
    fr__free(base);
    return status;
}
