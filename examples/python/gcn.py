"""A graph convolution network tells which of four communities the members of a network belong to,
from the links and the community of one member in twenty.

usage: gcn.py [--uncompiled] [--steps N] [--curve FILE.svg]
"""

import argparse
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
from progress import Progress

MEMBERS, GROUPS, FEATURES = 400, 4, 16


def network():
    """Who belongs where, who is linked to whom, and features that say little."""
    group = mx.random.randint(0, GROUPS, (MEMBERS,))
    same = group[:, None] == group[None]
    link = mx.random.bernoulli(mx.where(same, 0.08, 0.01))
    at = mx.arange(MEMBERS)
    above = mx.where(at[:, None] < at[None], link, False)
    links = (above + above.T + (at[:, None] == at[None])).astype(mx.float32)
    degree = links.sum(axis=1)
    normal = links * mx.rsqrt(degree[:, None] * degree[None])
    centers = 0.6 * mx.random.normal((GROUPS, FEATURES))
    features = mx.take(centers, group, axis=0) + mx.random.normal((MEMBERS, FEATURES))
    mx.eval(group, normal, features)
    return group, normal, features


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(FEATURES, 32), nn.Linear(32, GROUPS)]
        self.dropout = nn.Dropout(0.3)

    def __call__(self, x, links):
        x = nn.relu(links @ self.layers[0](x))
        return links @ self.layers[1](self.dropout(x))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--curve", default="gcn.svg", help="where the learning curve is saved")
    args = parser.parse_args()

    mx.random.seed(0)
    group, links, features = network()
    known = (mx.arange(MEMBERS) % 20 == 0).astype(mx.float32)
    model, optimizer = GCN(), optim.Adam(0.01)
    state = [model.state, optimizer.state, mx.random.state]

    def loss_fn(model, x, links):
        losses = nn.losses.cross_entropy(model(x, links), group, weights=known)
        return losses.sum() / known.sum()

    def step(x, links):
        loss, grads = nn.value_and_grad(model, loss_fn)(model, x, links)
        optimizer.update(model, grads)
        return loss

    if not args.uncompiled:
        step = partial(mx.compile, inputs=state, outputs=state)(step)
    progress = Progress(every=50)
    for _ in range(args.steps):
        loss = step(features, links)
        mx.eval(loss, state)
        progress.step(loss.item())
    progress.save(args.curve)

    model.eval()
    scores = model(features, links)
    own = mx.where(mx.arange(GROUPS) == group[:, None], scores, -mx.inf).max(-1)
    right = (own == scores.max(-1)) * (1 - known)
    print(f"accuracy among the others {(right.sum() / (1 - known).sum()).item():.3f}")


if __name__ == "__main__":
    main()
