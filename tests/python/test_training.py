"""Training programs: the same losses compiled and not, whatever the optimizer."""

from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
import numpy as np
import pytest


def train(make_model, make_optimizer, loss_fn, x, y, compiled, steps=5):
    mx.random.seed(1)
    model, optimizer = make_model(), make_optimizer()
    state = [model.state, optimizer.state]

    def step(x, y):
        loss, grads = nn.value_and_grad(model, loss_fn)(model, x, y)
        optimizer.update(model, grads)
        return loss

    if compiled:
        step = partial(mx.compile, inputs=state, outputs=state)(step)
    losses = []
    for _ in range(steps):
        losses.append(step(x, y).item())
        mx.eval(state)
    return losses


def test_the_program_of_the_document():
    """The program of the spec, but for the package's name; rows 14 and 15."""
    results = []
    for compiled in (False, True):
        mx.random.seed(0)
        x = mx.random.uniform(shape=(4, 10))
        y = mx.array([0, 1, 0, 1])
        model = nn.Linear(10, 1)
        optimizer = optim.SGD(learning_rate=0.1, momentum=0.8)

        def loss_fn(model, x, y):
            logits = model(x).squeeze()
            return nn.losses.binary_cross_entropy(logits, y)

        losses = []
        if compiled:
            state = [model.state, optimizer.state]

            @partial(mx.compile, inputs=state, outputs=state)
            def step(x, y):
                loss_and_grad_fn = nn.value_and_grad(model, loss_fn)
                loss, grads = loss_and_grad_fn(model, x, y)
                optimizer.update(model, grads)
                return loss

            for _ in range(10):
                loss = step(x, y)
                mx.eval(state)
                losses.append(loss.item())
        else:
            loss_and_grad_fn = nn.value_and_grad(model, loss_fn)
            for _ in range(10):
                loss, grads = loss_and_grad_fn(model, x, y)
                optimizer.update(model, grads)
                mx.eval(model.parameters(), optimizer.state)
                losses.append(loss.item())
        results.append(losses)
    np.testing.assert_allclose(*results, rtol=1e-5)
    assert results[0][-1] < results[0][0]


OPTIMIZERS = {
    "SGD": lambda: optim.SGD(0.1, momentum=0.8),
    "Adam": lambda: optim.Adam(optim.cosine_decay(0.05, 10), bias_correction=True),
    "Adafactor": lambda: optim.Adafactor(),
    "Muon": lambda: optim.Muon(0.02),
    "Multi": lambda: optim.MultiOptimizer(
        [optim.Muon(0.02), optim.AdamW(0.01)], [lambda path, g: g.ndim == 2]
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_compiled_and_not(name):
    rng = np.random.default_rng(0)
    x = mx.array(rng.normal(size=(16, 5, 8)).astype(np.float32))
    y = mx.array(rng.integers(0, 3, size=16).astype(np.int32))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(8, 6)
            self.norm = nn.BatchNorm(6)
            self.head = nn.Sequential(nn.Linear(6, 12), nn.gelu, nn.LayerNorm(12), nn.Linear(12, 3))
            self.head.layers[0].freeze(keys="bias")

        def __call__(self, x):
            return self.head(self.norm(self.rnn(x)[:, -1]))

    def loss_fn(model, x, y):
        return nn.losses.cross_entropy(model(x), y, reduction="mean")

    runs = [train(Model, OPTIMIZERS[name], loss_fn, x, y, compiled) for compiled in (False, True)]
    np.testing.assert_allclose(*runs, rtol=2e-3)
    assert runs[0][-1] < runs[0][0]


def test_value_and_grad():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model.layers[0].freeze()
    before = model.layers[1].weight

    def loss_fn(x, scale=1.0):
        y = model(x).sum() * scale
        return y, y + 1

    x = mx.array([[1.0, 2.0]])
    (loss, more), grads = nn.value_and_grad(model, loss_fn)(x, scale=2.0)
    assert grads["layers"][0] == {} and more.item() == pytest.approx(loss.item() + 1)
    h = x @ model.layers[0].weight.T + model.layers[0].bias
    np.testing.assert_allclose(np.array(grads["layers"][1]["weight"]), 2 * np.array(h), rtol=1e-5)
    assert model.layers[1].weight is before
    loss_fn.__doc__ = "a loss"
    assert nn.value_and_grad(model, loss_fn).__doc__ == "a loss"

    def failing(x):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        nn.value_and_grad(model, failing)(x)
    assert model.layers[1].weight is before
