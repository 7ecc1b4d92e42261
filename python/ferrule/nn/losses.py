"""Losses. reduction: "none" for each example, "mean", "sum"."""

import math
from typing import Literal, Optional

import ferrule.core as mx

Reduction = Literal["none", "mean", "sum"]


def _reduce(loss, reduction):
    if reduction == "mean":
        return mx.mean(loss)
    if reduction == "sum":
        return mx.sum(loss)
    if reduction == "none":
        return loss
    raise ValueError("Invalid reduction. Must be 'none', 'mean', or 'sum'.")


def _same_shape(what, a, b):
    if a.shape != b.shape:
        raise ValueError(f"{what} shapes must be the same: {a.shape} and {b.shape}")


def _weighted(loss, weights):
    if weights is None:
        return loss
    if weights.shape != loss.shape:
        raise ValueError(
            f"Weights with shape {weights.shape} is not the same as output loss with shape "
            f"{loss.shape}."
        )
    return loss * weights


def _pick(x, indices, axis):
    """x at one index along an axis: a sum over where they are equal, so that it fuses with what
    else is done along the axis, and its gradient needs no scatter."""
    axis %= x.ndim
    n = x.shape[axis]
    indices = mx.expand_dims(indices, axis)
    indices = mx.where(indices < 0, indices + n, indices)
    places = mx.arange(n).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return mx.where(places == indices, x, 0).sum(axis=axis)


def cross_entropy(
    logits: mx.array,
    targets: mx.array,
    weights: Optional[mx.array] = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """-log(softmax(logits)) at class indices, or averaged under probabilities of logits' shape."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"Label smoothing must in [0, 1), got {label_smoothing}.")
    probabilities = targets.ndim == logits.ndim
    expected = list(logits.shape)
    if not probabilities:
        del expected[axis]
    if tuple(expected) != targets.shape:
        raise ValueError(
            f"Targets shape {targets.shape} does not match logits shape {logits.shape}."
        )
    if probabilities:
        # Probabilities needn't add up to 1: they count from the largest logit.
        logits = logits - mx.stop_gradient(logits.max(axis=axis, keepdims=True))
        score = mx.sum(logits * targets, axis=axis)
    else:
        score = _pick(logits, targets, axis)
    lse = mx.logsumexp(logits, axis=axis)
    if label_smoothing > 0:
        kept = (1 - label_smoothing) * score
        loss = lse - kept - label_smoothing * logits.mean(axis=axis)
    else:
        loss = lse - score
    return _reduce(_weighted(loss, weights), reduction)


def binary_cross_entropy(
    inputs: mx.array,
    targets: mx.array,
    weights: Optional[mx.array] = None,
    with_logits: bool = True,
    reduction: Reduction = "mean",
) -> mx.array:
    """-log of the probability given to targets of 0 or 1: by logits, or by probabilities (whose
    logarithm counts as -100 at least)."""
    if inputs.shape != targets.shape:
        raise ValueError(
            f"Inputs shape {inputs.shape} does not match targets shape {targets.shape}."
        )
    if with_logits:
        loss = mx.logaddexp(0.0, inputs) - inputs * targets
    else:
        yes = mx.clip(mx.log(inputs), -100, None)
        no = mx.clip(mx.log(1 - inputs), -100, None)
        loss = -(yes * targets + no * (1 - targets))
    return _reduce(_weighted(loss, weights), reduction)


def l1_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """|predictions - targets|."""
    _same_shape("Predictions and targets", predictions, targets)
    return _reduce(mx.abs(predictions - targets), reduction)


def mse_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """(predictions - targets) squared."""
    _same_shape("Predictions and targets", predictions, targets)
    return _reduce(mx.square(predictions - targets), reduction)


def nll_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """Minus the log probabilities `inputs` at class indices."""
    if targets.ndim != inputs.ndim - 1:
        raise ValueError(
            f"Targets shape {targets.shape} does not match inputs shape {inputs.shape}."
        )
    return _reduce(-_pick(inputs, targets, axis), reduction)


def gaussian_nll_loss(
    inputs: mx.array,
    targets: mx.array,
    vars: mx.array,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> mx.array:
    """-log of targets' density under normal distributions; full: with the constant term."""
    _same_shape("Inputs and targets", inputs, targets)
    _same_shape("Inputs and vars", inputs, vars)
    vars = mx.maximum(vars, eps)
    loss = 0.5 * (mx.log(vars) + mx.square(targets - inputs) / vars)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce(loss, reduction)


def kl_div_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """Kullback-Leibler divergence of log probabilities `inputs` from log probabilities."""
    return _reduce(mx.sum(mx.exp(targets) * (targets - inputs), axis=axis), reduction)


def smooth_l1_loss(
    predictions: mx.array, targets: mx.array, beta: float = 1.0, reduction: Reduction = "mean"
) -> mx.array:
    """The absolute difference less beta / 2; below beta its square over 2 beta."""
    _same_shape("Predictions and targets", predictions, targets)
    difference = mx.abs(predictions - targets)
    loss = mx.where(difference < beta, 0.5 * mx.square(difference) / beta, difference - 0.5 * beta)
    return _reduce(loss, reduction)


def triplet_loss(
    anchors: mx.array,
    positives: mx.array,
    negatives: mx.array,
    axis: int = -1,
    p: float = 2,
    margin: float = 1.0,
    eps: float = 1e-6,
    reduction: Reduction = "none",
) -> mx.array:
    """How much the distance to positives exceeds that to negatives less a margin, or 0."""

    def distance(others):
        return mx.sqrt(mx.power(anchors - others, p).sum(axis=axis) + eps)

    loss = mx.maximum(distance(positives) - distance(negatives) + margin, 0)
    return _reduce(loss, reduction)


def hinge_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """1 - inputs times targets (-1 or 1), or 0."""
    return _reduce(mx.maximum(1 - inputs * targets, 0), reduction)


def huber_loss(
    inputs: mx.array, targets: mx.array, delta: float = 1.0, reduction: Reduction = "none"
) -> mx.array:
    """Half the squared difference; beyond delta it goes on in a straight line."""
    difference = mx.abs(inputs - targets)
    square = mx.minimum(difference, delta)
    return _reduce(0.5 * mx.square(square) + delta * (difference - square), reduction)


def log_cosh_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """log(cosh(inputs - targets))."""
    difference = inputs - targets
    return _reduce(mx.logaddexp(difference, -difference) - math.log(2), reduction)


def cosine_similarity_loss(
    x1: mx.array, x2: mx.array, axis: int = 1, eps: float = 1e-8, reduction: Reduction = "none"
) -> mx.array:
    """The cosine of the angle between vectors."""
    lengths = mx.sqrt(mx.sum(mx.square(x1), axis=axis)) * mx.sqrt(mx.sum(mx.square(x2), axis=axis))
    return _reduce(mx.sum(x1 * x2, axis=axis) / mx.maximum(lengths, eps), reduction)


def margin_ranking_loss(
    inputs1: mx.array,
    inputs2: mx.array,
    targets: mx.array,
    margin: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """How far inputs1 - inputs2 falls short of the margin on the side that targets, -1 or 1, say."""
    if not (inputs1.shape == inputs2.shape == targets.shape):
        raise ValueError(
            f"The shapes of the arguments do not match: inputs1.shape={inputs1.shape}, "
            f"inputs2.shape={inputs2.shape}, targets.shape={targets.shape}."
        )
    loss = mx.maximum(0, -targets * (inputs1 - inputs2) + margin)
    return _reduce(loss, reduction)
