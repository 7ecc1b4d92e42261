"""Derivatives at corners: every row of the table in docs/transforms.md, by the values that it states."""

import math
import pathlib
import re

import ferrule.core as mx
import numpy as np
import pytest

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "transforms.md"
NAN, INF = math.nan, math.inf
W3, W4 = mx.array([1.0, 2.0, 4.0]), mx.array([1.0, 2.0, 4.0, 8.0])
TWICE = mx.array([0, 0])


def derivative(f):
    """The first place of f's gradient, a function to be differentiated again."""
    return lambda x: mx.grad(f)(x)[0]


def updated(x, y):
    return (mx.slice_update(x, y, mx.array([1]), axes=(0,)) * W3).sum()


def at(how):
    return lambda x, y: (getattr(x.at[TWICE], how)(y) * W3).sum()


# The row's first column: (function, arguments, their gradients), any number of them.
CORNERS = {
    "`max`, `min` over axes": [
        (mx.max, [[1, 2, 2]], [[0, 0.5, 0.5]]),
        (mx.min, [[1, 1, 2]], [[0.5, 0.5, 0]]),
        (lambda x: mx.max(x, axis=1).sum(), [[[1, 3], [2, 2]]], [[[0, 1], [0.5, 0.5]]]),
        (derivative(lambda x: mx.max(x) ** 2), [[3, 3]], [[0.5, 0.5]]),
        (mx.max, [[1, NAN, 2]], [[0, 0, 0]]),
    ],
    "`maximum(x, y)`, `minimum(x, y)`": [
        (lambda x, y: mx.maximum(x, y).sum(), [[1, 2, 5], [1, 3, 4]], [[0, 0, 1], [1, 1, 0]]),
        (lambda x, y: mx.minimum(x, y).sum(), [[1, 2, 5], [1, 3, 4]], [[0, 1, 0], [1, 0, 1]]),
    ],
    "`abs`, `sign` at 0; `floor` and its kin": [
        (lambda x: mx.abs(x).sum(), [[0, -1, 1]], [[0, -1, 1]]),
        (derivative(lambda x: mx.abs(x).sum()), [[0, 1]], [[0, 0]]),
        (lambda x: mx.sign(x).sum(), [[0, -1]], [[0, 0]]),
        (lambda x: (mx.floor(x) + mx.ceil(x) + mx.round(x)).sum(), [[0, -1.5]], [[0, 0]]),
    ],
    "`clip` at a bound": [
        (lambda x: mx.clip(x, 1, 2).sum(), [[1, 2, 0, 3, 1.5]], [[0, 0, 0, 0, 1]]),
    ],
    "`prod` with zeros among the factors": [
        (mx.prod, [[0, 2, 3]], [[6, 0, 0]]),
        (mx.prod, [[0, 0, 3]], [[0, 0, 0]]),
        (derivative(mx.prod), [[0, 2, 3]], [[0, 3, 2]]),
        (derivative(mx.prod), [[0, 0, 3]], [[0, 3, 0]]),
    ],
    "`x ** y` at x = 0": [
        (lambda x, y: (x**y).sum(), [[0, 0], [2, 1]], [[0, 1], [0, 0]]),
        (lambda x, y: (x**y).sum(), [[0], [0]], [[0], [-INF]]),
        (lambda x, y: (x**y).sum(), [[0], [0.5]], [[INF], [0]]),
        (lambda x: (x**0).sum(), [[0, 2]], [[0, 0]]),
        (lambda x: (x**1 + x**2 + x**3).sum(), [[0]], [[1]]),
    ],
    "`x ** y` at x < 0": [
        (lambda x, y: (x**y).sum(), [[-2, -1], [2, 3]], [[-4, 3], [NAN, NAN]]),
    ],
    "`sqrt` at 0; norms at 0": [
        (lambda x: mx.sqrt(x).sum(), [[0, 4]], [[INF, 0.25]]),
        (lambda x: mx.sqrt(mx.sum(x * x)), [[0, 0]], [[NAN, NAN]]),
        (mx.linalg.norm, [[0, 0]], [[NAN, NAN]]),
        (mx.std, [[3, 3]], [[NAN, NAN]]),
        (mx.var, [[3, 3]], [[0, 0]]),
        (lambda x: mx.linalg.norm(x, ord=1), [[0, -1]], [[0, -1]]),
    ],
    "`where` with NaN or an infinite derivative in the branch not taken": [
        (lambda x: mx.where(x > 0, mx.log(x), 0).sum(), [[0, 1]], [[NAN, 1]]),
        (lambda x: mx.where(x > 0, mx.sqrt(x), 0).sum(), [[-1, 0, 1]], [[NAN, NAN, 0.5]]),
        (lambda x: mx.where(x > 0, mx.log(mx.where(x > 0, x, 1)), 0).sum(), [[0, 1]], [[0, 1]]),
    ],
    "`x / 0`, `reciprocal(0)`, `log(0)`": [
        (lambda x, y: (x / y).sum(), [[1, 0, -1], [0, 0, 0]], [[INF] * 3, [-INF, NAN, INF]]),
        (lambda x: mx.reciprocal(x).sum(), [[0]], [[-INF]]),
        (lambda x: mx.log(x).sum(), [[0]], [[INF]]),
    ],
    "`remainder(x, y)`, `divmod`": [
        (lambda x, y: mx.remainder(x, y).sum(), [[5, -5, 7], [3, 3, 2]], [[1] * 3, [-1, 2, -3]]),
        (lambda x, y: mx.divmod(x, y)[1].sum(), [[5], [3]], [[1], [-1]]),
        (lambda x, y: (mx.divmod(x, y)[0] + x // y).sum(), [[5], [3]], [[0], [0]]),
    ],
    "a cast from float to integer": [
        (lambda x: x.astype(mx.int32).astype(mx.float32).sum(), [[1.5, 2.5]], [[0, 0]]),
    ],
    "`cumsum`, `logcumsumexp`": [
        (lambda x: (mx.cumsum(x) * W3).sum(), [[2, 0, 3]], [[7, 6, 4]]),
        (lambda x: mx.logcumsumexp(x).sum(), [[0, -INF, 0]], [[2.5, 0, 0.5]]),
    ],
    "`cumprod` with zeros among the factors": [
        (lambda x: mx.cumprod(x).sum(), [[2, 0, 5, 3]], [[1, 42, 0, 0]]),
        (lambda x: mx.cumprod(x).sum(), [[2, 0, 0, 3]], [[1, 2, 0, 0]]),
        (derivative(lambda x: mx.cumprod(x).sum()), [[2, 0, 5, 3]], [[0, 21, 0, 0]]),
    ],
    "`cummax`, `cummin`": [
        (lambda x: (mx.cummax(x) * W4).sum(), [[2, 3, 3, 1]], [[1, 14, 0, 0]]),
        (lambda x: (mx.cummin(x) * W4).sum(), [[2, 1, 1, 3]], [[1, 14, 0, 0]]),
        (lambda x: (mx.cummax(x) * W4).sum(), [[2, NAN, 3, 1]], [[1, 14, 0, 0]]),
    ],
    "`sort`, `partition`, `topk`, `median`": [
        (lambda x: (mx.sort(x) * W3).sum(), [[2, 2, 1]], [[2, 4, 1]]),
        (lambda x: (mx.partition(x, 1) * W3).sum(), [[2, 5, 1]], [[2, 4, 1]]),
        (lambda x: (mx.topk(x, 2) * W3[:2]).sum(), [[5, 2, 1]], [[2, 1, 0]]),
        (mx.median, [[2, 2, 1, 4]], [[0.5, 0.5, 0, 0]]),
    ],
    "indexing, `take`, `take_along_axis`": [
        (lambda x: (x[mx.array([0, 0, 1])] * W3).sum(), [[2, 5, 1]], [[3, 4, 0]]),
        (lambda x: mx.take(x, mx.array([1, 1])).sum(), [[2, 5, 1]], [[0, 2, 0]]),
        (lambda x: mx.take_along_axis(x, mx.array([1, 1]), 0).sum(), [[2, 5, 1]], [[0, 2, 0]]),
    ],
    "slice updates, `put_along_axis`, `at[].add`": [
        (updated, [[2, 5, 1], [9]], [[1, 0, 4], [2]]),
        (
            lambda x, y: (mx.put_along_axis(x, mx.array([0]), y, 0) * W3).sum(),
            [[2, 5, 1], [9]],
            [[0, 2, 4], [1]],
        ),
        (at("add"), [[2, 5, 1], [9, 8]], [[1, 2, 4], [1, 1]]),
    ],
    "`at[].multiply`": [
        (at("multiply"), [[2, 5, 1], [9, 8]], [[72, 2, 4], [16, 18]]),
        (at("multiply"), [[2, 5, 1], [0, 8]], [[0, 2, 4], [16, 0]]),
    ],
    "`at[].maximum`, `at[].minimum`": [
        (at("maximum"), [[9, 5, 1], [9, 8]], [[0.5, 2, 4], [0.5, 0]]),
        (at("maximum"), [[1, 5, 1], [9, 8]], [[0, 2, 4], [1, 0]]),
        (at("minimum"), [[1, 5, 1], [1, 0.5]], [[0, 2, 4], [0, 1]]),
    ],
    "comparisons, logic, bits, indices (`argmax`, `argsort`, `searchsorted`)": [
        (lambda x: mx.where((x > 1) & (x < 3), 1.0, 0.0).sum(), [[2, 5]], [[0, 0]]),
        (lambda x: (mx.argmax(x) * x).sum(), [[2, 5, 1]], [[1, 1, 1]]),
        (lambda x: (mx.argsort(x) * x).sum(), [[2, 5, 1]], [[2, 0, 1]]),
        (lambda x: (mx.argpartition(x, 1) * x).sum(), [[2, 5, 1]], [[2, 0, 1]]),
        (lambda x: (mx.searchsorted(mx.sort(x), x) * x).sum(), [[2, 5, 1]], [[1, 2, 0]]),
    ],
    "integer arguments": [
        (lambda x: (x * x).sum(), [mx.array([2, 3])], [[4, 6]]),
        (lambda x: (x * 1.5).sum(), [mx.array([2, 3])], [[1, 1]]),
    ],
    "`softmax`, `logsumexp`": [
        (lambda x: (mx.softmax(x) * W3[:2]).sum(), [[1, 1]], [[-0.25, 0.25]]),
        (mx.logsumexp, [[0, 0]], [[0.5, 0.5]]),
        (mx.logsumexp, [[-INF, -INF]], [[NAN, NAN]]),
    ],
    "`arctan2(0, 0)`, `logaddexp` of two minus infinite": [
        (lambda x, y: mx.arctan2(x, y).sum(), [[0], [0]], [[NAN], [NAN]]),
        (lambda x, y: mx.logaddexp(x, y).sum(), [[-INF], [-INF]], [[NAN], [NAN]]),
    ],
    "`arcsin(1)`, `erfinv(1)`, `log1p(-1)`": [
        (lambda x: mx.arcsin(x).sum(), [[1]], [[INF]]),
        (lambda x: mx.erfinv(x).sum(), [[1]], [[INF]]),
        (lambda x: mx.log1p(x).sum(), [[-1]], [[INF]]),
    ],
    "`nan_to_num`": [
        (lambda x: mx.nan_to_num(x).sum(), [[NAN, INF, -INF, 1]], [[0, 0, 0, 1]]),
    ],
}


def test_every_row_of_the_page_is_tried():
    table = PAGE.read_text().partition("## At corners")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| .* \|$", table, re.MULTILINE)
    assert sorted(row for row in rows if row != "---" and row.strip()) == sorted(CORNERS)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("row", CORNERS)
def test_corners(row, compiled):
    for f, values, wanted in CORNERS[row]:
        arrays = [
            v if isinstance(v, mx.array) else mx.array(np.array(v, dtype=np.float32))
            for v in values
        ]
        transformed = mx.grad(f, argnums=tuple(range(len(arrays))))
        got = (mx.compile(transformed) if compiled else transformed)(*arrays)
        for g, w, x in zip(got if len(arrays) > 1 else [got], wanted, arrays):
            assert g.dtype == x.dtype
            np.testing.assert_allclose(np.array(g), np.array(w, dtype=np.float64), rtol=1e-6)


def test_a_constant():
    x = mx.array([2.0, 3.0])
    assert mx.grad(lambda x: (mx.stop_gradient(x) * x).sum())(x).tolist() == [2, 3]
