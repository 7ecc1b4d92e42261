/* softmax.c - five operations that become one kernel, and how to see that they did
 *
 *   cc softmax.c -o softmax $(pkg-config --cflags --libs ferrule) && ./softmax 1000 500
 */
#include <ferrule/ferrule.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* exp(x - max) / sum of it, over the last axis. Composed: fr_softmax is there too. */
static fr_array *softmax(fr_array *x)
{
    fr_reduce_options rows = {.axes = (int[]){-1}, .naxes = 1, .keepdims = true};
    fr_array *e = fr_exp(fr_sub(x, fr_max(x, &rows)));
    return fr_div(e, fr_sum(e, &rows));
}

int main(int argc, char **argv)
{
    int64_t shape[] = {argc > 2 ? atoll(argv[1]) : 1000, argc > 2 ? atoll(argv[2]) : 500};
    fr_scope *s = fr_scope_open();
    fr_array *x = fr_random_normal(shape, 2, FR_FLOAT32, NULL);
    fr_eval(x);

    fr_array *y = softmax(x); /* nothing is computed yet */
    char *text = fr_describe(1, &y);
    if (text) { /* the trace after fusion; each kernel's code follows, and is left out here */
        char *end = strstr(text, " kernel 0\n");
        printf("%.*s", (int)(end ? (size_t)(end - text) : strlen(text)), text);
    }
    fr_text_free(text);

    int64_t before = fr_count(FR_COUNT_KERNELS);
    fr_eval(y);
    printf("kernels launched: %lld\n", (long long)(fr_count(FR_COUNT_KERNELS) - before));

    double least = 0, most = 0;
    fr_array *sums = fr_sum(y, &(fr_reduce_options){.axes = (int[]){-1}, .naxes = 1});
    fr_item(fr_min(sums, NULL), &least);
    fr_item(fr_max(sums, NULL), &most);
    bool failed = fr_error() != FR_OK;
    if (failed)
        fprintf(stderr, "%s\n", fr_error_message());
    else
        printf("rows add up to %.5f ... %.5f\n", least, most);
    fr_scope_close(s);
    return failed;
}
