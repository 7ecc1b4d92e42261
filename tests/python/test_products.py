"""Sums of products: einsum and its kin, against numpy."""

import itertools
import os
import subprocess
import sys

import ferrule.core as mx
import numpy as np
import pytest

DTYPES = [mx.int8, mx.int32, mx.int64, mx.float16, mx.float32, mx.float64, mx.complex64]


def values(shape, dtype=mx.float32, seed=0):
    """Small whole numbers: every order of sums gives the same."""
    rng = np.random.default_rng(seed + len(shape))
    v = rng.integers(-3, 4, shape).astype(np.dtype(dtype.name))
    return v + 1j * rng.integers(-2, 3, shape).astype(np.float32) if dtype.name[0] == "c" else v


def lay(v, i=0):
    """v in one of three layouts, in its own dtype."""
    dtype = getattr(mx, "bool_" if v.dtype == bool else v.dtype.name)
    if i % 3 == 1:
        return mx.array(v.T.copy(order="C"), dtype=dtype).T
    if i % 3 == 2 and v.ndim:
        return mx.array(v[..., ::-1].copy(), dtype=dtype)[..., ::-1]
    return mx.array(v, dtype=dtype)


def same(result, wanted, dtype=None):
    wanted = np.asarray(wanted)
    assert result.shape == wanted.shape
    if dtype is not None:
        assert result.dtype == dtype
    np.testing.assert_array_equal(np.array(result), wanted.astype(np.array(result).dtype))


SIZES = dict(zip("abcdijklmnxyz", (2, 3, 4, 5, 3, 4, 5, 2, 6, 7, 2, 3, 4)))
EINSUMS = [
    "ij->ij", "ij->ji", "ij", "ji", "ij->", "ij->i", "ii", "ii->i", "iij->ij", "iii->i", "iii",
    "i,i", "i,i->i", "i,j->ij", "i,j->ji", "i,j", "ij,jk", "ij,jk->ki", "ij,kj->ik", "ij,ij->",
    "ij,ij->ij", "ij,ij->j", "ij,j->i", "ij,i->j", "bij,bjk->bik".replace("b", "a"),
    "aij,ajk->ik", "aij,bjk->abik", "ijk,jil->kl", "ijk,jil", "ij,jk,kl->il", "ij,jk,kl",
    "ij,jk,kl->lji", "a,b,c->abc", "ij,j,i->", "abc,cd,def->abef".replace("e", "x").replace("f", "y"),
    "ii,ij->j", "ii,jj->ij", "ij,ji->", "i,->i", ",", "ij,->", "i,i,i->i", "i,i,i", "ij,kl->",
    "ijk->kj", "xayb,cbzd->xcyadz", "iIj,jI->i".replace("I", "m"), "ij, jk -> ik", "Z,Za->aZ".replace("Z", "n"),
    "abcd,bd->ac", "abcd,abcd->bd", "abcd,dcba->", "aab,bcc->ac",
]  # fmt: skip


def operands(text, dtype=mx.float32):
    inputs = text.replace(" ", "").split("->")[0].split(",")
    return [values([SIZES[c] for c in term], dtype, i) for i, term in enumerate(inputs)]


@pytest.mark.parametrize("text", EINSUMS)
def test_einsum(text):
    for dtype in DTYPES:
        vs = operands(text, dtype)
        wide = [v.astype(np.complex128 if dtype == mx.complex64 else np.int64) for v in vs]
        if dtype == mx.int8:
            wanted = np.einsum(text, *vs)
        else:
            wanted = np.einsum(text, *wide)
        for first in range(3):
            xs = [lay(v, first + i) for i, v in enumerate(vs)]
            same(mx.einsum(text, *xs), wanted, dtype)


@pytest.mark.parametrize(
    "text, shapes",
    [
        ("...ij,...jk->...ik", [(2, 3, 4), (4, 5)]),
        ("...ij,...jk", [(7, 1, 3, 4), (2, 4, 5)]),
        ("...i,...i->...", [(2, 3, 4), (3, 4)]),
        ("i...,i...", [(2, 3), (2, 3)]),
        ("...,...", [(2, 3), (2, 3)]),
        ("i...->...", [(4, 2, 3)]),
        ("...i->i...", [(4, 2, 3)]),
        ("a...b->b...a", [(4, 2, 3, 5)]),
        ("ij,ij->ij", [(1, 3), (4, 1)]),
        ("ij,jk->ik", [(2, 1), (4, 3)]),
        ("ij,jk->ik", [(1, 1), (4, 3)]),
        ("ij,jk->ik", [(2, 0), (0, 3)]),
        ("ij,jk->ik", [(0, 4), (4, 3)]),
        ("ij->j", [(0, 3)]),
        ("ij,ij->i", [(1, 3), (1, 3)]),
    ],
)
def test_einsum_broadcasts(text, shapes):
    vs = [values(s, seed=i) for i, s in enumerate(shapes)]
    same(mx.einsum(text, *map(mx.array, vs)), np.einsum(text, *vs))


def test_einsum_of_large_matrices():
    """Through the engine of matrix products."""
    vs = [values(s, seed=i) for i, s in enumerate([(4, 40, 50), (4, 50, 3, 20), (3, 70)])]
    xs = [mx.array(v) for v in vs]
    for text in ("aik,akjl,jm->ailm", "aik,akjl,jm->mila", "aik,akjl,jm->im"):
        same(mx.einsum(text, *xs), np.einsum(text, *vs))
    same(mx.tensordot(xs[0], xs[1], [[2, 0], [1, 0]]), np.tensordot(vs[0], vs[1], [[2, 0], [1, 0]]))
    same(mx.inner(xs[0], xs[0]), np.inner(vs[0], vs[0]))


def test_einsum_of_mixed_dtypes():
    a, b = values((3, 4), mx.float16), values((4, 5), mx.int32)
    same(mx.einsum("ij,jk", mx.array(a), mx.array(b)), a.astype(np.int32) @ b, mx.float16)
    v = values((3, 4)) > 0
    same(mx.einsum("ij,kj->ik", mx.array(v), mx.array(v)), np.einsum("ij,kj->ik", v, v), mx.bool_)


def test_random_einsums():
    rng = np.random.default_rng(7)
    for _ in range(150):
        letters = "abcd"
        terms = [
            "".join(rng.choice(list(letters), rng.integers(0, 4)))
            for _ in range(rng.integers(1, 4))
        ]
        there = sorted(set("".join(terms)))
        out = "".join(rng.permutation([c for c in there if rng.random() < 0.5]))
        text = ",".join(terms) + "->" + out
        vs = operands(text)
        same(mx.einsum(text, *map(mx.array, vs)), np.einsum(text, *vs))
        if text.index("->"):
            path, _ = mx.einsum_path(text, *map(mx.array, vs))
            assert len(path) == max(len(terms) - 1, 1)


def test_einsum_path():
    xs = [mx.zeros(s) for s in ((4, 4), (4, 2), (2, 4))]
    path, told = mx.einsum_path("ij,jk,kl->il", *xs)
    assert path == [(0, 1), (0, 1)]
    assert told == (
        "  Complete contraction:  ij,jk,kl->il\n         Naive scaling:  4\n"
        "     Optimized scaling:  3\n      Naive FLOP count:  384\n  Optimized FLOP count:  128\n"
    )
    assert mx.einsum_path("ij->ji", xs[0])[0] == [(0,)]
    big, thin = mx.zeros((1000, 2)), mx.zeros((2, 1000))
    assert mx.einsum_path("ij,jk,kl->il", big, thin, big)[0] == [(1, 2), (0, 1)]
    # an outer product is cheap, but makes the rest dear
    path = mx.einsum_path("ab,c,bd->acd", mx.zeros((2, 3)), mx.zeros(4), mx.zeros((3, 100)))[0]
    assert path[0] == (0, 2)


@pytest.mark.parametrize(
    "text, shapes, message",
    [
        ("ij,jk", [(2, 3)], "1 operands|more terms"),
        ("ij", [(2, 3), (2, 3)], "fewer terms"),
        ("ijk", [(2, 3)], "operand 0 has 2 dimensions, its term 3 letters"),
        ("i", [(2, 3)], "operand 0"),
        ("...ijk", [(2, 3)], "operand 0"),
        ("i1", [(2, 3)], "'1' is no letter"),
        ("ij,jk", [(2, 3), (2, 3)], "axis 0 of operand 1, float32.2,3., is elsewhere of size 3"),
        ("ii", [(2, 3)], "letter stands|elsewhere"),
        ("ii", [(1, 3)], "letter stands"),
        ("ij->ii", [(2, 3)], "'i' stands twice"),
        ("ij->ik", [(2, 3)], "'k' of the result"),
        ("ij->i->", [(2, 3)], "after the result|no letter"),
        ("ij->i,", [(2, 3)], "after the result"),
        ("i-j", [(2, 3)], "'-' is no letter"),
        ("...i...", [(2, 3)], "no letter"),
    ],
)
def test_einsum_errors(text, shapes, message):
    with pytest.raises(ValueError, match="einsum: .*(" + message + ")"):
        mx.einsum(text, *map(mx.zeros, shapes))


def test_einsum_arguments():
    with pytest.raises(TypeError):
        mx.einsum()
    with pytest.raises(TypeError):
        mx.einsum(mx.zeros(2))
    with pytest.raises(ValueError):
        mx.einsum("")
    with pytest.raises(TypeError):
        mx.einsum("i", mx.zeros(2), optimize=True)
    assert mx.einsum("i->", mx.ones(2), stream=mx.cpu).item() == 2


def test_einsum_derivative():
    a, b = values((3, 4)), values((4, 5), seed=1)
    f = mx.grad(lambda x, y: (mx.einsum("ij,jk->ki", x, y) ** 2).sum(), argnums=(0, 1))
    da, db = f(mx.array(a), mx.array(b))
    same(da, 2 * a @ b @ b.T)
    same(db, 2 * a.T @ a @ b)
    f = mx.vmap(lambda x, y: mx.einsum("i,i->", x, y))
    same(f(mx.array(a), mx.array(a)), (a * a).sum(1))


TENSORDOTS = [
    ((3, 4), (3, 4), 2), ((3, 4), (4, 3), 1), ((3, 4), (2,), 0), ((3, 4), (3, 4), [[0], [0]]),
    ((3, 4, 5), (5, 3, 2), [[2, 0], [0, 1]]), ((3, 4, 5), (5, 3, 2), [[-1], [0]]),
    ((), (2,), 0), ((0, 3), (3, 0), 1), ((3, 0), (0, 3), 1),
]  # fmt: skip


@pytest.mark.parametrize("shape_a, shape_b, axes", TENSORDOTS)
def test_tensordot(shape_a, shape_b, axes):
    for dtype in DTYPES:
        a, b = values(shape_a, dtype), values(shape_b, dtype, 1)
        for i in range(3):
            got = mx.tensordot(lay(a, i), lay(b, i + 1), axes=axes)
            same(got, np.tensordot(a.astype(np.complex128), b.astype(np.complex128), axes)
                 if dtype == mx.complex64 else np.tensordot(a, b, axes), dtype)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_products_of_two(dtype):
    shapes = [(), (3,), (2, 3), (4, 3), (2, 1, 3)]
    summed = mx.int32 if dtype == mx.int8 else dtype
    for s, t in itertools.product(shapes, shapes):
        a, b = values(s, dtype), values(t, dtype, 1)
        for i in range(3):
            x, y = lay(a, i), lay(b, i + 1)
            same(mx.outer(x, y), np.outer(a, b), dtype)
            same(mx.inner(x, y), np.inner(a, b), dtype)
            same(mx.kron(x, y), np.kron(a, b), dtype)
    for s in shapes[1:]:
        a, b = values(s, dtype), values(s, dtype, 1)
        same(mx.vdot(lay(a), lay(b)), np.vdot(a, b), dtype)
        for axis in range(len(s)):
            wanted = (a.conj() * b).sum(axis)
            same(mx.vecdot(lay(a), lay(b), axis=axis), wanted, summed)
    a, b = values((2, 4, 3), dtype), values((3,), dtype, 1)
    same(mx.vecdot(lay(a), lay(b)), (a.conj() * b).sum(-1), summed)


def test_addmm():
    a, b, c = values((3, 4)), values((4, 5)), values((5,))
    x, y, z = map(mx.array, (a, b, c))
    same(mx.addmm(z, x, y), a @ b + c)
    same(mx.addmm(z, x, y, 2.5, -0.5), 2.5 * (a @ b) - 0.5 * c)
    same(mx.addmm(mx.array(1), x, y, alpha=2, beta=3), 2 * (a @ b) + 3)
    same(mx.addmm(z[0], x[0], y), a[0] @ b + c[0])
    half = mx.addmm(mx.array([1.0], dtype=mx.float16), x.astype(mx.float16), y.astype(mx.float16))
    assert half.dtype == mx.float16
    assert mx.addmm(z, x.astype(mx.float16), y.astype(mx.float16)).dtype == mx.float32
    ints = mx.addmm(mx.array(1), x.astype(mx.int32), y.astype(mx.int32), 2, 3)
    same(ints, 2 * (a @ b) + 3, mx.int32)
    with pytest.raises(ValueError, match=r"addmm: c is float32\[4\]"):
        mx.addmm(mx.zeros(4), x, y)
    with pytest.raises(ValueError, match="addmm: c is"):
        mx.addmm(mx.zeros((2, 3, 5)), x, y)
    with pytest.raises(ValueError, match="matmul: inner"):
        mx.addmm(z, x, x)
    with pytest.raises(TypeError, match="addmm"):
        mx.addmm(mx.array(1), x.astype(mx.int32), y.astype(mx.int32), 0.5)


def spread(mask, block, shape):
    return np.repeat(np.repeat(mask, block, -1), block, -2)[..., : shape[-2], : shape[-1]]


@pytest.mark.parametrize("block", [32, 64, 5])
def test_block_masked_mm(block):
    a, b = values((70, 65)), values((2, 65, 40), seed=1)
    rows, inner, columns = (-(-n // block) for n in (70, 65, 40))
    out, lhs, rhs = values((2, rows, columns)), values((rows, inner)), values((inner, columns))
    x, y = mx.array(a), mx.array(b)
    same(mx.block_masked_mm(x, y, block), a @ b)
    for kind in (np.float32, bool):
        masks = [m.astype(kind) for m in (out, lhs, rhs)]
        o, p, q = (spread(m, block, s) for m, s in zip(masks, [(70, 40), (70, 65), (65, 40)]))
        ours = [mx.array(m) for m in masks]
        same(mx.block_masked_mm(x, y, block, ours[0]), (a @ b) * o)
        same(mx.block_masked_mm(x, y, block, *ours), ((a * p) @ (b * q)) * o)
        same(mx.block_masked_mm(x, y, block, mask_rhs=ours[2]), a @ (b * q))
    with pytest.raises(ValueError, match="block_masked_mm: a mask"):
        mx.block_masked_mm(x, y, block, mx.ones((rows + 1, columns)))
    with pytest.raises(ValueError, match="block_masked_mm: blocks of 0"):
        mx.block_masked_mm(x, y, 0)


def test_gather_mm():
    a, b = values((4, 2, 3, 5)), values((2, 5, 6), seed=1)
    x, y = mx.array(a), mx.array(b)
    flat = a.reshape(8, 3, 5)
    i, j = np.array([[0], [7]]), np.array([1, 0, 1])
    same(mx.gather_mm(x, y, mx.array(i), mx.array(j)), flat[i] @ b[j])
    same(mx.gather_mm(x, y), a @ b)
    same(mx.gather_mm(x, y, None, mx.array([1, 0])), a @ b[[1, 0]])
    same(mx.gather_mm(x, y, mx.array(3), sorted_indices=True), flat[3] @ b)
    same(mx.gather_mm(x[0, 0, 0], y, mx.array([0]), None), a[0, 0, 0] @ b)
    same(mx.gather_mm(x, y[0, :, 0], mx.array([0, 2]), None), flat[[0, 2]] @ b[0, :, 0])
    with pytest.raises(ValueError, match="gather_mm: inner dimensions"):
        mx.gather_mm(x, x, mx.array(0))
    with pytest.raises(TypeError, match="take: indices"):
        mx.gather_mm(x, y, mx.array([0.5]))


def test_segmented_mm():
    a, b = values((3, 8)), values((8, 4), seed=1)
    segments = [[[0, 3], [3, 8]], [[2, 2], [5, 99]]]
    wanted = [[a[:, s:e] @ b[s:e] for s, e in row] for row in segments]
    same(mx.segmented_mm(mx.array(a), mx.array(b), mx.array(segments)), wanted)
    same(mx.segmented_mm(mx.array(a), mx.array(b), mx.array([1, 7])), a[:, 1:7] @ b[1:7])
    with pytest.raises(ValueError, match="segmented_mm"):
        mx.segmented_mm(mx.array(a), mx.array(b), mx.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="segmented_mm"):
        mx.segmented_mm(mx.array(a), mx.array(a), mx.array([0, 1]))
    with pytest.raises(TypeError, match="segmented_mm"):
        mx.segmented_mm(mx.array(a), mx.array(b), mx.array([0.0, 1.0]))


@pytest.mark.parametrize("n", [1, 2, 4, 8, 32, 64, 512])
def test_hadamard_transform(n, looser):
    h = np.array([[1.0]])
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    v = values((3, n))
    same(mx.hadamard_transform(mx.array(v), scale=1.0), v @ h)
    got = np.array(mx.hadamard_transform(mx.array(v)))
    np.testing.assert_allclose(got, v @ h / np.sqrt(n), rtol=looser * 1e-6, atol=looser * 1e-6)
    assert mx.hadamard_transform(mx.array(v).astype(mx.int32)).dtype == mx.float32
    with pytest.raises(ValueError, match="hadamard_transform"):
        mx.hadamard_transform(mx.zeros((2, 3)))


@pytest.mark.parametrize(
    "call, kind, text",
    [
        (lambda x: mx.inner(x, x[:, :2]), ValueError, "inner: the last axes"),
        (lambda x: mx.vdot(x, x[0]), ValueError, "vdot"),
        (lambda x: mx.vecdot(x, x[:, :2]), ValueError, "vecdot: axis -1"),
        (lambda x: mx.vecdot(x, x, axis=2), IndexError, "vecdot: axis 2"),
        (lambda x: mx.tensordot(x, x, 1), ValueError, "tensordot: the sizes"),
        (lambda x: mx.tensordot(x, x, 5), ValueError, "tensordot: over 5"),
        (lambda x: mx.tensordot(x, x, -1), ValueError, "tensordot"),
        (lambda x: mx.tensordot(x, x, [[0, 1], [0]]), ValueError, "tensordot: 2 axes"),
        (lambda x: mx.tensordot(x, x, [[0], [9]]), IndexError, "tensordot: axis 9"),
        (lambda x: mx.tensordot(x, x, [[0, 0], [0, 1]]), ValueError, "named twice"),
        (lambda x: mx.tensordot(x, x, [[0]]), ValueError, "tensordot"),
        (lambda x: mx.tensordot(x, x, 1.5), TypeError, "tensordot"),
        (lambda x: mx.outer(x, "a"), TypeError, "outer: an operand"),
        (lambda x: mx.kron(x), TypeError, "kron"),
    ],
)
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call(mx.zeros((2, 3)))


@pytest.mark.parametrize("mode", ["full", "valid", "same"])
def test_convolve(mode):
    for n, m in itertools.product((1, 2, 3, 7, 40), repeat=2):
        a, v = values((n,)), values((m,), seed=1)
        same(mx.convolve(mx.array(a), mx.array(v), mode), np.convolve(a, v, mode), mx.float32)
    with pytest.raises(ValueError, match="convolve"):
        mx.convolve(mx.zeros((1, 2)), mx.zeros(2), mode)
    with pytest.raises(ValueError, match="convolve"):
        mx.convolve(mx.zeros(0), mx.zeros(2), mode)
    with pytest.raises(ValueError, match="convolve: mode"):
        mx.convolve(mx.zeros(3), mx.zeros(2), mode + "s")


def test_cross():
    sizes = ((3,), (4, 3), (1, 2), (4, 2), (2,))
    for s, t in itertools.product(sizes, sizes):
        a, b = values(s), values(t, seed=1)
        tall = [np.concatenate([v, 0 * v[..., : 3 - v.shape[-1]]], -1) for v in (a, b)]
        same(mx.linalg.cross(mx.array(a), mx.array(b)), np.cross(*tall), mx.float32)
    a, b = values((3, 4), mx.int8), values((3, 4), mx.int8, 1)
    same(mx.linalg.cross(mx.array(a), mx.array(b), axis=0), np.cross(a, b, axis=0), mx.int8)
    with pytest.raises(ValueError, match="cross"):
        mx.linalg.cross(mx.zeros((2, 4)), mx.zeros((2, 4)))
    with pytest.raises(IndexError, match="cross"):
        mx.linalg.cross(mx.zeros(3), mx.zeros(3), axis=1)


INF = float("inf")


def near(result, wanted):
    assert result.shape == np.shape(wanted)
    np.testing.assert_allclose(np.array(result), wanted, rtol=2e-6)


@pytest.mark.parametrize("keepdims", [False, True])
def test_norm(keepdims):
    v = values((3, 4, 5))
    x, f = mx.array(v), mx.linalg.norm
    near(f(x, keepdims=keepdims), np.sqrt((v * v).sum(keepdims=keepdims)))
    for order in (None, 0, 1, 2, 3, 0.5, INF, -INF):
        for axis in (0, -1):
            wanted = np.linalg.norm(v, order, axis, keepdims=keepdims)
            near(f(x, order, axis=axis, keepdims=keepdims), wanted)
        near(f(x[0, 0], order), np.linalg.norm(v[0, 0], order))
    for order in (None, "fro", 1, -1, INF, -INF):
        for axes in ((0, 1), (2, 0), (-1, -2)):
            wanted = np.linalg.norm(v, order, axes, keepdims=keepdims)
            near(f(x, order, axis=axes, keepdims=keepdims), wanted)
            near(mx.matrix_norm(x, order, axes, keepdims), wanted)
        near(f(x[0], order), np.linalg.norm(v[0], order))
    z = values((3, 4), mx.complex64)
    near(f(mx.array(z)), np.linalg.norm(z))
    assert f(mx.array([3, 4])).item() == 5 and f(mx.array([3, 4])).dtype == mx.float32
    assert f(mx.array([3.0, 4.0], dtype=mx.float16)).dtype == mx.float16
    assert f(mx.array(-3.0)).item() == 3
    same(mx.grad(lambda x: f(x))(mx.array([3.0, 4.0])), np.array([0.6, 0.8], np.float32))


@pytest.mark.parametrize(
    "call, kind",
    [
        (lambda f, x: f(x, 1), ValueError),
        (lambda f, x: f(x, axis=(0, 1, 2)), ValueError),
        (lambda f, x: f(x, axis=(0, 0)), ValueError),
        (lambda f, x: f(x, axis=3), IndexError),
        (lambda f, x: f(x[0, 0], "fro"), ValueError),
        (lambda f, x: f(x[0], 3), ValueError),
        (lambda f, x: f(x[0], 2), ValueError),
        (lambda f, x: f(x[0], "nuc"), ValueError),
        (lambda f, x: f(x[0], "zz"), ValueError),
    ],
)
def test_norm_errors(call, kind):
    with pytest.raises(kind, match="norm: "):
        call(mx.linalg.norm, mx.zeros((2, 3, 4)))


@pytest.mark.parametrize("dtype", [mx.float32, mx.int32, mx.float16])
def test_strided_vector_is_gathered_once(dtype):
    x = mx.array(np.arange(256 * 256).reshape(256, 256) % 7 - 3).astype(dtype)
    y = mx.array(np.arange(256 * 256).reshape(256, 256) % 5 - 2).astype(dtype)
    mx.eval(x, y)
    a, b = np.array(x).astype(np.float64), np.array(y).astype(np.float64)
    for made, wanted in (
        (x @ y.T[3], a @ b.T[3]),
        (y.T[3] @ x, b.T[3] @ a),
        (y.T[3] @ x.T, b.T[3] @ a.T),
        (x @ y[:, 4:5], a @ b[:, 4:5]),
        (y[::-1, 7] @ x, b[::-1, 7] @ a),
    ):
        np.testing.assert_array_equal(np.array(made).astype(np.float64), wanted)


def test_strided_vector_in_a_compiled_function_and_its_gradient():
    x = mx.array(np.random.default_rng(1).standard_normal((300, 300)).astype(np.float32))
    y = mx.array(np.random.default_rng(2).standard_normal((300, 300)).astype(np.float32))

    def loss(x, y):
        return mx.sum((x @ y.T[3]) ** 2)

    g = mx.compile(mx.grad(loss, argnums=(0, 1)))(x, y)
    a, b = np.array(x), np.array(y)
    r = 2 * (a @ b[:, 3])
    np.testing.assert_allclose(np.array(g[0]), np.outer(r, b[:, 3]), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(np.array(g[1])[:, 3], a.T @ r, rtol=1e-4, atol=2e-2)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16, mx.float64])
@pytest.mark.parametrize(
    "shape", [(5, 7, 9), (33, 65, 31), (64, 64, 1001), (70, 1, 500), (3, 200, 70)]
)
def test_error_of_products_is_bounded(dtype, shape):
    m, n, k = shape
    rng = np.random.default_rng(k)
    unit = {"float32": 2**-24, "float16": 2**-11, "bfloat16": 2**-8, "float64": 2**-53}[dtype.name]
    for at, bt in itertools.product((False, True), repeat=2):
        a = mx.array(rng.standard_normal((k, m) if at else (m, k)).astype(np.float64)).astype(dtype)
        b = mx.array(rng.standard_normal((n, k) if bt else (k, n)).astype(np.float64)).astype(dtype)
        a, b = a.T if at else a, b.T if bt else b
        x, y = np.array(a.astype(mx.float64)), np.array(b.astype(mx.float64))
        made = np.array((a @ b).astype(mx.float64))
        sums = 2**-53 if dtype == mx.float64 else 2**-24
        bound = k * sums * (np.abs(x) @ np.abs(y)) + 2 * unit * np.abs(x @ y) + 1e-30
        assert (np.abs(made - x @ y) <= bound).all()


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_infinity_and_nan_pass_through_products(dtype):
    a = np.ones((40, 50), np.float32)
    b = np.ones((50, 60), np.float32)
    a[3, 7], a[5, 8], a[6, 9], b[9, 11], b[20, 50] = np.inf, np.nan, np.inf, 0, -np.inf
    made = mx.array(a).astype(dtype) @ mx.array(b).astype(dtype)
    with np.errstate(invalid="ignore"):
        wanted = a @ b
    np.testing.assert_array_equal(np.array(made.astype(mx.float32)), wanted)


@pytest.mark.parametrize("shape", [(0, 4, 5), (4, 0, 5), (4, 5, 0), (0, 0, 0)])
def test_products_of_empty_sides(shape):
    m, n, k = shape
    made = mx.array(np.ones((m, k), np.float32)) @ mx.array(np.ones((k, n), np.float32))
    assert made.shape == (m, n)
    np.testing.assert_array_equal(np.array(made), np.zeros((m, n), np.float32))


SAME_BITS = """
import hashlib, sys
import ferrule.core as mx
import numpy as np

rng = np.random.default_rng(3)
told = hashlib.sha256()
for m, n, k in ((64, 70, 5000), (300, 200, 600), (33, 1000, 40), (1000, 7, 90)):
    for dtype in (mx.float32, mx.bfloat16, mx.float64):
        a = mx.array(rng.standard_normal((m, k))).astype(dtype)
        b = mx.array(rng.standard_normal((n, k))).astype(dtype).T
        told.update(np.array((a @ b).astype(mx.float64)).tobytes())
print(told.hexdigest())
"""


def test_any_number_of_threads_gives_the_same_bits():
    found = set()
    for threads in (1, 2, 3, 16):
        own = dict(os.environ, FERRULE_NUM_THREADS=str(threads))
        command = [sys.executable, "-c", SAME_BITS]
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("shape", [(64, 64, 64), (33, 130, 65), (5, 17, 1100), (2, 3, 90)])
def test_small_integers_wrap(dtype, shape):
    """What is kept of a sum is right modulo its size, for any layout, in a batch, compiled and not."""
    m, n, k = shape
    rng = np.random.default_rng(m)
    info = np.iinfo(dtype)
    a = rng.integers(info.min, info.max, (m, k), dtype, endpoint=True)
    b = rng.integers(info.min, info.max, (k, n), dtype, endpoint=True)
    want = (a.astype(np.int64) @ b.astype(np.int64)).astype(dtype)
    x, y = mx.array(a), mx.array(b)
    turned, back = mx.array(a.T.copy()).T, mx.array(b[::-1].copy())[::-1]
    together = mx.matmul(mx.stack([x, x]), mx.stack([y, y]))
    for z in (x @ y, turned @ y, x @ back, together[1], mx.compile(mx.matmul)(x, y)):
        assert z.dtype == x.dtype
        assert np.array_equal(np.array(z), want)
    assert np.array_equal(np.array(mx.einsum("ik,kj->ji", x, y)), want.T)
