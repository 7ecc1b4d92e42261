"""mx.random: reproducible, spread as they should be, keys."""

import ferrule.core as mx
import numpy as np
import pytest


def test_seed_restarts_the_sequence():
    mx.random.seed(7)
    a, b = mx.random.uniform(shape=(5,)), mx.random.uniform(shape=(5,))
    mx.random.seed(7)
    c = mx.random.uniform(shape=(5,))
    assert a.tolist() == c.tolist() != b.tolist()


def test_keys():
    key = mx.random.key(3)
    assert key.shape == (2,) and key.dtype == mx.uint32
    one, two = mx.random.split(key)
    assert mx.random.split(key, num=5).shape == (5, 2)
    draw = [mx.random.normal((4,), key=k).tolist() for k in (one, two, one)]
    assert draw[0] == draw[2] != draw[1]
    assert mx.random.bits((3,), key=key).tolist() == mx.random.bits((3,), key=key).tolist()


def test_uniform():
    mx.random.seed(0)
    x = np.array(mx.random.uniform(shape=(100, 1000)))
    assert x.dtype == np.float32 and x.min() >= 0 and x.max() < 1
    assert abs(x.mean() - 0.5) < 0.005 and abs(x.var() - 1 / 12) < 0.005
    y = np.array(mx.random.uniform(-2, 3, (10000,)))
    assert y.min() >= -2 and y.max() <= 3 and abs(y.mean() - 0.5) < 0.1
    z = mx.random.uniform(mx.array([0.0, 10.0]), mx.array([1.0, 20.0]), (100, 2))
    assert np.array(z)[:, 1].min() >= 10
    assert mx.random.uniform().shape == ()
    assert mx.random.uniform(shape=(3,), dtype=mx.float16).dtype == mx.float16
    assert mx.random.uniform(2, 3, (3,), mx.bfloat16).dtype == mx.bfloat16


def test_normal():
    mx.random.seed(0)
    x = np.array(mx.random.normal((100, 1000)))
    assert abs(x.mean()) < 0.02 and abs(x.var() - 1) < 0.02
    assert abs((x**4).mean() - 3) < 0.2 and np.isfinite(x).all()
    y = np.array(mx.random.normal(shape=[10000], loc=5, scale=mx.array(2.0)))
    assert abs(y.mean() - 5) < 0.1 and abs(y.std() - 2) < 0.1


def test_bits():
    assert mx.random.bits((3,)).dtype == mx.uint32
    assert mx.random.bits((3,), width=1).dtype == mx.uint8
    assert mx.random.bits((3,), 2).dtype == mx.uint16
    with pytest.raises(ValueError):
        mx.random.bits((3,), width=3)


def test_one_draw_has_one_value():
    x = mx.random.uniform(shape=(1000,))
    y = x + 0
    assert x.tolist() == y.tolist()
    z = x - x
    assert z.tolist() == [0.0] * 1000


def test_wrong_arguments():
    with pytest.raises(TypeError):
        mx.random.seed("a")
    with pytest.raises(TypeError):
        mx.random.seed(-1)
    with pytest.raises(TypeError):
        mx.random.uniform(shape=(2,), key=3)
    with pytest.raises((TypeError, ValueError)):
        mx.random.uniform(shape=(2,), dtype=mx.int32)
    with pytest.raises(TypeError):
        mx.random.split(3)


def test_is_a_module():
    import ferrule.core.random as r

    assert r is mx.random and r.__name__ == "ferrule.core.random"
