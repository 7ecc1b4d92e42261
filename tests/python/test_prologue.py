"""Operands that are made where a product packs them have the bits of those that are stored."""

import os
import subprocess
import sys

import ferrule.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.cpu_only("libraries' products take arrays")

SCRIPT = """
import itertools, sys
import ferrule.core as mx, numpy as np

random = np.random.default_rng(5)

def array(shape, dtype):
    x = mx.array(random.normal(size=shape).astype(np.float32)).astype(dtype)
    mx.eval(x)
    return x

def same(x, y):
    x, y = (np.array(v.astype(mx.float64 if v.dtype == mx.float64 else mx.float32)) for v in (x, y))
    return x.tobytes() == y.tobytes()

count = 0
for dtype in (mx.float32, mx.float16, mx.bfloat16, mx.float64):
    for m, k, n in ((3, 1100, 70), (50, 77, 33), (130, 260, 5), (200, 33, 130), (16, 16, 700), (37, 520, 37)):
        for left, right, batch in itertools.product("nt", "nt", ((), (2,))):
            x = array(batch + ((m, k) if left == "n" else (k, m)), dtype)
            w = array(batch + ((k, n) if right == "n" else (n, k)), dtype)
            row = array((x.shape[-2], 1), dtype)
            scale = array((w.shape[-1],), dtype)
            def turned(v, how):
                return v if how == "n" else mx.swapaxes(v, -1, -2)
            made = turned(x * row, left) @ turned(w * scale, right)
            before = mx.kernel_count()
            mx.eval(made)
            count += mx.kernel_count() - before == 1
            a, b = x * row, w * scale
            mx.eval(a, b)
            stored = turned(a, left) @ turned(b, right)
            if not same(made, stored):
                sys.exit(f"{dtype} {m}x{k}x{n} {left}{right} {batch}")
print(count)
"""


@pytest.mark.parametrize("tier", ["interpreter", "llvm"])
@pytest.mark.parametrize("threads", ["1", "2", "3", "16"])
def test_same_bits(tier, threads):
    env = dict(os.environ, FERRULE_TIER=tier, FERRULE_NUM_THREADS=threads)
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(run.stdout) > 40  # of 192: most are packed on one thread, fewer on many


def test_nothing_of_it_is_stored():
    n = 1024
    f = mx.compile(lambda x, w, s: x @ (w.astype(mx.float32) * s))
    x, w, s = mx.ones((8, n)), mx.ones((n, n), dtype=mx.int8), mx.full((n,), 0.5)
    mx.eval(x, w, s, f(x, w, s))
    (kernel,) = mx.explain(f, as_dict=True)[-1]["kernels"]
    assert kernel["ops"] == "multiply CONTRACT"
    assert kernel["reads"] == n * n + 4 * n + 4 * 8 * n and kernel["writes"] == 4 * 8 * n
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    y = f(x, w, s)
    mx.eval(y)
    assert mx.get_peak_memory() - before < 2 * n * n  # float32 would be twice that
    assert mx.all(y == n / 2).item()


def test_state_that_it_reads_is_not_written_over():
    n = 256
    start = np.random.default_rng(1).normal(size=(n, n)).astype(np.float32)
    state = {"w": mx.array(start)}
    turn = mx.array(np.roll(np.eye(n, dtype=np.float32), 1, 0))

    def step(w):
        state["w"] = (state["w"] * 2) @ w

    f = mx.compile(step, inputs=state, outputs=state)
    for _ in range(4):
        f(turn)
        mx.eval(state)
    np.testing.assert_array_equal(np.array(state["w"]), 16 * np.roll(start, -4, 1))


def test_with_a_kernel_after_it():
    random = np.random.default_rng(2)
    x = random.normal(size=(300, 520)).astype(np.float32)
    w = random.normal(size=(520, 300)).astype(np.float32)
    f = mx.compile(lambda x, w: mx.maximum(mx.maximum(x, 0) @ w, 0) + 1)
    y = f(mx.array(x), mx.array(w))
    np.testing.assert_allclose(
        np.array(y), np.maximum(np.maximum(x, 0) @ w, 0) + 1, rtol=1e-4, atol=1e-4
    )
    assert mx.explain(f, as_dict=True)[-1]["kernels"][0]["ops"].startswith("maximum CONTRACT")
