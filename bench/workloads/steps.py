"""Programs that compute more than they move: products, attention, training steps.

Written once, over a small adapter `A` of each library (what it needs stands at the bottom of
array_programs.py, jax.py and torch.py). A training step is forward, backward and Adam in one
function of arrays: step(parameters, m, v, x, y) -> (loss, parameters, m, v). Data and weights are the
same in every library, so that the losses can be compared.
"""

import array
import collections
import math

# flops: additions and products at the least; moves: floats that must cross between processor and
# memory, each input and each output once. What a row has is its limit.
Step = collections.namedtuple("Step", "title flops moves", defaults=[None, None])
MATRIX = (8192, 4096)
SIZE = MATRIX[0] * MATRIX[1]

ALL = {
    "rms_norm": Step("RMS norm over rows, 8192x4096", None, 2 * SIZE),
    "softmax_grad": Step("gradient of softmax over rows, 8192x4096", None, 3 * SIZE),
    "layer_norm_grad": Step("gradient of layer norm over rows, 8192x4096", None, 3 * SIZE),
    "rms_norm_grad": Step("gradient of RMS norm over rows, 8192x4096", None, 3 * SIZE),
    **{
        f"{name}_{axis}": Step(
            f"{name} {'of all' if axis == 'all' else f'over axis {axis[-1]}'}, 8192x4096",
            None,
            SIZE,
        )
        for name in ("mean", "var", "max", "argmax")
        for axis in ("all", "axis0", "axis1")
        if (name, axis) != ("var", "axis0")  # stands in LARGE, as the sums do
    },
    "transposed": Step("tanh(s.T) + s[:, :1].T, 8192x4096", None, 2 * SIZE),
    "adam_16": Step("Adam, 16 tensors of 1M", None, 7 * 16 << 20),
    "matmul_256": Step("matmul 256", 2 * 256**3),
    "matmul_1024": Step("matmul 1024", 2 * 1024**3),
    "matmul_2048": Step("matmul 2048", 2 * 2048**3),
    "matmul_float16": Step("matmul 1024, float16", 2 * 1024**3),
    "matmul_bfloat16": Step("matmul 1024, bfloat16", 2 * 1024**3),
    "matmul_tall": Step("matmul [4096, 64] by [64, 64]", 2 * 4096 * 64 * 64),
    "matmul_wide": Step("matmul [16, 1024] by [1024, 4096]", 2 * 16 * 1024 * 4096),
    "linear_gelu": Step("linear + gelu, 1024 x 1024 x 1024", 2 * 1024**3),
    "attention": Step("attention, causal, 8 heads, 1024 x 64", 2 * 8 * 1024**2 * 64),
    "attention_grad": Step("the same with its gradients", 7 * 8 * 1024**2 * 64),
    "document_step": Step("the document's training step, linear 10-1, b4, SGD", None),
    "mlp_step": Step("MLP 784-1024-1024-10, b256, Adam, a step", 6 * 256 * 1861632),
    "cnn_step": Step("CNN 28x28x1, 3x3 convolutions of 32 and 64, b64, Adam, a step", None),
    "lm_step": Step("transformer LM, 2 blocks of 256, 8 x 128 tokens, AdamW, a step", None),
}

# What NumPy has without gradients.
NUMPY = [
    row
    for row in ALL
    if row.startswith(("matmul_256", "matmul_1", "matmul_2", "matmul_t", "matmul_w"))
    or (ALL[row].moves and "grad" not in row)
]


def numbers(seed, shape, scale=1.0):
    """Reproducible floats of about a normal distribution, as a flat array.array."""
    size = math.prod(shape)
    state, out = (
        (seed * 2654435761 + 12345) & 0xFFFFFFFF,
        array.array("f", bytes(4 * min(size, 65536))),
    )
    for i in range(len(out)):
        total = 0
        for _ in range(3):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            total += state
        out[i] = scale * (total / 2**31 - 3)
    while len(out) < size:
        out = out + out
    return out[:size]


def integers(seed, size, below):
    state, out = seed, []
    for _ in range(size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append((state >> 8) % below)
    return out


def make(A):
    """workload -> function that gives (program, arguments, state): program(*arguments) gives
    results, whose first `state` are the next call's first arguments; the loss, if there is one,
    comes last."""

    def tensor(seed, shape, scale=1.0):
        return A.tensor(numbers(seed, shape, scale), shape)

    def product(m, k, n):
        def program(a, b):
            return (a @ b,)

        return program, [tensor(1, (m, k)), tensor(2, (k, n))], 0

    def halves(dtype):
        def program(a, b):
            return (a @ b,)

        return program, [A.cast(tensor(i, (1024, 1024)), dtype) for i in (1, 2)], 0

    def softmax(x):
        e = A.exp(x - A.max_last(x))
        return e / A.sum_last(e)

    def layer_norm(x):
        m = A.mean_last(x)
        return (x - m) / A.sqrt(A.mean_last((x - m) * (x - m)) + 1e-5)

    def rms_norm(x):
        return x / A.sqrt(A.mean_last(x * x) + 1e-5)

    def stream(f):
        return (lambda x: (f(x),)), [tensor(1, MATRIX)], 0

    def gradient(f):
        """Of f, applied to a second array: the value isn't asked for."""

        def loss(parameters, g):
            return A.sum(f(parameters[0]) * g)

        def program(x, g):
            return (A.value_and_grad(loss, [x], g)[1][0],)

        program.differentiates = True
        return program, [tensor(1, MATRIX), tensor(2, MATRIX)], 0

    def reduction(name):
        kind, axis = name.split("_")
        axis = None if axis == "all" else int(axis[-1])
        return stream(lambda x: A.reduce(kind, x, axis))

    def adam_16():
        def program(*arrays):
            p, g, m, v = (arrays[16 * i : 16 * i + 16] for i in range(4))
            made = [adam(*each, 1e-3, 0) for each in zip(p, m, v, g)]
            return tuple(part[i] for i in range(3) for part in made)

        positive = [tensor(2, (1 << 20,)) for _ in range(16)]
        return (
            program,
            [tensor(1, (1 << 20,)) for _ in range(48)] + [x * x for x in positive],
            0,
        )

    def linear_gelu():
        def program(x, w, b):
            return (A.gelu(x @ w + b),)

        return (
            program,
            [tensor(1, (1024, 1024)), tensor(2, (1024, 1024), 0.03), tensor(3, (1024,))],
            0,
        )

    def attention(grad):
        q, k, v = (tensor(i, (1, 8, 1024, 64)) for i in (1, 2, 3))
        if not grad:
            return (lambda q, k, v: (A.attention(q, k, v),)), [q, k, v], 0

        def loss(parameters, weight):
            return A.sum(A.attention(*parameters) * weight)

        def program(q, k, v, weight):
            value, gradients = A.value_and_grad(loss, [q, k, v], weight)
            return (*gradients, value)

        program.differentiates = True
        return program, [q, k, v, tensor(4, (1, 8, 1024, 64))], 0

    def trained(loss, parameters, x, y, update):
        n = len(parameters)
        zeros = [p * 0 for p in parameters]

        def program(*arguments):
            p, m, v = arguments[:n], arguments[n : 2 * n], arguments[2 * n : 3 * n]
            value, gradients = A.value_and_grad(loss, list(p), *arguments[3 * n :])
            made = [update(*each) for each in zip(p, m, v, gradients)]
            return (*(part[i] for i in range(3) for part in made), value)

        program.differentiates = True
        return program, [*parameters, *zeros, *[z * 1 for z in zeros], x, y], 3 * n

    def adam(p, m, v, g, rate, decay):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        return p * (1 - rate * decay) - rate * m / (A.sqrt(v) + 1e-8), m, v

    def momentum(p, m, v, g):
        m = 0.8 * m + g
        return p - 0.1 * m, m, v

    def adam_step(loss, parameters, x, y, rate=1e-4, decay=0.0):
        own = getattr(A, "adam_step", None)  # a library's own optimizer, where that is the idiom
        if own:
            return own(loss, parameters, x, y, rate, decay)
        return trained(loss, parameters, x, y, lambda p, m, v, g: adam(p, m, v, g, rate, decay))

    def cross_entropy(logits, y):
        return A.mean(A.logsumexp(logits) - A.pick(logits, y))

    def layers(seed, *sizes):
        made = []
        for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
            made += [tensor(seed + i, (a, b), 1 / math.sqrt(a)), tensor(seed + i, (b,), 0.0)]
        return made

    def document():
        def loss(p, x, y):
            z = (x @ p[0] + p[1])[:, 0]
            return A.mean(A.maximum(z, z * 0) - z * y + A.log(1 + A.exp(-A.abs(z))))

        y = A.tensor(array.array("f", [0, 1, 0, 1]), (4,))
        return trained(loss, layers(1, 10, 1), tensor(5, (4, 10)), y, momentum)

    def mlp():
        def loss(p, x, y):
            x = A.relu(x @ p[0] + p[1])
            x = A.relu(x @ p[2] + p[3])
            return cross_entropy(x @ p[4] + p[5], y)

        y = A.integers(integers(3, 256, 10))
        return adam_step(loss, layers(1, 784, 1024, 1024, 10), tensor(5, (256, 784)), y)

    def cnn():
        def loss(p, x, y):
            x = A.relu(A.conv(x, p[0]) + p[1])
            x = A.relu(A.conv(x, p[2]) + p[3])
            x = A.mean_axes(x.reshape(64, 7, 4, 7, 4, 64), (2, 4)).reshape(64, 49 * 64)
            return cross_entropy(x @ p[4] + p[5], y)

        p = [
            tensor(1, (32, 3, 3, 1), 0.3),
            tensor(2, (32,), 0.0),
            tensor(3, (64, 3, 3, 32), 0.06),
            tensor(4, (64,), 0.0),
            *layers(7, 49 * 64, 10),
        ]
        return adam_step(loss, p, tensor(5, (64, 28, 28, 1)), A.integers(integers(3, 64, 10)))

    def language_model():
        d, heads, blocks, tokens, batch, words = 256, 4, 2, 128, 8, 96

        def norm(x, p):
            m = A.mean_last(x)
            s = A.mean_last((x - m) * (x - m))
            return (x - m) / A.sqrt(s + 1e-5) * p[0] + p[1]

        def split(x):
            return A.transpose(x.reshape(batch, tokens, heads, d // heads), (0, 2, 1, 3))

        def block(x, p):
            y = norm(x, p[0:2])
            a = A.attention(split(y @ p[2]), split(y @ p[3]), split(y @ p[4]))
            x = x + A.transpose(a, (0, 2, 1, 3)).reshape(batch, tokens, d) @ p[5]
            return x + A.gelu(norm(x, p[6:8]) @ p[8] + p[9]) @ p[10] + p[11]

        def loss(p, x, y):
            h = A.rows(p[0], x).reshape(batch, tokens, d) + p[1]
            for i in range(blocks):
                h = block(h, p[2 + 12 * i : 14 + 12 * i])
            h = norm(h, p[-3:-1]) @ p[-1]
            return cross_entropy(h.reshape(batch * tokens, words), y)

        one = A.tensor(array.array("f", [1.0] * d), (d,))
        p = [tensor(1, (words, d), 0.5), tensor(2, (tokens, d), 0.1)]
        for i in range(blocks):
            s = 10 * (i + 1)
            square = [tensor(s + j, (d, d), 1 / 16) for j in range(4)]
            up, down = tensor(s + 4, (d, 4 * d), 1 / 16), tensor(s + 5, (4 * d, d), 1 / 32)
            p += [
                one * 1,
                one * 0,
                *square,
                one * 1,
                one * 0,
                up,
                tensor(3, (4 * d,), 0.0),
                down,
                one * 0,
            ]
        p += [one * 1, one * 0, tensor(99, (d, words), 1 / 16)]
        x, y = integers(1, batch * tokens, words), integers(2, batch * tokens, words)
        return adam_step(loss, p, A.integers(x), A.integers(y), 3e-4, 0.01)

    streams = {
        name: (lambda name=name: reduction(name))
        for name in ALL
        if name.partition("_")[0] in ("mean", "var", "max", "argmax")
    }
    return {
        **streams,
        "rms_norm": lambda: stream(rms_norm),
        "softmax_grad": lambda: gradient(softmax),
        "layer_norm_grad": lambda: gradient(layer_norm),
        "rms_norm_grad": lambda: gradient(rms_norm),
        "transposed": lambda: stream(
            lambda s: A.tanh(A.transpose(s, (1, 0))) + A.transpose(s[:, :1], (1, 0))
        ),
        "adam_16": adam_16,
        "matmul_float16": lambda: halves("float16"),
        "matmul_bfloat16": lambda: halves("bfloat16"),
        "matmul_256": lambda: product(256, 256, 256),
        "matmul_1024": lambda: product(1024, 1024, 1024),
        "matmul_2048": lambda: product(2048, 2048, 2048),
        "matmul_tall": lambda: product(4096, 64, 64),
        "matmul_wide": lambda: product(16, 1024, 4096),
        "linear_gelu": linear_gelu,
        "attention": lambda: attention(False),
        "attention_grad": lambda: attention(True),
        "document_step": document,
        "mlp_step": mlp,
        "cnn_step": cnn,
        "lm_step": language_model,
    }
