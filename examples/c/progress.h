/* progress.h - for programs that train: a line with loss and speed now and then, and at the end a
 * learning curve as a picture (SVG) */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdio.h>
#include <time.h>

enum { PROGRESS_STEPS = 10000 };

typedef struct {
    int every, n; /* steps from line to line; steps so far */
    double start, losses[PROGRESS_STEPS];
} progress;

static inline double progress_seconds(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void progress_step(progress *p, double loss)
{
    if (p->n == PROGRESS_STEPS)
        return;
    if (!p->n)
        p->start = progress_seconds();
    p->losses[p->n++] = loss;
    if (p->n % p->every)
        return;
    double sum = 0;
    for (int i = p->n - p->every; i < p->n; i++)
        sum += p->losses[i];
    double seconds = progress_seconds() - p->start;
    printf("step %4d  loss %.4f  %.0f steps/s\n", p->n, sum / p->every, p->n / seconds);
}

/* 0, or -1: the file can't be written. */
static inline int progress_save(const progress *p, const char *path)
{
    FILE *f = fopen(path, "w");
    double most = 1e-9;
    if (!f)
        return -1;
    for (int i = 0; i < p->n; i++)
        most = p->losses[i] > most ? p->losses[i] : most;
    fputs("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 480 300' font-size='12' "
          "font-family='sans-serif'>\n<path d='M50 20V260H460' fill='none' stroke='#888'/>\n",
          f);
    fprintf(f, "<text x='8' y='26'>%.3g</text><text x='36' y='264'>0</text>\n", most);
    fprintf(f, "<text x='440' y='280'>%d</text><text x='230' y='290'>step</text>\n", p->n);
    fputs("<text x='60' y='20'>loss</text>\n<polyline fill='none' stroke='#06c' points='", f);
    for (int i = 0; i < p->n; i++)
        fprintf(f, "%.1f,%.1f ", 50 + 410.0 * (i + 1) / p->n, 260 - 240 * p->losses[i] / most);
    fputs("'/>\n</svg>\n", f);
    return fclose(f) ? -1 : 0;
}

#endif
