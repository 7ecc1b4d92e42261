"""A normalising flow learns the density of two moons, exactly: its loss is minus the log likelihood.

usage: flow.py [--uncompiled] [--steps N] [--curve FILE.svg]
"""

import argparse
import math
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
from progress import Progress


def moons(n):
    """Points on two half circles, with noise."""
    angle = mx.random.uniform(0, math.pi, (n,))
    side = mx.where(mx.random.bernoulli(0.5, (n,)), 1.0, -1.0)
    x = side * mx.cos(angle) + 0.5 * side - 0.5
    y = side * mx.sin(angle) - 0.25 * side
    return mx.stack([x, y], axis=1) + 0.08 * mx.random.normal((n, 2))


class Coupling(nn.Module):
    """Scales and moves one coordinate, by functions of the other."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.net = nn.Sequential(
            nn.Linear(1, 48), nn.silu, nn.Linear(48, 48), nn.silu, nn.Linear(48, 2)
        )

    def __call__(self, x):
        kept, moved = (x[:, :1], x[:, 1:]) if self.first else (x[:, 1:], x[:, :1])
        change = self.net(kept)
        scale = mx.tanh(change[:, :1])
        moved = moved * mx.exp(scale) + change[:, 1:]
        parts = [kept, moved] if self.first else [moved, kept]
        return mx.concatenate(parts, axis=1), scale[:, 0]


class Flow(nn.Module):
    def __init__(self, layers=6):
        super().__init__()
        self.layers = [Coupling(i % 2 == 0) for i in range(layers)]

    def log_density(self, x):
        total = 0
        for layer in self.layers:
            x, scale = layer(x)
            total = total + scale
        return total - 0.5 * mx.sum(mx.square(x), axis=1) - math.log(2 * math.pi)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--curve", default="flow.svg", help="where the learning curve is saved")
    args = parser.parse_args()

    mx.random.seed(0)
    model = Flow()
    optimizer = optim.Adam(optim.cosine_decay(3e-3, args.steps))
    state = [model.state, optimizer.state, mx.random.state]

    def loss_fn(model, x):
        return -model.log_density(x).mean()

    def step():
        loss, grads = nn.value_and_grad(model, loss_fn)(model, moons(256))
        optimizer.update(model, grads)
        return loss

    if not args.uncompiled:
        step = partial(mx.compile, inputs=state, outputs=state)(step)
    progress = Progress(every=100)
    for _ in range(args.steps):
        loss = step()
        mx.eval(loss, state)
        progress.step(loss.item())
    progress.save(args.curve)

    x, y = mx.arange(-2.4, 2.0, 0.07), mx.arange(1.3, -1.3, -0.13)
    grid = mx.stack(
        [mx.broadcast_to(x[None], (y.size, x.size)), mx.broadcast_to(y[:, None], (y.size, x.size))],
        axis=-1,
    )
    density = mx.exp(model.log_density(grid.reshape(-1, 2))).reshape(y.size, x.size)
    for row in density.tolist():
        print("".join(" .:+#"[min(4, int(12 * v))] for v in row))


if __name__ == "__main__":
    main()
