"""An MLP or a small CNN learns the UCI digits; forward, backward, update and dropout are one program.

usage: digits.py [mlp | cnn] [--uncompiled] [--epochs N] [--curve FILE.svg]
"""

import argparse
import pathlib
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
from progress import Progress

DATA = pathlib.Path(__file__).parent.parent / "data" / "digits.npz"
TRAIN, BATCH = 1437, 64


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(64, 128), nn.Linear(128, 64), nn.Linear(64, 10)]
        self.dropout = nn.Dropout(0.1)

    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        for layer in self.layers[:-1]:
            x = self.dropout(nn.relu(layer(x)))
        return self.layers[-1](x)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(32 * 4, 10)
        self.dropout = nn.Dropout(0.1)

    def __call__(self, x):
        x = self.pool(nn.relu(self.conv1(x)))
        x = self.pool(nn.relu(self.conv2(x)))
        return self.head(self.dropout(x.reshape(x.shape[0], -1)))


def loss_fn(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="mlp", choices=["mlp", "cnn"])
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--curve", default="digits.svg", help="where the learning curve is saved")
    args = parser.parse_args()

    mx.random.seed(0)
    data = mx.load(DATA)
    images, labels = data["images"][..., None] / 16, data["labels"].astype(mx.int32)
    order = mx.random.permutation(images.shape[0])
    images, labels = images[order], labels[order]
    mx.eval(images, labels)

    model = MLP() if args.model == "mlp" else CNN()
    epochs = args.epochs or (40 if args.model == "mlp" else 15)
    steps = epochs * (TRAIN // BATCH)
    optimizer = optim.AdamW(optim.cosine_decay(3e-3, steps), weight_decay=0.01)
    state = [model.state, optimizer.state, mx.random.state]

    def step(x, y):
        loss, grads = nn.value_and_grad(model, loss_fn)(model, x, y)
        optimizer.update(model, grads)
        return loss

    if not args.uncompiled:
        step = partial(mx.compile, inputs=state, outputs=state)(step)

    progress = Progress(every=5 * (TRAIN // BATCH))
    for _ in range(epochs):
        order = mx.random.permutation(TRAIN)
        for i in range(0, TRAIN - BATCH + 1, BATCH):
            at = order[i : i + BATCH]
            loss = step(images[at], labels[at])
            mx.eval(loss, state)
            progress.step(loss.item())
    progress.save(args.curve)

    model.eval()
    logits, wanted = model(images[TRAIN:]), labels[TRAIN:, None]
    right = mx.where(mx.arange(10) == wanted, logits, -mx.inf).max(-1) == logits.max(-1)
    print(f"test accuracy {right.astype(mx.float32).mean().item():.4f}")


if __name__ == "__main__":
    main()
