/* test_base.c - errors, memory and failures on purpose, arenas, text, hashes, maps, settings */
#define _GNU_SOURCE
#include "base/base.h"
#include "base/lru.h"
#include "test.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- errors ------------------------------------------------------------------------------- */

TEST(first_error_stays)
{
    CHECK(!fr__failed());
    CHECK_STR(fr__error_text(), "");
    CHECK(fr__fail(FR__E_VALUE, "axis %d", 3) == NULL);
    CHECK(fr__fail_int(FR__E_TYPE, "another") == -1);
    CHECK_EQ(fr__error_now, FR__E_VALUE);
    CHECK_STR(fr__error_text(), "axis 3");
    fr__error_context("sum of %s", "x");
    CHECK_STR(fr__error_text(), "sum of x: axis 3");
    fr__error_clear();
    CHECK(!fr__failed());
    CHECK_STR(fr__error_text(), "");
    fr__error_context("nothing to decorate");
    CHECK(!fr__failed());
}

TEST(long_errors_are_cut)
{
    char long_text[3000];
    memset(long_text, 'a', sizeof long_text);
    long_text[sizeof long_text - 1] = 0;
    fr__fail(FR__E_IO, "%s", long_text);
    CHECK_EQ(strlen(fr__error_text()), 1023);
    CHECK_STR(fr__error_text() + 1020, "...");
    fr__error_context("at");
    CHECK(!strncmp(fr__error_text(), "at: aaa", 7));
    CHECK_STR(fr__error_text() + 1020, "...");
    fr__error_clear();
    for (int shift = 0; shift < 3; shift++) { /* no half of a character before the dots */
        char text[1200];
        memset(text, 'x', (size_t)shift);
        for (int i = shift; i + 3 < 1190; i += 3)
            memcpy(text + i, "\xe2\x82\xac\0", 4);
        fr__fail(FR__E_IO, "%s", text);
        const char *t = fr__error_text();
        size_t n = strlen(t);
        CHECK_STR(t + n - 3, "...");
        CHECK_EQ((n - 3 - (size_t)shift) % 3, 0);
        fr__error_clear();
    }
}

TEST(errors_save_and_restore)
{
    fr__saved_error saved;
    fr__fail(FR__E_LIMIT, "the cause");
    fr__error_save(&saved);
    CHECK(!fr__failed());
    fr__fail(FR__E_IO, "of the cleanup");
    fr__error_restore(&saved);
    CHECK_EQ(fr__error_now, FR__E_LIMIT);
    CHECK_STR(fr__error_text(), "the cause");
    fr__error_clear();
    fr__error_save(&saved);
    fr__fail(FR__E_IO, "of the cleanup");
    fr__error_restore(&saved);
    CHECK(!fr__failed());
}

static void *other_thread(void *unused)
{
    (void)unused;
    EXPECT(!fr__failed());
    fr__fail(FR__E_IO, "elsewhere");
    return NULL;
}

TEST(errors_are_per_thread)
{
    fr__fail(FR__E_VALUE, "here");
    pthread_t t;
    pthread_create(&t, NULL, other_thread, NULL);
    pthread_join(t, NULL);
    CHECK_STR(fr__error_text(), "here");
    fr__error_clear();
}

/* ---- memory ------------------------------------------------------------------------------- */

TEST(memory)
{
    char *p = fr__malloc(0);
    CHECK(p != NULL);
    fr__free(p);
    fr__free(NULL);
    p = fr__calloc(10, 3);
    for (int i = 0; i < 30; i++)
        CHECK_EQ(p[i], 0);
    p = fr__realloc(p, 1000);
    CHECK(p && p[29] == 0);
    fr__free(p);
    p = fr__strdup("ferrule");
    CHECK_STR(p, "ferrule");
    fr__free(p);
    p = fr__memdup(NULL, 0);
    CHECK(p != NULL);
    fr__free(p);
    volatile size_t absurd = SIZE_MAX - 10;
    CHECK(!fr__malloc(absurd));
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__error_clear();
    CHECK(!fr__calloc(absurd / 2, 4));
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__error_clear();
    CHECK(!fr__realloc(NULL, absurd));
    fr__error_clear();
}

TEST(faults)
{
    fr__fault_set(3);
    void *a = fr__malloc(1), *b = fr__malloc(1), *c = fr__malloc(1), *d = fr__malloc(1);
    CHECK(a && b && !c && d);
    CHECK_EQ(fr__fault_count(), 4);
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__error_clear();
    fr__fault_set(1);
    CHECK(!fr__realloc(a, 100)); /* a stays */
    fr__error_clear();
    fr__fault_set(-1);
    fr__free(fr__malloc(1));
    CHECK_EQ(fr__fault_count(), 1);
    fr__fault_set(0);
    fr__free(fr__malloc(1));
    CHECK_EQ(fr__fault_count(), 0);
    fr__free(a), fr__free(b), fr__free(d);
    CHECK(!fr__failed());
}

TEST(growing_arrays)
{
    FR__VEC(int) v = {0};
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(fr__vec_push(&v, i * i), 0);
    CHECK_EQ(v.n, 1000);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(v.at[i], i * i);
    fr__fault_set(1);
    CHECK_EQ(fr__vec_reserve(&v, 100000), -1);
    fr__fault_set(0);
    fr__error_clear();
    CHECK_EQ(v.n, 1000);
    CHECK_EQ(v.at[999], 999 * 999);
    CHECK_EQ(fr__vec_reserve(&v, INT_MAX), -1);
    CHECK_EQ(fr__error_now, FR__E_LIMIT);
    fr__error_clear();
    fr__vec_free(&v);
    CHECK(v.at == NULL && v.room == 0);
}

/* ---- arenas --------------------------------------------------------------------------------- */

TEST(arenas)
{
    fr__arena a = {0};
    for (int round = 0; round < 3; round++) {
        char *last = NULL;
        for (size_t i = 0; i < 3000; i++) {
            size_t bytes = i % 97 == 0 ? 10000 : i % 50;
            char *p = fr__arena_alloc(&a, bytes);
            CHECK(p && (uintptr_t)p % 16 == 0 && p != last);
            memset(p, (int)i, bytes);
            last = p;
        }
        CHECK_STR(fr__arena_printf(&a, "%d of %s", 7, "nine"), "7 of nine");
        char *z = fr__arena_zalloc(&a, 5000);
        for (int i = 0; i < 5000; i++)
            CHECK_EQ(z[i], 0);
        CHECK(fr__arena_alloc(&a, 5 << 20) != NULL); /* larger than any block */
        fr__arena_reset(&a);
    }
    CHECK(!fr__arena_alloc(&a, SIZE_MAX - 8));
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__error_clear();
    fr__arena_free(&a);
    CHECK(!a.block);
    fr__arena_reset(&a);
    fr__fault_set(1);
    CHECK(!fr__arena_alloc(&a, 10));
    fr__fault_set(0);
    fr__error_clear();
    CHECK(fr__arena_alloc(&a, 0) != NULL);
    fr__arena_free(&a);
    fr__arena_free(&a);
}

/* ---- text ----------------------------------------------------------------------------------- */

TEST(text)
{
    fr__text t = {0};
    fr__text_add(&t, "");
    CHECK_STR(t.at, "");
    fr__text_add(&t, "x=");
    fr__text_int(&t, INT64_MIN);
    fr__text_char(&t, ',');
    fr__text_int(&t, 0);
    fr__text_char(&t, ',');
    fr__text_int(&t, INT64_MAX);
    fr__text_f(&t, ",%s", "f");
    fr__text_addn(&t, "abcdef", 2);
    CHECK_STR(t.at, "x=-9223372036854775808,0,9223372036854775807,fab");
    CHECK_EQ(t.n, strlen(t.at));
    fr__text_free(&t);
    for (int i = 0; i < 2000; i++)
        fr__text_f(&t, "%0*d", i % 130 + 1, i);
    size_t n = 0;
    for (int i = 0; i < 2000; i++)
        n += (size_t)snprintf(NULL, 0, "%0*d", i % 130 + 1, i);
    CHECK_EQ(t.n, n);
    CHECK_EQ(strlen(t.at), n);
    fr__text_free(&t);
}

TEST(text_without_memory)
{
    fr__text t = {0};
    fr__text_add(&t, "kept");
    fr__fault_set(1);
    fr__text_f(&t, "%0200d", 1);
    fr__fault_set(0);
    CHECK(t.failed);
    fr__text_add(&t, "dropped");
    CHECK_STR(t.at, "kept");
    CHECK_EQ(t.n, 4);
    CHECK_EQ(fr__error_now, FR__E_MEMORY);
    fr__error_clear();
    fr__text_free(&t);
    fr__fault_set(1);
    fr__text_f(&t, "%d", 1);
    fr__fault_set(0);
    CHECK(t.failed && !t.at && t.n == 0);
    fr__error_clear();
    fr__text_free(&t);
    CHECK(!t.failed);
}

/* ---- hashes --------------------------------------------------------------------------------- */

TEST(hash_bits)
{
    /* every length, wherever it lies; each bit of the key moves about half of the hash */
    unsigned char buffer[300], shifted[310];
    for (int i = 0; i < 300; i++)
        buffer[i] = (unsigned char)(i * 7 + 3);
    double flips = 0;
    int64_t tries = 0;
    for (size_t n = 0; n <= 200; n++) {
        uint64_t h = fr__hash(buffer, n, 1);
        CHECK(h != fr__hash(buffer, n, 2));
        CHECK(h != fr__hash(buffer, n + 1, 1));
        for (int by = 1; by < 8; by++) {
            memcpy(shifted + by, buffer, n);
            CHECK(fr__hash(shifted + by, n, 1) == h);
        }
        for (size_t bit = 0; bit < 8 * n; bit++) {
            buffer[bit / 8] ^= (unsigned char)(1 << bit % 8);
            int changed = __builtin_popcountll(h ^ fr__hash(buffer, n, 1));
            buffer[bit / 8] ^= (unsigned char)(1 << bit % 8);
            CHECK(changed > 8 && changed < 56);
            flips += changed;
            tries++;
        }
    }
    CHECK(flips / (double)tries > 31.8 && flips / (double)tries < 32.2);
    CHECK(fr__hash(NULL, 0, 1) == fr__hash("", 0, 1));
    CHECK(fr__hash("\0", 1, 0) != fr__hash("\0\0", 2, 0));
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

TEST(hash_does_not_collide)
{
    enum { N = 200000 };
    uint64_t *h = malloc(N * sizeof *h);
    for (int part = 0; part < 2;
         part++) { /* all of it; its low half, as much as chance allows */
        for (int64_t i = 0; i < N; i++) {
            int64_t key[3] = {i & 255, i >> 8, 0};
            h[i] = part ? (uint32_t)fr__hash(key, sizeof key, 0) : fr__hash(key, sizeof key, 0);
        }
        qsort(h, N, sizeof *h, compare_u64);
        int same = 0;
        for (int i = 1; i < N; i++)
            same += h[i] == h[i - 1];
        EXPECT(same <= (part ? 20 : 0)); /* expected 4.7 for 32 bits */
    }
    free(h);
}

TEST(map)
{
    enum { N = 5000 };
    static int keys[N], values[N];
    fr__map m = {0};
    CHECK(!fr__map_get(&m, "a", 1, 5));
    CHECK(!fr__map_remove(&m, "a", 1, 5));
    for (int kind = 0; kind < 3; kind++) { /* good hashes, poor ones, very poor ones */
        int n = kind == 2 ? 300 : N;
#define HASH(i)                                                                                \
    (kind == 0   ? fr__hash(&keys[i], sizeof(int), 0)                                          \
     : kind == 1 ? (uint64_t)(i) << 20                                                         \
                 : (uint64_t)(i) % 3)
        for (int i = 0; i < n; i++) {
            keys[i] = i;
            CHECK_EQ(fr__map_put(&m, &keys[i], sizeof(int), HASH(i), &values[i]), 0);
        }
        CHECK_EQ(m.n, n);
        for (int i = 0; i < n; i++) {
            int key = i;
            CHECK(fr__map_get(&m, &key, sizeof key, HASH(i)) == &values[i]);
        }
        for (int i = 0; i < n; i += 2)
            CHECK(fr__map_remove(&m, &keys[i], sizeof(int), HASH(i)) == &values[i]);
        for (int i = 0; i < n; i++)
            CHECK((fr__map_get(&m, &keys[i], sizeof(int), HASH(i)) != NULL) == (i % 2 == 1));
        CHECK_EQ(fr__map_put(&m, &keys[1], sizeof(int), HASH(1), &values[0]), 0);
        CHECK(fr__map_get(&m, &keys[1], sizeof(int), HASH(1)) == &values[0]);
        CHECK_EQ(m.n, n / 2);
        for (int i = 1; i < n; i += 2)
            CHECK(fr__map_remove(&m, &keys[i], sizeof(int), HASH(i)) != NULL);
        CHECK_EQ(m.n, 0);
        CHECK(!fr__map_remove(&m, &keys[1], sizeof(int), HASH(1)));
    }
    fr__map_free(&m);
}

TEST(map_keeps_its_size_when_entries_come_and_go)
{
    static int keys[4000];
    fr__map m = {0};
    for (int i = 0; i < 4000; i++) {
        keys[i] = i;
        CHECK_EQ(fr__map_put(&m, &keys[i], 4, fr__hash(&keys[i], 4, 0), &keys[i]), 0);
        if (i >= 10)
            CHECK(fr__map_remove(&m, &keys[i - 10], 4, fr__hash(&keys[i - 10], 4, 0)) != NULL);
    }
    CHECK_EQ(m.n, 10);
    CHECK(m.room <= 32);
    fr__map_free(&m);
}

TEST(map_odd_keys_and_no_memory)
{
    fr__map m = {0};
    int a, b;
    fr__fault_set(1);
    CHECK_EQ(fr__map_put(&m, "k", 1, 9, &a), -1);
    fr__fault_set(0);
    fr__error_clear();
    CHECK_EQ(m.n, 0);
    CHECK_EQ(fr__map_put(&m, NULL, 0, 9, &a), 0);
    CHECK_EQ(fr__map_put(&m, "k", 1, 9, &b), 0); /* one hash, another length */
    CHECK(fr__map_get(&m, "", 0, 9) == &a);
    CHECK(fr__map_get(&m, "k", 1, 9) == &b);
    CHECK(!fr__map_get(&m, "l", 1, 9));
    fr__map_free(&m);
}

/* ---- settings ------------------------------------------------------------------------------- */

TEST(last_use)
{
    struct item {
        fr__link link;
        int number;
    } items[4];
    fr__lru l = {0};
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        fr__lru_add(&l, &items[i].link);
    }
    fr__lru_use(&l, &items[1].link);    /* from the middle */
    fr__lru_use(&l, &items[0].link);    /* the oldest */
    fr__lru_use(&l, &items[0].link);    /* the newest already */
    fr__lru_remove(&l, &items[3].link); /* 2 1 0 are left, oldest first */
    CHECK_EQ(l.n, 3);
    CHECK(l.newest == &items[0].link && l.newest->older == &items[1].link);
    CHECK(!l.newest->newer && !l.oldest->older && items[1].link.older == l.oldest);
    for (int want = 2; l.oldest; want--) {
        struct item *x = (struct item *)l.oldest;
        CHECK_EQ(x->number, want);
        fr__lru_remove(&l, &x->link);
    }
    CHECK(!l.newest && !l.n);
}

TEST(limits_of_caches)
{
    _Atomic int known = 0, other = 0;
    setenv("FERRULE_NUM_PEARS", "7", 1);
    int n = fr__env_limit(&known, "NUM_PEARS", 5);
    unsetenv("FERRULE_NUM_PEARS");
    CHECK_EQ(fr__env_limit(&known, "NUM_PEARS", 5), n); /* asked once */
#ifdef FERRULE_HARD
    CHECK_EQ(n, 2);
    CHECK_EQ(fr__env_limit(&other, "NUM_PEARS", 5), 2);
#else
    CHECK_EQ(n, 7);
    CHECK_EQ(fr__env_limit(&other, "NUM_PEARS", 5), 5);
#endif
}

TEST(settings)
{
    unsetenv("FERRULE_T");
    CHECK(!fr__env("T"));
    CHECK_EQ(fr__env_int("T", 5, 0, 9), 5);
    CHECK_EQ(fr__env_bytes("T", 6), 6);
    CHECK(fr__env_on("T", true) && !fr__env_on("T", false));
    setenv("FERRULE_T", "", 1);
    CHECK_EQ(fr__env_int("T", 5, 0, 9), 5);
    setenv("FERRULE_T", "7", 1);
    CHECK_EQ(fr__env_int("T", 5, 0, 9), 7);
    CHECK_EQ(fr__env_bytes("T", 6), 7);
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {
        {"64M", 64 << 20},
        {"2g", (int64_t)2 << 30},
        {"1.5K", 1536},
        {"0", 0},
        {"1KiB", 1024},
        {"10 B", -1},
        {"1T", (int64_t)1 << 40},
        {"1073741824", 1 << 30},
        {"100B", 100},
        {"9007199254740993", 9007199254740993},
        {"-1", -1},
        {"M", -1},
        {"5X", -1},
        {"0x10", -1},
        {"99999999999T", -1},
        {"nan", -1},
        {"1e3", 1000},
    };
    for (int i = 0; i < FR__COUNT(good); i++) {
        setenv("FERRULE_T", good[i].text, 1);
        CHECK_EQ(fr__env_bytes("T", -1), good[i].bytes);
    }
    static const char *const on[] = {"1", "on", "TRUE", "yes"};
    static const char *const off[] = {"0", "Off", "false", "no"};
    for (int i = 0; i < 4; i++) {
        setenv("FERRULE_T", on[i], 1);
        CHECK(fr__env_on("T", false));
        setenv("FERRULE_T", off[i], 1);
        CHECK(!fr__env_on("T", true));
    }
    CHECK(fr__debug() >= 0);
    unsetenv("FERRULE_T");
}

TEST(complaints)
{
    setenv("FERRULE_NUM_APPLES", "many", 1);
    CHECK_EQ(fr__env_int("NUM_APPLES", 5, 0, 9), 5);
    CHECK_EQ(fr__env_int("NUM_APPLES", 5, 0, 9), 5);
    const char *text = fr__env_complaints(),
               *said = "FERRULE_NUM_APPLES=many is not an integer";
    const char *first = strstr(text, said);
    CHECK(first && strstr(first, "from 0 to 9"));
    CHECK(!strstr(first + 1, said)); /* once */
    setenv("FERRULE_NUM_APPLES", "10", 1);
    CHECK_EQ(fr__env_int("NUM_APPLES", 5, 0, 9), 5);
    CHECK(strstr(fr__env_complaints(), "NUM_APPLES=10 is not"));
    CHECK(fr__env_on("NUM_APPLES", true)); /* not understood: the default */
    for (int i = 0; i < 50; i++) {
        char v[300];
        snprintf(v, sizeof v, "x%0250d", i);
        setenv("FERRULE_NUM_APPLES", v, 1);
        fr__env_int("NUM_APPLES", 5, 0, 9);
        snprintf(v, sizeof v, "y%d", i);
        setenv("FERRULE_NUM_APPLES", v, 1);
        fr__env_int("NUM_APPLES", 5, 0, 9);
    }
    CHECK(strlen(fr__env_complaints()) < 2048);
    CHECK(first == strstr(text, said)); /* a text given out does not change */
    unsetenv("FERRULE_NUM_APPLES");
    CHECK(!fr__failed());
}

static void keep_text(void *ctx, const char *text) { fr__text_add(ctx, text); }

TEST(debug_text)
{
    fr__text t = {0};
    fr__debug_sink(keep_text, &t);
    fr__debug_print("%d ", 12);
    fr__debug_print("%01500d", 0);
    fr__debug_sink(NULL, NULL);
    CHECK_EQ(t.n, 1503);
    fr__text_free(&t);
}

TEST(clock_goes_forward)
{
    double a = fr__now(), b = fr__now();
    CHECK(b >= a && b - a < 1);
}
