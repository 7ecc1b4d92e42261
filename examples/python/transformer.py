"""A character transformer learns the text of this repository's design document.

usage: transformer.py [--uncompiled] [--steps N] [--curve FILE.svg]
"""

import argparse
import pathlib
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
from progress import Progress

TEXT = pathlib.Path(__file__).parent.parent.parent / "docs" / "design.md"
CONTEXT, BATCH, DIMS, HEADS, LAYERS = 64, 16, 64, 4, 2


class Model(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, DIMS)
        self.places = nn.Embedding(CONTEXT, DIMS)
        self.encoder = nn.TransformerEncoder(LAYERS, DIMS, HEADS, activation=nn.gelu)
        self.head = nn.Linear(DIMS, vocabulary)

    def __call__(self, x):
        length = x.shape[1]
        mask = nn.MultiHeadAttention.create_additive_causal_mask(length)
        h = self.tokens(x) + self.places(mx.arange(length))
        return self.head(self.encoder(h, mask))


def loss_fn(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument(
        "--curve", default="transformer.svg", help="where the learning curve is saved"
    )
    args = parser.parse_args()

    mx.random.seed(0)
    text = TEXT.read_text()
    letters = sorted(set(text))
    number = {c: i for i, c in enumerate(letters)}
    data = mx.array([number[c] for c in text])
    model = Model(len(letters))
    optimizer = optim.Adam(optim.linear_schedule(3e-3, 3e-4, args.steps))
    state = [model.state, optimizer.state]
    within = mx.arange(CONTEXT + 1)

    def step(window):
        x, y = window[:, :-1], window[:, 1:]
        loss, grads = nn.value_and_grad(model, loss_fn)(model, x, y)
        grads, _ = optim.clip_grad_norm(grads, 1.0)
        optimizer.update(model, grads)
        return loss

    if not args.uncompiled:
        step = partial(mx.compile, inputs=state, outputs=state)(step)

    progress = Progress(every=50)
    for _ in range(args.steps):
        at = mx.random.randint(0, len(text) - CONTEXT - 1, (BATCH, 1))
        loss = step(mx.take(data, at + within))
        mx.eval(loss, state)
        progress.step(loss.item())
    progress.save(args.curve)

    # A sample: each character drawn by the probabilities that the model gives.
    said = data[:CONTEXT].reshape(1, -1)
    predict = partial(mx.compile, inputs=model.state)(lambda x: model(x)[:, -1])
    for _ in range(100):
        drawn = mx.random.categorical(predict(said[:, -CONTEXT:]) * 1.5)
        said = mx.concatenate([said, drawn.astype(said.dtype)[:, None]], axis=1)
        mx.eval(said)
    print("".join(letters[i] for i in said[0].tolist()[CONTEXT:]))


if __name__ == "__main__":
    main()
