"""Layers of ferrule.nn and mx.fast against their definitions, in numpy."""

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def check(layer, inputs, expected, rtol=2e-5, atol=2e-5):
    """Eager and compiled."""
    given = [mx.array(x) if isinstance(x, np.ndarray) else x for x in inputs]
    for call in (layer, mx.compile(lambda *x: layer(*x), inputs=getattr(layer, "state", []))):
        y = call(*given)
        for got, wanted in zip(y, expected) if isinstance(y, tuple) else [(y, expected)]:
            np.testing.assert_allclose(np.array(got), wanted, rtol=rtol, atol=atol)


def value(x):
    return np.array(x).astype(np.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


X = np.linspace(-4, 4, 60).astype(np.float32).reshape(3, 20)
EXP = np.exp(X.astype(np.float64))


@pytest.mark.parametrize(
    "module, function, expected",
    [
        (nn.ReLU2(), nn.relu2, np.maximum(X, 0) ** 2),
        (nn.ReLU6(), nn.relu6, np.clip(X, 0, 6)),
        (nn.LeakyReLU(0.1), lambda x: nn.leaky_relu(x, 0.1), np.where(X > 0, X, 0.1 * X)),
        (nn.PReLU(init=0.2), lambda x: nn.prelu(x, mx.array(0.2)), np.where(X > 0, X, 0.2 * X)),
        (nn.ELU(0.5), lambda x: nn.elu(x, 0.5), np.where(X > 0, X, 0.5 * (EXP - 1))),
        (nn.CELU(2.0), lambda x: nn.celu(x, 2.0), np.where(X > 0, X, 2 * (np.exp(X / 2) - 1))),
        (nn.SELU(), nn.selu, 1.0507 * np.where(X > 0, X, 1.67326 * (EXP - 1))),
        (nn.Softplus(), nn.softplus, np.log1p(EXP)),
        (nn.Softmin(), nn.softmin, (1 / EXP) / (1 / EXP).sum(-1, keepdims=True)),
        (nn.LogSoftmax(), nn.log_softmax, X - np.log(EXP.sum(-1, keepdims=True))),
        (nn.LogSigmoid(), nn.log_sigmoid, -np.log1p(1 / EXP)),
        (nn.Softsign(), nn.softsign, X / (1 + abs(X))),
        (nn.Softshrink(), nn.softshrink, np.sign(X) * np.maximum(abs(X) - 0.5, 0)),
        (nn.HardShrink(), nn.hard_shrink, np.where(abs(X) > 0.5, X, 0)),
        (nn.HardTanh(), nn.hard_tanh, np.clip(X, -1, 1)),
        (nn.Hardswish(), nn.hardswish, X * np.clip(X + 3, 0, 6) / 6),
        (nn.Tanh(), nn.tanh, np.tanh(X)),
        (nn.Mish(), nn.mish, X * np.tanh(np.log1p(EXP))),
        (nn.GELU("fast"), nn.gelu_fast_approx, X * sigmoid(1.702 * X)),
        (nn.GELU("tanh"), nn.gelu_approx, None),
        (nn.GLU(), nn.glu, X[:, :10] * sigmoid(X[:, 10:])),
        (nn.Step(1.0), lambda x: nn.step(x, 1.0), (X > 1) * 1),
    ],
)
def test_activations(module, function, expected):
    if expected is None:
        expected = np.array(function(mx.array(X)))
    check(module, [X], expected)
    check(function, [X], expected)


def test_wrong_activations():
    with pytest.raises(ValueError):
        nn.GELU("best")
    with pytest.raises(ValueError):
        nn.glu(mx.ones((2, 3)))


def test_linear():
    x = normal(2, 5, 6)
    for bias in (True, False):
        layer = nn.Linear(6, 3, bias=bias)
        expected = x @ value(layer.weight).T + (value(layer.bias) if bias else 0)
        check(layer, [x], expected)
        assert abs(value(layer.weight)).max() <= 6**-0.5
    layer = nn.Bilinear(6, 4, 3)
    z = normal(2, 5, 4)
    expected = np.einsum("...i,oji,...j->...o", x, value(layer.weight), z) + value(layer.bias)
    check(layer, [x, z], expected)
    layer = nn.Embedding(7, 4)
    at = rng.integers(0, 7, size=(3, 2)).astype(np.int32)
    check(layer, [at], value(layer.weight)[at])
    y = normal(2, 4)
    np.testing.assert_allclose(
        np.array(layer.as_linear(mx.array(y))), y @ value(layer.weight).T, rtol=1e-4, atol=1e-5
    )
    check(nn.Sequential(nn.Identity(3), nn.Tanh(), lambda x: x + 1), [x], np.tanh(x) + 1)


def normed(x, axes, eps=1e-5):
    x = x.astype(np.float64)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps)


def randomized(layer):
    layer.update({k: mx.array(normal(*v.shape)) for k, v in layer.trainable_parameters().items()})
    return layer


def test_normalizations():
    x = normal(2, 3, 4, 6) * 2 + 1
    layer = randomized(nn.LayerNorm(6))
    w, b = value(layer.weight), value(layer.bias)
    check(layer, [x], normed(x, -1) * w + b)
    check(nn.LayerNorm(6, affine=False), [x], normed(x, -1))
    assert list(nn.LayerNorm(6, bias=False)) == ["weight"]
    layer = randomized(nn.RMSNorm(6))
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * value(layer.weight)
    check(layer, [x], expected)
    layer = randomized(nn.InstanceNorm(6, affine=True))
    check(layer, [x], normed(x, (1, 2)) * value(layer.weight) + value(layer.bias))
    layer = randomized(nn.GroupNorm(3, 6, pytorch_compatible=True))
    grouped = normed(x.reshape(2, 12, 3, 2), (1, 3)).reshape(x.shape)
    check(layer, [x], grouped * value(layer.weight) + value(layer.bias))
    grouped = normed(x.reshape(2, 24, 3), 1).reshape(x.shape)
    check(nn.GroupNorm(3, 6, affine=False), [x], grouped)


def test_batch_norm():
    layer = nn.BatchNorm(6, momentum=0.2)
    x = normal(8, 5, 6) * 3 + 2
    y = mx.compile(layer.__call__, inputs=layer.state, outputs=layer.state)(mx.array(x))
    np.testing.assert_allclose(np.array(y), normed(x, (0, 1)), rtol=1e-4, atol=1e-5)
    mean, variance = 0.2 * x.mean((0, 1)), 0.8 + 0.2 * x.var((0, 1), ddof=1)
    np.testing.assert_allclose(np.array(layer.running_mean), mean, rtol=1e-5)
    np.testing.assert_allclose(np.array(layer.running_var), variance, rtol=1e-5)
    layer.eval()
    check(layer, [x], (x - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    with pytest.raises(ValueError):
        layer(mx.ones(3))


def test_recurrent():
    x, h0, c0 = normal(2, 5, 6), normal(2, 4), normal(2, 4)
    for bias in (True, False):
        for start in (None, h0):
            layer = nn.RNN(6, 4, bias=bias)
            h = np.zeros((2, 4)) if start is None else start
            b = value(layer.bias) if bias else 0
            every = []
            for t in range(5):
                h = np.tanh(x[:, t] @ value(layer.Wxh).T + h @ value(layer.Whh).T + b)
                every.append(h)
            check(layer, [x, start], np.stack(every, 1))

            layer = nn.GRU(6, 4, bias=bias)
            h = np.zeros((2, 4)) if start is None else start
            b, bhn = (value(layer.b), value(layer.bhn)) if bias else (np.zeros(12), 0)
            every = []
            for t in range(5):
                xr, xz, xn = np.split(x[:, t] @ value(layer.Wx).T + b, 3, -1)
                hr, hz, hn = np.split(h @ value(layer.Wh).T, 3, -1)
                r, z = sigmoid(xr + hr), sigmoid(xz + hz)
                h = (1 - z) * np.tanh(xn + r * (hn + bhn)) + z * h
                every.append(h)
            check(layer, [x, start], np.stack(every, 1))

            layer = nn.LSTM(6, 4, bias=bias)
            h, c = (np.zeros((2, 4)),) * 2 if start is None else (start, c0)
            b = value(layer.bias) if bias else 0
            every = []
            for t in range(5):
                i, f, g, o = np.split(
                    x[:, t] @ value(layer.Wx).T + h @ value(layer.Wh).T + b, 4, -1
                )
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
                every.append((h, c))
            expected = tuple(np.stack(part, 1) for part in zip(*every))
            check(layer, [x, start, None if start is None else c0], expected)
    with pytest.raises(ValueError):
        nn.RNN(2, 3, nonlinearity="tanh")


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: nn.Conv2d(4, 6, (3, 3, 3)), "'kernel_size' must be .* 2 integers"),
        (lambda: nn.Conv2d(4, 6, 2.5), "'kernel_size' must be an integer"),
        (lambda: nn.Conv2d(4, 6, 0), "'kernel_size' must be positive"),
        (lambda: nn.Conv2d(4, 6, 3, stride=(1, 2, 3)), "'stride' must be .* 2 integers"),
        (lambda: nn.Conv1d(4, 6, 3, stride=0), "'stride' must be positive"),
        (lambda: nn.Conv3d(4, 6, 3, padding=-1), "'padding' must be non-negative"),
        (lambda: nn.Conv2d(4, 6, 3, groups=0), "groups"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, output_padding=-1), "'output_padding' must be"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, dilation=0), "'dilation' must be positive"),
        (lambda: nn.MaxPool2d(0), "'kernel_size' must be positive"),
        (lambda: nn.AvgPool1d(2, 0), "'stride' must be positive"),
        (lambda: nn.MaxPool3d(2, 2, -1), "'padding' must be non-negative"),
        (lambda: nn.GroupNorm(4, 6), "evenly divisible"),
        (lambda: nn.GroupNorm(0, 6), "positive"),
        (lambda: nn.MultiHeadAttention(6, 0), "number of heads"),
        (lambda: nn.SinusoidalPositionalEncoding(5), "positive and even"),
        (lambda: nn.SinusoidalPositionalEncoding(0), "positive and even"),
    ],
)
def test_wrong_constructors(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def attention(q, k, v, scale, mask=0.0):
    scores = scale * q @ np.swapaxes(k, -1, -2) + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def test_attention_function():
    q, k, v = normal(2, 4, 5, 8), normal(2, 4, 7, 8), normal(2, 4, 7, 6)
    causal = np.where(np.arange(5)[:, None] + 2 >= np.arange(7), 0, -np.inf)
    added = normal(4, 5, 7)
    f = mx.fast.scaled_dot_product_attention

    def same(got, wanted):
        np.testing.assert_allclose(np.array(got), wanted, rtol=1e-4, atol=1e-5)

    arrays = [mx.array(x) for x in (q, k, v)]
    same(f(*arrays, scale=0.3), attention(q, k, v, 0.3))
    same(f(*arrays, scale=0.3, mask="causal"), attention(q, k, v, 0.3, causal))
    same(f(*arrays, scale=0.3, mask=mx.array(added)), attention(q, k, v, 0.3, added))
    same(
        f(*arrays, scale=0.3, mask=mx.array(added > -1)),
        attention(q, k, v, 0.3, np.where(added > -1, 0, -np.inf)),
    )
    k2, v2 = np.repeat(k[:, :2], 2, axis=1), np.repeat(v[:, :2], 2, axis=1)
    y = f(arrays[0], arrays[1][:, :2], arrays[2][:, :2], scale=0.3, mask=mx.array(added))
    same(y, attention(q, k2, v2, 0.3, added))
    for scale in (-0.3, 0):
        same(f(*arrays, scale=scale), attention(q, k, v, scale))
    mixed = f(arrays[0], arrays[1].astype(mx.float16), arrays[2], scale=0.3)
    assert mixed.dtype == mx.float32
    same(mixed, attention(q, k.astype(np.float16).astype(np.float32), v, 0.3))
    half = f(*[x.astype(mx.float16) for x in arrays], scale=0.3)
    assert half.dtype == mx.float16
    np.testing.assert_allclose(np.array(half), attention(q, k, v, 0.3), atol=1e-2)
    for wrong in (
        lambda: f(arrays[0][0], *arrays[1:], scale=1),
        lambda: f(arrays[0][:, :3], arrays[1][:, :2], arrays[2][:, :2], scale=1),
        lambda: f(*arrays, scale=1, mask="upper"),
        lambda: f(*arrays, scale=1, mask=[1.0]),
        lambda: f(*arrays, scale=1, sinks=mx.zeros(3)),
        lambda: f(arrays[0], arrays[2], arrays[2], scale=1),
    ):
        with pytest.raises(ValueError):
            wrong()


@pytest.mark.parametrize("scale", [0.3, -0.3, 0])
@pytest.mark.parametrize("kind", [None, "causal", "float", "bool", "keys", "one"])
def test_attention_with_sinks(kind, scale):
    """A sink is a score beside the keys'; its value is 0."""
    q, k, v, sinks = normal(2, 4, 5, 8), normal(2, 2, 7, 8), normal(2, 2, 7, 6), normal(4)
    masks = {
        None: np.float32(0),
        "causal": np.where(np.arange(5)[:, None] + 2 >= np.arange(7), 0, -np.inf),
        "float": normal(4, 5, 7),
        "bool": normal(2, 4, 5, 7) > -1,
        "keys": normal(2, 1, 1, 7) > -1,
        "one": normal(5, 1),
    }
    mask = masks[kind]
    added = np.where(mask, 0, -np.inf) if mask.dtype == bool else mask
    scores = scale * q @ np.swapaxes(np.repeat(k, 2, axis=1), -1, -2) + added
    weights = np.exp(scores)
    weights /= weights.sum(-1, keepdims=True) + np.exp(sinks)[:, None, None]
    given = mx.array(mask) if kind in ("float", "bool", "keys", "one") else kind

    def f(q, k, v, sinks):
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=given, sinks=sinks)

    expected = weights @ np.repeat(v, 2, axis=1)
    check(f, [q, k, v, sinks], expected, rtol=1e-4, atol=1e-5)
    pull = normal(*expected.shape)
    slope = mx.grad(lambda *x: (f(*x) * mx.array(pull)).sum(), argnums=3)(
        *[mx.array(x) for x in (q, k, v, sinks)]
    )
    total = weights.sum(-1)  # d y / d sink = -y (1 - total)
    wanted = -(pull * expected).sum(-1) * (1 - total)
    np.testing.assert_allclose(np.array(slope), wanted.sum((0, 2)), rtol=1e-3, atol=1e-4)


def test_rope():
    x = normal(2, 3, 5, 8)
    position = (np.arange(5) + 3) * 0.5
    angle = position[:, None] * 100.0 ** (-np.arange(4) / 4)
    turn = np.exp(1j * angle)
    z = (x[..., :4] + 1j * x[..., 4:]) * turn
    check(
        lambda a: mx.fast.rope(a, 8, traditional=False, base=100.0, scale=0.5, offset=3),
        [x],
        np.concatenate([z.real, z.imag], -1),
    )
    z = (x[..., ::2] + 1j * x[..., 1::2]) * turn
    layer = nn.RoPE(8, traditional=True, base=100.0, scale=0.5)
    check(lambda a: layer(a, offset=3), [x], np.stack([z.real, z.imag], -1).reshape(x.shape))
    y = np.array(nn.RoPE(4)(mx.array(x)))
    assert (y[..., 4:] == x[..., 4:]).all() and np.allclose(y[..., 0, :], x[..., 0, :])
    each = mx.fast.rope(
        mx.array(x), 8, traditional=False, base=100.0, scale=1.0, offset=mx.array([1, 4])
    )
    for i, offset in enumerate((1, 4)):
        one = mx.fast.rope(
            mx.array(x[i : i + 1]), 8, traditional=False, base=100.0, scale=1.0, offset=offset
        )
        np.testing.assert_allclose(np.array(each[i : i + 1]), np.array(one), atol=1e-5)
    for wrong in ({"base": None}, {"freqs": mx.ones(4)}, {"base": None, "freqs": mx.ones(3)}):
        with pytest.raises(ValueError):
            mx.fast.rope(
                mx.array(x),
                8,
                **{"traditional": False, "base": 1.0, "scale": 1, "offset": 0, **wrong},
            )


def test_positions():
    layer = nn.SinusoidalPositionalEncoding(6)
    frequencies = np.exp(np.linspace(np.log(1), np.log(0.0001), 3))[None] * np.arange(5)[:, None]
    expected = np.concatenate([np.sin(frequencies), np.cos(frequencies)], -1) * (2 / 6) ** 0.5
    check(layer, [np.arange(5, dtype=np.float32)], expected)
    assert layer.parameters() == {}
    scores = normal(2, 4, 3, 5)
    slopes = (2.0**8) ** (-np.arange(1, 5) / 4)
    distance = abs(np.arange(2, 5)[:, None] - np.arange(5))
    check(lambda s: nn.ALiBi()(s, offset=2), [scores], scores - slopes[:, None, None] * distance)


def test_multi_head_attention():
    layer = nn.MultiHeadAttention(6, 3, 4, 5, 3, 9, 7, bias=True)
    q, k, v = normal(2, 5, 4), normal(2, 7, 5), normal(2, 7, 3)

    def project(p, x):
        return x @ value(p.weight).T + value(p.bias)

    def heads(x):
        return x.reshape(2, x.shape[1], 3, -1).transpose(0, 2, 1, 3)

    y = attention(
        heads(project(layer.query_proj, q)),
        heads(project(layer.key_proj, k)),
        heads(project(layer.value_proj, v)),
        2**-0.5,
    )
    check(layer, [q, k, v], project(layer.out_proj, y.transpose(0, 2, 1, 3).reshape(2, 5, 9)))
    mask = np.array(nn.MultiHeadAttention.create_additive_causal_mask(3, mx.float16))
    assert mask.dtype == np.float16 and mask[0, 1] == -65504 and mask[2, 1] == 0
    with pytest.raises(ValueError):
        nn.MultiHeadAttention(5, 2)


def test_transformer():
    x, memory = normal(2, 5, 6), normal(2, 4, 6)
    mask = nn.MultiHeadAttention.create_additive_causal_mask(5)
    model = nn.TransformerEncoder(2, 6, 3)
    y = np.array(model(mx.array(x), mask))
    changed = x.copy()
    changed[:, 3:] *= normal(6)
    z = np.array(model(mx.array(changed), mask))
    np.testing.assert_allclose(y[:, :3], z[:, :3], rtol=1e-4, atol=1e-4)
    assert abs(y[:, 3:] - z[:, 3:]).max() > 1e-2
    whole = nn.Transformer(6, 3, 1, 2, mlp_dims=8, norm_first=False)
    assert whole(mx.array(memory), mx.array(x), None, mask, None).shape == (2, 5, 6)
    one, two = nn.TransformerEncoderLayer(6, 3), nn.TransformerDecoderLayer(6, 3, norm_first=False)
    assert two(one(mx.array(x), None), mx.array(memory), None, None).shape == (2, 5, 6)
