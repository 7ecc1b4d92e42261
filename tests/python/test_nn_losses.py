"""ferrule.nn.losses and ferrule.nn.init against their definitions."""

import math

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

rng = np.random.default_rng(0)
A, B, C = (rng.normal(size=(4, 5)) for _ in range(3))
P = 1 / (1 + np.exp(-A))
K = rng.integers(0, 5, size=4)
ONES = (C > 0) * 1.0
SIGN = np.sign(C)
SOFT = np.exp(B) / np.exp(B).sum(-1, keepdims=True)
LOG_SOFTMAX = A - np.log(np.exp(A).sum(-1, keepdims=True))
CHOSEN = LOG_SOFTMAX[range(4), K]


def smooth(x, beta):
    x = abs(x)
    return np.where(x < beta, 0.5 * x * x / beta, x - 0.5 * beta)


def distance(x, y):
    return np.sqrt(((x - y) ** 2).sum(-1) + 1e-6)


CASES = [
    ("cross_entropy", (A, K), {}, -CHOSEN),
    ("cross_entropy", (A.T, K), {"axis": 0}, -CHOSEN),
    ("cross_entropy", (A, K - 5), {}, -CHOSEN),
    ("cross_entropy", (A, K), {"weights": P[:, 0]}, -CHOSEN * P[:, 0]),
    (
        "cross_entropy",
        (A, K),
        {"label_smoothing": 0.2},
        -0.8 * CHOSEN - 0.2 * LOG_SOFTMAX.mean(-1),
    ),
    ("cross_entropy", (A, SOFT), {}, -(LOG_SOFTMAX * SOFT).sum(-1)),
    ("binary_cross_entropy", (A, ONES), {}, -np.log(np.where(C > 0, P, 1 - P))),
    ("binary_cross_entropy", (P, ONES), {"with_logits": False}, -np.log(np.where(C > 0, P, 1 - P))),
    ("binary_cross_entropy", (A, ONES), {"weights": P}, -P * np.log(np.where(C > 0, P, 1 - P))),
    ("binary_cross_entropy", (ONES, 1 - ONES), {"with_logits": False}, np.full((4, 5), 100.0)),
    ("l1_loss", (A, B), {}, abs(A - B)),
    ("mse_loss", (A, B), {}, (A - B) ** 2),
    ("nll_loss", (LOG_SOFTMAX, K), {}, -CHOSEN),
    ("gaussian_nll_loss", (A, B, P), {}, 0.5 * (np.log(P) + (A - B) ** 2 / P)),
    (
        "gaussian_nll_loss",
        (A, B, P),
        {"full": True},
        0.5 * (np.log(P) + (A - B) ** 2 / P + math.log(2 * math.pi)),
    ),
    ("kl_div_loss", (np.log(P), np.log(SOFT)), {}, (SOFT * (np.log(SOFT) - np.log(P))).sum(-1)),
    ("smooth_l1_loss", (A, B), {}, smooth(A - B, 1)),
    ("smooth_l1_loss", (A, B), {"beta": 0.5}, smooth(A - B, 0.5)),
    ("huber_loss", (A, B), {"delta": 0.5}, 0.5 * smooth(A - B, 0.5)),
    (
        "triplet_loss",
        (A, B, C),
        {"margin": 0.5},
        np.maximum(distance(A, B) - distance(A, C) + 0.5, 0),
    ),
    ("hinge_loss", (A, SIGN), {}, np.maximum(1 - A * SIGN, 0)),
    ("log_cosh_loss", (A, B), {}, np.log(np.cosh(A - B))),
    (
        "cosine_similarity_loss",
        (A, B),
        {},
        (A * B).sum(1) / np.linalg.norm(A, axis=1) / np.linalg.norm(B, axis=1),
    ),
    ("margin_ranking_loss", (A, B, SIGN), {"margin": 0.5}, np.maximum(0.5 - SIGN * (A - B), 0)),
]
IDS = [f"{c[0]}-{'-'.join(c[2])}" for c in CASES]


def array(x):
    return mx.array(x.astype(np.float32 if x.dtype.kind == "f" else np.int32))


@pytest.mark.parametrize("name, arguments, options, expected", CASES, ids=IDS)
def test_losses(name, arguments, options, expected):
    function = getattr(nn.losses, name)
    given = [array(x) for x in arguments]
    options = {k: array(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    none = function(*given, reduction="none", **options)
    np.testing.assert_allclose(np.array(none), expected, rtol=2e-5, atol=2e-5)
    total = function(*given, reduction="sum", **options)
    np.testing.assert_allclose(total.item(), expected.sum(), rtol=1e-4, atol=1e-4)
    mean = mx.compile(lambda *x: function(*x, reduction="mean", **options))(*given)
    np.testing.assert_allclose(mean.item(), expected.mean(), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="reduction"):
        function(*given, reduction="most", **options)


def test_wrong_shapes():
    a, b = mx.ones((4, 5)), mx.ones((4, 1))
    for call in (
        lambda: nn.losses.cross_entropy(a, mx.array([1, 2])),
        lambda: nn.losses.cross_entropy(a, b),
        lambda: nn.losses.cross_entropy(a, mx.array([1, 2, 3, 4]), label_smoothing=1.0),
        lambda: nn.losses.cross_entropy(a, mx.array([1, 2, 3, 4]), weights=mx.ones(3)),
        lambda: nn.losses.binary_cross_entropy(a, b),
        lambda: nn.losses.binary_cross_entropy(a, a, weights=b),
        lambda: nn.losses.nll_loss(a, mx.zeros((4, 1), dtype=mx.int32)),
        lambda: nn.losses.l1_loss(a, b),
        lambda: nn.losses.mse_loss(a, b),
        lambda: nn.losses.smooth_l1_loss(a, b),
        lambda: nn.losses.gaussian_nll_loss(a, a, b),
        lambda: nn.losses.margin_ranking_loss(a, a, b),
    ):
        with pytest.raises(ValueError):
            call()


def test_extreme_logits():
    x = mx.array([1e4, -1e4, 0.0])
    y = nn.losses.binary_cross_entropy(x, mx.array([1.0, 0.0, 1.0]), reduction="none")
    np.testing.assert_allclose(np.array(y), [0, 0, math.log(2)], atol=1e-6)
    y = nn.losses.cross_entropy(mx.array([[1e4, 0.0, -np.inf]]), mx.array([1]))
    np.testing.assert_allclose(np.array(y), [1e4])


def test_initializers():
    a = mx.zeros((60, 3, 50))
    for name, variance, arguments in (
        ("glorot_normal", 2 / (150 + 180), {}),  # a window counts on both sides
        ("glorot_uniform", 2 / (150 + 180), {}),
        ("he_normal", 1 / 150, {}),
        ("he_uniform", 1 / 150, {}),
        ("he_normal", 1 / 180, {"mode": "fan_out"}),
    ):
        value = np.array(getattr(nn.init, name)()(a, gain=2.0, **arguments)) / 2
        assert value.shape == (60, 3, 50)
        assert abs(value.mean()) < 0.01 and abs(value.var() / variance - 1) < 0.1, name
    assert np.array(nn.init.constant(3.0, mx.float16)(a)).dtype == np.float16
    assert (np.array(nn.init.identity()(mx.zeros((3, 3)))) == np.eye(3)).all()
    u = np.array(nn.init.uniform(2, 3)(a))
    assert u.min() >= 2 and u.max() < 3
    n = np.array(nn.init.normal(1.0, 0.1)(a))
    assert abs(n.mean() - 1) < 0.01 and abs(n.std() - 0.1) < 0.01
    for shape in ((5, 9), (9, 5), (64, 64), (1, 1)):
        q = np.array(nn.init.orthogonal(2.0)(mx.zeros(shape))).astype(np.float64) / 2
        q = q if shape[0] <= shape[1] else q.T
        np.testing.assert_allclose(q @ q.T, np.eye(len(q)), atol=1e-4)
    for wrong in (nn.init.identity()(mx.zeros((3, 3))).reshape(9), mx.zeros((2, 3))):
        with pytest.raises(ValueError):
            nn.init.identity()(wrong)
    with pytest.raises(ValueError):
        nn.init.he_normal()(mx.zeros(3))
    with pytest.raises(ValueError):
        nn.init.he_normal()(mx.zeros((3, 3)), mode="most")
    with pytest.raises(ValueError):
        nn.init.orthogonal()(mx.zeros(3))
