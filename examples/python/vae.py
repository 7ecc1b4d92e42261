"""A variational autoencoder learns to draw digits.

usage: vae.py [--uncompiled] [--epochs N] [--curve FILE.svg]
"""

import argparse
import pathlib
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
from progress import Progress

DATA = pathlib.Path(__file__).parent.parent / "data" / "digits.npz"
BATCH, LATENT = 128, 6


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.relu, nn.Linear(128, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, 128), nn.relu, nn.Linear(128, 64))

    def __call__(self, x):
        code = self.encoder(x)
        mean, log_variance = code[:, :LATENT], code[:, LATENT:]
        z = mean + mx.exp(0.5 * log_variance) * mx.random.normal(mean.shape)
        return self.decoder(z), mean, log_variance


def loss_fn(model, x):
    """Minus the evidence's lower bound, per image."""
    y, mean, log_variance = model(x)
    drawn = nn.losses.binary_cross_entropy(y, x, reduction="sum")
    apart = -0.5 * mx.sum(1 + log_variance - mean * mean - mx.exp(log_variance))
    return (drawn + apart) / x.shape[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--curve", default="vae.svg", help="where the learning curve is saved")
    args = parser.parse_args()

    mx.random.seed(0)
    images = mx.load(DATA)["images"].reshape(-1, 64) / 16
    model, optimizer = VAE(), optim.Adam(2e-3)
    state = [model.state, optimizer.state, mx.random.state]

    def step(x):
        loss, grads = nn.value_and_grad(model, loss_fn)(model, x)
        optimizer.update(model, grads)
        return loss

    if not args.uncompiled:
        step = partial(mx.compile, inputs=state, outputs=state)(step)

    progress = Progress(every=70)
    for _ in range(args.epochs):
        order = mx.random.permutation(images.shape[0])
        for i in range(0, images.shape[0] - BATCH + 1, BATCH):
            loss = step(images[order[i : i + BATCH]])
            mx.eval(loss, state)
            progress.step(loss.item())
    progress.save(args.curve)

    drawn = mx.sigmoid(model.decoder(mx.random.normal((6, LATENT)))).reshape(6, 8, 8)
    for row in range(8):
        print("  ".join("".join(" .:*#"[int(v * 4.99)] for v in d[row].tolist()) for d in drawn))


if __name__ == "__main__":
    main()
