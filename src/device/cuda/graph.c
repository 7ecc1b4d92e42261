/* graph.c - work recorded once and started as a whole
 *
 * needs   device.c
 * gives   fr__gpu_record_begin, fr__gpu_record_end, fr__gpu_graph_launch
 *
 * The capture is of the relaxed mode: what we call meanwhile is our own business, and other threads,
 * with other streams, are not hindered.
 */
#include "device/cuda/gpu.h"

struct fr__gpu_graph {
    fr__gpu *gpu;
    CUgraphExec exec;
    int nodes;
};

int fr__gpu_record_begin(fr__gpu_stream *s)
{
    CUcontext back;
    if (atomic_load(&s->recording))
        return fr__fail_int(FR__E_DEVICE, "gpu %d: the stream records already",
                            s->gpu->info.index);
    if (fr__gpu_enter(s->gpu, &back))
        return -1;
    /* First, so that no other thread waits for the stream once the driver records. */
    atomic_fetch_add(&s->gpu->recording, 1);
    atomic_store(&s->recording, true);
    int bad =
        FR__GPU(s->gpu, s, cuStreamBeginCapture, (s->handle, CU_STREAM_CAPTURE_MODE_RELAXED));
    if (bad) {
        atomic_store(&s->recording, false);
        atomic_fetch_sub(&s->gpu->recording, 1);
    }
    fr__gpu_leave(back);
    return bad;
}

/* ---- side by side --------------------------------------------------------------------- */

struct fr__gpu_point {
    fr__gpu *gpu;
    CUevent event;
};

fr__gpu_point *fr__gpu_record_point(fr__gpu_stream *s)
{
    CUcontext back;
    fr__gpu_point *p = fr__calloc(1, sizeof *p);
    if (!p || fr__gpu_enter(s->gpu, &back)) {
        fr__free(p);
        return NULL;
    }
    p->gpu = s->gpu;
    int bad = FR__GPU(s->gpu, s, cuEventCreate, (&p->event, CU_EVENT_DISABLE_TIMING)) ||
              FR__GPU(s->gpu, s, cuEventRecord, (p->event, s->handle));
    fr__gpu_leave(back);
    if (!bad)
        return p;
    fr__gpu_point_free(p);
    return NULL;
}

void fr__gpu_point_free(fr__gpu_point *p)
{
    CUcontext back;
    if (!p)
        return;
    if (p->event && fr__gpu_enter_quietly(p->gpu, &back)) {
        fr__cuda.cuEventDestroy(p->event);
        fr__gpu_leave(back);
    }
    fr__free(p);
}

int fr__gpu_record_wait(fr__gpu_stream *lane, const fr__gpu_point *p)
{
    CUcontext back;
    if (fr__gpu_enter(lane->gpu, &back))
        return -1;
    int bad = FR__GPU(lane->gpu, lane, cuStreamWaitEvent, (lane->handle, p->event, 0));
    fr__gpu_leave(back);
    return bad;
}

static void leave(fr__gpu_stream *lane)
{
    atomic_store(&lane->recording, false);
    atomic_fetch_sub(&lane->gpu->recording, 1);
}

int fr__gpu_record_join(fr__gpu_stream *lane, fr__gpu_point *from)
{
    /* First, so that no other thread waits for the stream once the driver records. */
    atomic_fetch_add(&lane->gpu->recording, 1);
    atomic_store(&lane->recording, true);
    int bad = fr__gpu_record_wait(lane, from);
    if (bad)
        leave(lane);
    return bad;
}

int fr__gpu_record_leave(fr__gpu_stream *s, fr__gpu_stream *lane)
{
    fr__gpu_point *end = fr__gpu_record_point(lane);
    int bad = !end || fr__gpu_record_wait(s, end) ? -1 : 0;
    leave(lane);
    fr__gpu_point_free(end);
    return bad;
}

/* ---- the end ---------------------------------------------------------------------------- */

static int make_graph(fr__gpu_stream *s, fr__gpu_graph *to, CUgraph graph)
{
    size_t nodes = 0;
    if (FR__GPU(s->gpu, s, cuGraphGetNodes, (graph, NULL, &nodes)) ||
        FR__GPU(s->gpu, s, cuGraphInstantiateWithFlags, (&to->exec, graph, 0)))
        return -1;
    to->gpu = s->gpu;
    to->nodes = (int)nodes;
    fr__cuda.cuGraphUpload(to->exec, s->handle); /* the first launch would do it */
    return 0;
}

fr__gpu_graph *fr__gpu_record_end(fr__gpu_stream *s)
{
    CUcontext back;
    CUgraph graph = NULL;
    if (!atomic_load(&s->recording))
        return fr__fail(FR__E_DEVICE, "gpu %d: the stream doesn't record", s->gpu->info.index);
    fr__gpu_graph *to = fr__calloc(1, sizeof *to);
    bool inside = fr__gpu_enter_quietly(s->gpu, &back);
    CUresult r = fr__cuda.cuStreamEndCapture(s->handle, &graph); /* it ends in any case */
    atomic_store(&s->recording, false);
    atomic_fetch_sub(&s->gpu->recording, 1);
    int bad =
        !to || fr__gpu_check(s->gpu, s, r, "cuStreamEndCapture") || make_graph(s, to, graph);
    if (graph)
        fr__cuda.cuGraphDestroy(graph);
    if (inside) {
        fr__gpu_unload_put_off(s->gpu);
        fr__gpu_leave(back);
    }
    if (!bad)
        return to;
    fr__free(to);
    return NULL;
}

int fr__gpu_graph_launch(fr__gpu_stream *s, fr__gpu_graph *graph, const char *name)
{
    CUcontext back;
    if (fr__gpu_not_recording(s, "a graph's launch") || fr__gpu_enter(s->gpu, &back))
        return -1;
    fr__gpu_launched(s, name);
    int bad = FR__GPU(s->gpu, s, cuGraphLaunch, (graph->exec, s->handle));
    if (!bad && fr__gpu_blocking())
        bad = FR__GPU(s->gpu, s, cuStreamSynchronize, (s->handle));
    fr__gpu_leave(back);
    if (FR__UNLIKELY(bad))
        fr__error_context("launching %.150s", name ? name : "a graph");
    return bad;
}

int fr__gpu_graph_nodes(const fr__gpu_graph *graph) { return graph->nodes; }

/* The driver keeps what is running until it has run. */
void fr__gpu_graph_free(fr__gpu_graph *graph)
{
    CUcontext back;
    if (!graph)
        return;
    if (fr__gpu_enter_quietly(graph->gpu, &back)) {
        fr__cuda.cuGraphExecDestroy(graph->exec);
        fr__gpu_leave(back);
    }
    fr__free(graph);
}
