"""training.py - the second half of `make demo`: training steps, as they stand and compiled.

The document's example (a linear model of 10 features, SGD with momentum) and a multilayer perceptron
784-1024-1024-10 with Adam, batches of 256: forward, backward and update in one program. The losses
of both ways are compared.
"""

import sys
import time
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim


class MLP(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = nn.relu(layer(x))
        return self.layers[-1](x)


def linear_loss(model, x, y):
    return nn.losses.binary_cross_entropy(model(x).squeeze(), y)


def digits_loss(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def linear():
    x = mx.random.uniform(shape=(4, 10))
    return nn.Linear(10, 1), optim.SGD(learning_rate=0.1, momentum=0.8), linear_loss, x, [0, 1] * 2


def perceptron():
    x = mx.random.normal((256, 784))
    return MLP(784, 1024, 1024, 10), optim.Adam(1e-4), digits_loss, x, [i % 10 for i in range(256)]


def train(make, compiled, seconds):
    """Seconds of the first step, of a later one (the median), the losses of the first few."""
    mx.random.seed(7)
    model, optimizer, loss_of, x, y = make()
    y = mx.array(y)
    mx.eval(model.parameters(), x, y)
    state = [model.state, optimizer.state]

    def step(x, y):
        loss, gradients = nn.value_and_grad(model, loss_of)(model, x, y)
        optimizer.update(model, gradients)
        return loss

    if compiled:
        step = partial(mx.compile, inputs=state, outputs=state)(step)
    times, losses = [], []
    end = time.perf_counter() + seconds
    while len(times) < 12 or time.perf_counter() < end:
        start = time.perf_counter()
        loss = step(x, y)
        mx.eval(loss, state)
        times.append(time.perf_counter() - start)
        if len(losses) < 10:
            losses.append(loss.item())
    later = sorted(times[2:])
    return times[0], later[len(later) // 2], losses


def text_of(seconds):
    return f"{seconds * 1e6:9.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:9.2f} ms"


def main():
    seconds = 0.3 if "--quick" in sys.argv[1:] else 2.0
    print(f"\n{'training step':34}{'as it stands':>14}{'compiled':>14}{'first call':>14}  losses")
    failed = False
    for title, make in (
        ("linear 10-1, SGD (the document's)", linear),
        ("MLP 784-1024-1024-10, b256, Adam", perceptron),
    ):
        _, plain, wanted = train(make, False, seconds)
        first, compiled, losses = train(make, True, seconds)
        apart = max(abs(a - b) for a, b in zip(losses, wanted))
        same = apart <= 1e-4 * max(map(abs, wanted))
        failed |= not same
        print(
            f"{title:34}{text_of(plain):>14}{text_of(compiled):>14}{text_of(first):>14}  "
            + ("the same" if same else f"differ by {apart:g}")
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
