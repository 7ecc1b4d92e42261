"""The training program of MLX's manual on compile: a step uncompiled, and the same compiled.

usage: training.py [--uncompiled]
"""

import sys
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
from progress import Progress

mx.random.seed(0)

# 4 examples with 10 features each
x = mx.random.uniform(shape=(4, 10))

# 0, 1 targets
y = mx.array([0, 1, 0, 1])

# Simple linear model
model = nn.Linear(10, 1)

# SGD with momentum
optimizer = optim.SGD(learning_rate=0.1, momentum=0.8)


def loss_fn(model, x, y):
    logits = model(x).squeeze()
    return nn.losses.binary_cross_entropy(logits, y)


# The state that will be captured as input and output
state = [model.state, optimizer.state]


def step(x, y):
    loss_and_grad_fn = nn.value_and_grad(model, loss_fn)
    loss, grads = loss_and_grad_fn(model, x, y)
    optimizer.update(model, grads)
    return loss


if "--uncompiled" not in sys.argv:
    step = partial(mx.compile, inputs=state, outputs=state)(step)

progress = Progress(every=10)

# Perform 10 steps of gradient descent
for it in range(10):
    loss = step(x, y)
    # Evaluate the model and optimizer state
    mx.eval(state)
    print(loss)
    progress.step(loss.item())
progress.save("training.svg")
