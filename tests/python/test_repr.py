"""repr is MLX's, character by character (recorded from mlx 0.32.4)."""

import ferrule.core as mx
import pytest

CASES = [
    ("mx.array(2.36788)", "array(2.36788, dtype=float32)"),
    ("mx.array([1, 2, 3])", "array([1, 2, 3], dtype=int32)"),
    ("mx.array([[1, 2], [3, 4]])", "array([[1, 2],\n       [3, 4]], dtype=int32)"),
    (
        "mx.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])",
        "array([[[1, 2],\n        [3, 4]],\n       [[5, 6],\n        [7, 8]]], dtype=int32)",
    ),
    ("mx.zeros((1, 1, 1, 2))", "array([[[[0, 0]]]], dtype=float32)"),
    (
        "mx.zeros((2, 2, 1, 2))",
        "array([[[[0, 0]],\n        [[0, 0]]],\n       [[[0, 0]],\n        [[0, 0]]]], dtype=float32)",
    ),
    ("mx.array([])", "array([], dtype=float32)"),
    ("mx.zeros((2, 0))", "array([[],\n       []], dtype=float32)"),
    ("mx.zeros((2, 0, 3))", "array([[],\n       []], dtype=float32)"),
    ("mx.zeros((0, 2))", "array([], dtype=float32)"),
    ("mx.array(True)", "array(True, dtype=bool)"),
    ("mx.array([True, False])", "array([True, False], dtype=bool)"),
    ("mx.arange(6)", "array([0, 1, 2, 3, 4, 5], dtype=int32)"),
    ("mx.arange(7)", "array([0, 1, 2, ..., 4, 5, 6], dtype=int32)"),
    ("mx.arange(2000)", "array([0, 1, 2, ..., 1997, 1998, 1999], dtype=int32)"),
    (
        "mx.zeros((7, 7))",
        "array([[0, 0, 0, ..., 0, 0, 0],\n       [0, 0, 0, ..., 0, 0, 0],\n       [0, 0, 0, ..., 0, 0, 0],\n       ...,\n       [0, 0, 0, ..., 0, 0, 0],\n       [0, 0, 0, ..., 0, 0, 0],\n       [0, 0, 0, ..., 0, 0, 0]], dtype=float32)",
    ),
    (
        "mx.zeros((7, 2))",
        "array([[0, 0],\n       [0, 0],\n       [0, 0],\n       ...,\n       [0, 0],\n       [0, 0],\n       [0, 0]], dtype=float32)",
    ),
    (
        "mx.zeros((2, 8, 2))",
        "array([[[0, 0],\n        [0, 0],\n        [0, 0],\n        ...,\n        [0, 0],\n        [0, 0],\n        [0, 0]],\n       [[0, 0],\n        [0, 0],\n        [0, 0],\n        ...,\n        [0, 0],\n        [0, 0],\n        [0, 0]]], dtype=float32)",
    ),
    (
        'mx.array([float("nan"), float("inf"), -float("inf")])',
        "array([nan, inf, -inf], dtype=float32)",
    ),
    ("mx.array([1e10, 1e-5, 1.5])", "array([1e+10, 1e-05, 1.5], dtype=float32)"),
    (
        "mx.array([1e6, 123456789.0, 100000.0, 999999.0, 999999.5])",
        "array([1e+06, 1.23457e+08, 100000, 999999, 1e+06], dtype=float32)",
    ),
    (
        "mx.array([0.1, 1 / 3, -0.0, 1e-10, 0.0001, 0.00001])",
        "array([0.1, 0.333333, -0, 1e-10, 0.0001, 1e-05], dtype=float32)",
    ),
    ("mx.array(1 / 3, dtype=mx.float16)", "array(0.333252, dtype=float16)"),
    ("mx.array([1 / 3, 65504], dtype=mx.float16)", "array([0.333252, 65504], dtype=float16)"),
    (
        "mx.array([1 / 3, 3e38], dtype=mx.bfloat16)",
        "array([0.333984, 3.00406e+38], dtype=bfloat16)",
    ),
    ("mx.array([1, -2], dtype=mx.int8)", "array([1, -2], dtype=int8)"),
    ("mx.array([200, 7], dtype=mx.uint8)", "array([200, 7], dtype=uint8)"),
    ("mx.array(2**40)", "array(1099511627776, dtype=int64)"),
    ("mx.array(7, dtype=mx.uint64)", "array(7, dtype=uint64)"),
    ("mx.array([2**31], dtype=mx.uint32)", "array([2147483648], dtype=uint32)"),
    ("mx.array([[1.5, 2], [3, 4]]).T", "array([[1.5, 3],\n       [2, 4]], dtype=float32)"),
    ("mx.arange(10)[::3]", "array([0, 3, 6, 9], dtype=int32)"),
]


@pytest.mark.parametrize("text, expected", CASES, ids=[case[0] for case in CASES])
def test_repr(text, expected):
    x = eval(text, {"mx": mx, "float": float})
    assert repr(x) == expected
    assert str(x) == expected


def test_dtype_repr():
    assert repr(mx.float32) == "ferrule.core.float32"
    assert repr(mx.bool_) == "ferrule.core.bool"
    assert repr(mx.array) == "<class 'ferrule.core.array'>"


def test_format():
    assert f"{mx.array(2.5):.3f}" == "2.500"
    assert f"{mx.array([1, 2])}" == "array([1, 2], dtype=int32)"
    with pytest.raises(TypeError):
        f"{mx.array([1, 2]):.3f}"
