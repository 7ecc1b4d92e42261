"""Arrays and compiled functions used by many threads."""

import threading

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np


def run(n, body):
    errors = []

    def guarded(i):
        try:
            body(i)
        except BaseException as error:  # noqa: B902
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    assert errors == []


def test_lazy_code():
    def body(i):
        for k in range(50):
            x = mx.array([float(i), float(k)])
            assert (x * 2 + 1).tolist() == [2.0 * i + 1, 2.0 * k + 1]

    run(8, body)


def test_one_compiled_function():
    f = mx.compile(lambda x, n: (x * n, {"s": x.sum()}))

    def body(i):
        for k in range(50):
            x = mx.full((1 + k % 5,), float(i))
            y, d = f(x, k % 3)
            assert y.tolist() == [float(i * (k % 3))] * (1 + k % 5)
            assert d["s"].item() == i * (1 + k % 5)

    run(8, body)


def test_one_pending_array():
    for _ in range(20):
        x = mx.array(np.arange(1000, dtype=np.float32))
        y = mx.exp(x * 0.001) + 1
        expected = np.exp(np.arange(1000) * 0.001) + 1
        run(4, lambda i: np.testing.assert_allclose(np.array(y), expected, rtol=1e-5))


def test_in_place_while_others_read():
    x = mx.array([0.0])
    stop = threading.Event()

    def body(i):
        nonlocal x
        if i == 0:
            for _ in range(500):
                x += 1
            stop.set()
        else:
            while not stop.is_set():
                x.item()
                repr(x)

    run(4, body)
    assert x.item() == 500


def test_errors_belong_to_a_thread():
    def body(i):
        for _ in range(50):
            if i % 2:
                try:
                    mx.zeros((2,)) + mx.zeros((3,))
                except ValueError:
                    continue
                raise AssertionError("no error")
            assert mx.array(1.0).item() == 1.0

    run(6, body)


def test_traces_in_many_threads():
    def body(i):
        for k in range(10):
            g = mx.compile(lambda x: nn.gelu(x) + i + k)
            assert abs(g(mx.array(0.0)).item() - (i + k)) < 1e-6

    run(6, body)


def test_released_on_another_thread():
    f = mx.compile(lambda x: x + 1)
    box = [f(mx.array([1.0])), mx.array([2.0]) * 2]
    run(1, lambda i: box.clear())
    assert f(mx.array([1.0])).tolist() == [2.0]
