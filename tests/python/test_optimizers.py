"""ferrule.optimizers against their definitions, in numpy with float64."""

from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
import numpy as np
import pytest
from ferrule.utils import tree_flatten, tree_map

RATE = 0.1
rng = np.random.default_rng(0)
SHAPES = {"w": (4, 3), "b": [(5,), {"k": (3, 2, 2)}], "s": (1,)}


def normal(shapes=SHAPES):
    if isinstance(shapes, dict):
        return {k: normal(v) for k, v in shapes.items()}
    if isinstance(shapes, list):
        return [normal(v) for v in shapes]
    return rng.normal(size=shapes)


def arrays(tree):
    return tree_map(lambda x: mx.array(x.astype(np.float32)), tree)


def sgd(p, g, s, t, momentum=0.0, decay=0.0, dampening=0.0, nesterov=False):
    g = g + decay * p
    if not momentum:
        return p - RATE * g
    s["v"] = momentum * s.get("v", 0) + (1 - dampening) * g
    return p - RATE * (g + momentum * s["v"] if nesterov else s["v"])


def rmsprop(p, g, s, t):
    s["v"] = 0.99 * s.get("v", 0) + 0.01 * g * g
    return p - RATE * g / (np.sqrt(s["v"]) + 1e-8)


def adagrad(p, g, s, t):
    s["v"] = s.get("v", 0) + g * g
    return p - RATE * g / (np.sqrt(s["v"]) + 1e-8)


def adadelta(p, g, s, t):
    s["v"] = 0.9 * s.get("v", 0) + 0.1 * g * g
    d = np.sqrt(s.get("u", 0) + 1e-6) / np.sqrt(s["v"] + 1e-6) * g
    s["u"] = 0.9 * s.get("u", 0) + 0.1 * d * d
    return p - RATE * d


def adam(p, g, s, t, corrected=False, decay=0.0):
    p = p * (1 - RATE * decay)
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    m, v = s["m"], s["v"]
    if corrected:
        m, v = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return p - RATE * m / (np.sqrt(v) + 1e-8)


def adamax(p, g, s, t):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = np.maximum(0.999 * s.get("v", 0), abs(g))
    return p - RATE * s["m"] / (s["v"] + 1e-8)


def lion(p, g, s, t, decay=0.0):
    m = s.get("m", 0)
    s["m"] = 0.99 * m + 0.01 * g
    return (1 - RATE * decay) * p - RATE * np.sign(0.9 * m + 0.1 * g)


def adafactor(p, g, s, t, beta_1=None, decay=0.0):
    rms = lambda x: np.sqrt(np.mean(x * x))  # noqa: E731
    rate = min(1e-2, t**-0.5) * max(1e-3, rms(p))
    beta = 1 - t**-0.8
    square = g * g + 1e-30
    if g.ndim > 1:
        s["r"] = beta * s.get("r", 0) + (1 - beta) * square.mean(-1)
        s["c"] = beta * s.get("c", 0) + (1 - beta) * square.mean(-2)
        row = s["r"] / s["r"].mean(-1, keepdims=True)
        u = g / np.sqrt(row[..., None] * s["c"][..., None, :])
    else:
        s["v"] = beta * s.get("v", 0) + (1 - beta) * square
        u = g / np.sqrt(s["v"])
    u = rate * u / max(1, rms(u))
    if beta_1 is not None:
        u = s["m"] = beta_1 * s.get("m", 0) + (1 - beta_1) * u
    return p - decay * rate * p - u


def muon(p, g, s, t, decay=0.01):
    g = g + decay * p
    s["v"] = 0.95 * s.get("v", 0) + 0.05 * g
    u = 0.05 * g + 0.95 * s["v"]
    if u.ndim < 2:
        return p - RATE * u
    x = u.reshape(u.shape[0], -1)
    scale = max(1, x.shape[0] / x.shape[1]) ** 0.5
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return p - RATE * scale * (x.T if tall else x).reshape(u.shape)


CASES = {
    "SGD": (lambda: optim.SGD(RATE), sgd),
    "SGD momentum": (lambda: optim.SGD(RATE, 0.9, 0.1), partial(sgd, momentum=0.9, decay=0.1)),
    "SGD dampening": (
        lambda: optim.SGD(RATE, 0.9, dampening=0.2),
        partial(sgd, momentum=0.9, dampening=0.2),
    ),
    "SGD nesterov": (
        lambda: optim.SGD(RATE, 0.9, nesterov=True),
        partial(sgd, momentum=0.9, nesterov=True),
    ),
    "RMSprop": (lambda: optim.RMSprop(RATE), rmsprop),
    "Adagrad": (lambda: optim.Adagrad(RATE), adagrad),
    "AdaDelta": (lambda: optim.AdaDelta(RATE), adadelta),
    "Adam": (lambda: optim.Adam(RATE), adam),
    "Adam corrected": (
        lambda: optim.Adam(RATE, bias_correction=True),
        partial(adam, corrected=True),
    ),
    "AdamW": (lambda: optim.AdamW(RATE, weight_decay=0.1), partial(adam, decay=0.1)),
    "Adamax": (lambda: optim.Adamax(RATE), adamax),
    "Lion": (lambda: optim.Lion(RATE, weight_decay=0.1), partial(lion, decay=0.1)),
    "Adafactor": (lambda: optim.Adafactor(), adafactor),
    "Adafactor moment": (
        lambda: optim.Adafactor(beta_1=0.9, weight_decay=0.1),
        partial(adafactor, beta_1=0.9, decay=0.1),
    ),
    "Muon": (lambda: optim.Muon(RATE), muon),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_steps(name, compiled):
    make, formula = CASES[name]
    optimizer = make()
    expected = normal()
    holder = {"now": arrays(expected)}
    states = tree_map(lambda p: {}, expected)

    def step(gradients):
        holder["now"] = optimizer.apply_gradients(gradients, holder["now"])

    if compiled:
        state = [holder, optimizer.state]
        step = mx.compile(step, inputs=state, outputs=state)
    for t in range(1, 5):
        gradients = normal()
        step(arrays(gradients))
        expected = tree_map(lambda p, g, s: formula(p, g, s, float(t)), expected, gradients, states)
    assert optimizer.step.item() == 4 and optimizer.step.dtype == mx.uint64
    for (path, value), (_, wanted) in zip(tree_flatten(holder["now"]), tree_flatten(expected)):
        np.testing.assert_allclose(np.array(value), wanted, rtol=2e-4, atol=2e-5, err_msg=path)


def test_state():
    optimizer = optim.SGD(learning_rate=RATE, momentum=0.9)
    assert list(optimizer.state) == ["step", "learning_rate"]
    state = optimizer.state
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer.init(model.trainable_parameters())
    assert optimizer.state is state
    assert state["layers"][0]["weight"]["v"].shape == (3, 2)
    assert state["layers"][1] == {} and state["layers"][2]["bias"]["v"].shape == (1,)
    optimizer.update(model, tree_map(mx.ones_like, model.parameters()))
    assert np.array(state["layers"][0]["weight"]["v"]).tolist() == [[1, 1]] * 3
    before = np.array(state["layers"][0]["weight"]["v"])
    optimizer.init(model.parameters())  # what is there stays
    assert np.array_equal(np.array(state["layers"][0]["weight"]["v"]), before)
    optimizer.learning_rate = 0.5
    assert optimizer.learning_rate.item() == 0.5 and state["learning_rate"].dtype == mx.float32
    optimizer.state = {"step": mx.array(3, mx.uint64), "learning_rate": mx.array(0.25)}
    optimizer.update(model, tree_map(mx.ones_like, model.parameters()))
    assert optimizer.step.item() == 4


def test_half_precision_stays():
    for make, _ in CASES.values():
        optimizer = make()
        p = {"w": mx.ones((3, 4), dtype=mx.float16), "b": mx.ones(3, dtype=mx.bfloat16)}
        new = optimizer.apply_gradients(tree_map(lambda x: x * 0.5, p), p)
        assert new["w"].dtype == mx.float16 and new["b"].dtype == mx.bfloat16, type(optimizer)


def test_wrong_arguments():
    for make in (
        lambda: optim.SGD(0.1, nesterov=True),
        lambda: optim.SGD(0.1, momentum=0.9, dampening=0.1, nesterov=True),
        lambda: optim.AdaDelta(0.1, rho=-1),
        lambda: optim.AdaDelta(0.1, eps=-1),
        lambda: optim.Adagrad(0.1, eps=-1),
        lambda: optim.RMSprop(0.1, alpha=-1),
        lambda: optim.RMSprop(0.1, eps=-1),
        lambda: optim.Adamax(0.1, eps=-1),
        lambda: optim.AdamW(0.1, eps=-1),
        lambda: optim.Adam(0.1, betas=[0.9]),
        lambda: optim.Adam(0.1, betas=[0.9, 1.0]),
        lambda: optim.Lion(0.1, betas=[-0.1, 0.9]),
        lambda: optim.step_decay(0.1, 0.5, 0),
        lambda: optim.cosine_decay(0.1, 0),
        lambda: optim.MultiOptimizer([optim.SGD(0.1)], [lambda *a: True]),
        lambda: optim.linear_schedule(0, 1, 0),
        lambda: optim.join_schedules([], []),
        lambda: optim.join_schedules([lambda s: s], [1]),
    ):
        with pytest.raises(ValueError):
            make()


def test_multi_optimizer():
    optimizer = optim.MultiOptimizer(
        [optim.SGD(0.1), optim.Lion(0.2)], [lambda path, x: path.endswith("weight")]
    )
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {k: np.array(v) for k, v in tree_flatten(model.parameters())}
    gradients = tree_map(lambda p: mx.ones_like(p) * 2, model.parameters())
    optimizer.update(model, gradients)
    for path, value in tree_flatten(model.parameters()):
        np.testing.assert_allclose(np.array(value), before[path] - 0.2, rtol=1e-5, atol=1e-6)
    states = optimizer.state["states"]
    assert "weight" not in states[1]["layers"][0] and "m" in states[1]["layers"][0]["bias"]
    assert optimizer.learning_rate.item() == pytest.approx(0.1)
    optimizer.learning_rate = 0.3
    assert states[1]["learning_rate"].item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    "schedule, formula",
    [
        (optim.exponential_decay(0.1, 0.9), lambda t: 0.1 * 0.9**t),
        (optim.step_decay(0.1, 0.5, 3), lambda t: 0.1 * 0.5 ** (t // 3)),
        (
            optim.cosine_decay(0.1, 6, 0.01),
            lambda t: 0.01 + 0.045 * (1 + np.cos(np.pi * min(t, 6) / 6)),
        ),
        (optim.linear_schedule(0.0, 0.1, 4), lambda t: 0.1 * min(t, 4) / 4),
        (
            optim.join_schedules(
                [optim.linear_schedule(0.0, 0.1, 3), optim.step_decay(0.1, 0.5, 2)], [3]
            ),
            lambda t: 0.1 * t / 3 if t < 3 else 0.1 * 0.5 ** ((t - 3) // 2),
        ),
    ],
)
def test_schedules(schedule, formula):
    optimizer = optim.SGD(schedule)
    rates = []
    p = {"w": mx.ones(2)}

    def step():
        p["w"] = optimizer.apply_gradients({"w": mx.ones(2)}, p)["w"]

    state = [p, optimizer.state]
    compiled = mx.compile(step, inputs=state, outputs=state)
    for t in range(10):
        (compiled if t % 2 else step)()
        rates.append(optimizer.learning_rate.item())
    np.testing.assert_allclose(rates, [formula(t) for t in range(10)], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.array(p["w"]), 1 - sum(rates), rtol=1e-5)


def test_clip():
    given = {"a": mx.ones(4) * 3, "b": [mx.zeros(2)]}
    clipped, length = optim.clip_grad_norm(given, 1.0)
    assert length.item() == 6
    np.testing.assert_allclose(np.array(clipped["a"]), 0.5, rtol=1e-5)
    kept, _ = optim.clip_grad_norm(given, 100.0)
    assert np.array(kept["a"]).tolist() == [3] * 4
