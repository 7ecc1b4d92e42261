"""What a program holds at once: order of kernels, temporaries in place and in results' memory."""

import ferrule.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.cpu_only("a recorded program keeps its temporaries")

N = 512
MATRIX = 4 * N * N
LAYERS = 8


def peak(call):
    """Bytes that a call has at once beyond what was there before."""
    call()
    call()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    call()
    return mx.get_peak_memory() - before


def network():
    mx.random.seed(3)
    weights = [mx.random.normal((N, N)) / N**0.5 for _ in range(LAYERS)]
    x = mx.random.normal((N, N))
    mx.eval(weights, x)

    def loss(weights, x):
        for w in weights:
            x = mx.tanh(x @ w)
        return mx.mean(mx.square(x))

    return weights, x, loss


def test_gradients_are_used_as_they_come():
    """Activations, a few matrices more, and a little that products pack: neither all gradients nor all
    cotangents."""
    weights, x, loss = network()

    def step(x):
        value, gradients = mx.value_and_grad(loss)(weights, x)
        weights[:] = [w - 0.1 * g for w, g in zip(weights, gradients)]
        return value

    step = mx.compile(step, inputs=weights, outputs=weights)
    assert peak(lambda: step(x)) < (LAYERS + 4.5) * MATRIX + 4096


def test_results_are_room_for_temporaries():
    """New weights have memory of their own, in which activations lie until they are made."""
    weights, x, loss = network()

    @mx.compile
    def step(weights, x):
        value, gradients = mx.value_and_grad(loss)(weights, x)
        return value, [w - 0.1 * g for w, g in zip(weights, gradients)]

    assert peak(lambda: step(weights, x)) < (LAYERS + 6.5) * MATRIX


@pytest.mark.parametrize("held", [False, True])
def test_with_the_same_values(held):
    weights, x, loss = network()
    plain = [mx.array(np.array(w)) for w in weights]

    def step(x):
        value, gradients = mx.value_and_grad(loss)(weights, x)
        weights[:] = [w - 0.1 * g for w, g in zip(weights, gradients)]
        return value

    step = mx.compile(step, inputs=weights, outputs=weights)
    for _ in range(3):
        old = list(weights) if held else None
        value = step(x)
        expected, gradients = mx.value_and_grad(loss)(plain, x)
        plain = [w - 0.1 * g for w, g in zip(plain, gradients)]
        mx.eval(expected, plain)
        np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-5)
        for a, b in zip(weights, plain):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-4, atol=1e-6)
        del old


def test_a_chain_of_large_temporaries():
    """Each is made in the memory of the one before it; a row's mean keeps the kernels apart."""
    x = mx.random.normal((N, N))

    @mx.compile
    def f(x):
        for i in range(6):
            x = mx.tanh(x - mx.mean(x, axis=i % 2, keepdims=True)) * 2
        return x

    wanted = np.array(x)
    for i in range(6):
        wanted = np.tanh(wanted - wanted.mean(axis=i % 2, keepdims=True)) * 2
    np.testing.assert_allclose(np.array(f(x)), wanted, rtol=1e-4, atol=1e-5)
    assert peak(lambda: f(x)) < 2.5 * MATRIX
