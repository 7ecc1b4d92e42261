"""ferrule.nn.Module: attributes, parameters, modes, texts."""

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest
from ferrule.utils import tree_flatten


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(2, 3), nn.Linear(3, 1)]
        self.w = mx.zeros((2,))
        self.n = 3
        self._hidden = mx.zeros(1)
        self.table = {"x": nn.Dropout(0.5), "y": mx.ones(1)}
        self.function = nn.relu

    def __call__(self, x):
        return self.layers[1](nn.relu(self.layers[0](x)))


PATHS = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "w", "table.y"]


def paths(tree):
    return [path for path, _ in tree_flatten(tree)]


def test_attributes():
    model = Model()
    assert list(model) == ["layers", "w", "_hidden", "table"]
    assert model.state is model and model["w"] is model.w
    assert model.n == 3 and "n" not in model
    with pytest.raises(AttributeError, match="'Model' object has no attribute 'nope'"):
        model.nope
    del model.w
    with pytest.raises(AttributeError):
        model.w
    model.w = None
    assert model.w is None and "w" not in model
    model.w = mx.ones(2)
    assert "w" in model and "w" not in model.__dict__
    del model.n
    assert not hasattr(model, "n")
    assert not hasattr(Model(), "__deepcopy__")


def test_parameters():
    model = Model()
    assert paths(model.parameters()) == PATHS
    assert paths(model.trainable_parameters()) == PATHS
    assert model.parameters()["table"]["x"] == {}
    shapes = model.filter_and_map(nn.Module.valid_parameter_filter, lambda x: x.shape)
    assert shapes["w"] == (2,) and shapes["layers"][1]["weight"] == (1, 3)
    assert model.apply(lambda x: x * 0 + 2) is model
    assert all((np.array(x) == 2).all() for _, x in tree_flatten(model.parameters()))


def test_update():
    model = Model()
    bias = model.layers[0].bias
    one = mx.ones((3, 2))
    assert model.update({"layers": [{"weight": one}], "w": mx.zeros(7)}) is model
    assert model.layers[0].weight is one and model.layers[0].bias is bias
    assert model.w.shape == (7,)
    for wrong in (
        {"zz": one},
        {"layers": [{"weigh": one}]},
        {"layers": [{}, {}, {}]},
        {"layers": {"0": {}}},
        {"w": 3},
        {"w": {"a": 1}},
        {"n": one},
    ):
        before = model.w
        with pytest.raises(ValueError):
            model.update({"w": mx.zeros(1), **wrong})
        assert model.w is before
        if set(wrong) <= {"zz", "n"}:
            model.update(wrong, strict=False)
    assert model.n == 3


def test_freeze():
    model = Model()
    assert model.freeze() is model and paths(model.trainable_parameters()) == []
    model.unfreeze(keys="bias")
    assert paths(model.trainable_parameters()) == ["layers.0.bias", "layers.1.bias"]
    assert paths(model.unfreeze().trainable_parameters()) == PATHS
    model.freeze(recurse=False)
    assert paths(model.trainable_parameters()) == PATHS[:4]
    model.unfreeze()
    model.freeze(keys=["weight", "w"])
    assert paths(model.trainable_parameters()) == ["layers.0.bias", "layers.1.bias", "table.y"]
    model.unfreeze(keys=["weight"])
    assert paths(model.trainable_parameters()) == PATHS[:4] + ["table.y"]
    with pytest.raises(KeyError, match="nope"):
        model.freeze(keys="nope", strict=True)
    with pytest.raises(KeyError):
        model.unfreeze(keys=["w"], strict=True)  # the layers have none
    assert paths(model.trainable_parameters()) == PATHS[:4] + ["table.y"]
    norm = nn.BatchNorm(3)
    assert paths(norm.trainable_parameters()) == ["weight", "bias"]
    assert paths(norm.freeze().unfreeze().trainable_parameters()) == ["weight", "bias"]


def test_modes():
    model = Model()
    assert model.training and model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model.train().table["x"].training
    x = mx.ones((50, 50))
    dropout = nn.Dropout(0.5)
    assert dropout.eval()(x) is x


def test_submodules():
    model = Model()
    names = dict(model.named_modules())
    assert names[""] is model and set(names) == {"", "layers.0", "layers.1", "table.x"}
    assert len(model.modules()) == 4 and model.modules()[0] is model
    children = model.children()
    assert children["layers"] == [model.layers[0], model.layers[1]]
    assert children["table"] == {"x": model.table["x"], "y": {}}
    outer = nn.Sequential(model, nn.ReLU())
    assert [type(m).__name__ for _, m in outer.named_modules()][0] == "Sequential"
    assert outer.leaf_modules()["layers"][0]["layers"][0] is model.layers[0]
    new = nn.Linear(2, 9)
    assert model.update_modules({"layers": [new]}) is model and model.layers[0] is new
    model.update_modules({"table": {"x": nn.ReLU()}})
    for wrong in ({"layers": new}, {"zz": new}, {"layers": [{}, {}, new]}, {"w": new}):
        with pytest.raises(ValueError):
            model.update_modules(wrong)
    seen = []
    model.apply_to_modules(lambda path, module: seen.append(path))
    assert sorted(seen) == sorted(names)


def test_weights_from_a_list():
    model = Model()
    own = tree_flatten(model.parameters())
    zeros = [(name, mx.zeros(x.shape)) for name, x in own]
    assert model.load_weights(zeros) is model
    assert not np.array(model.layers[0].weight).any()
    for wrong, text in (
        (zeros[1:], "Missing 1 parameters"),
        (zeros + [("ex.a", mx.zeros(1))], "Received 1 parameters not in model"),
        ([(zeros[0][0], mx.zeros(9))] + zeros[1:], "Expected shape"),
        ([(zeros[0][0], 3)] + zeros[1:], "Expected an array"),
    ):
        with pytest.raises(ValueError, match=text):
            model.load_weights(wrong)
    model.load_weights(zeros[1:] + [("ex.a", mx.zeros(1))], strict=False)
    model.load_weights([], strict=False)
    with pytest.raises(ValueError, match="extension"):
        model.save_weights("weights.foo")


def test_dtype():
    model = Model()
    model.count = mx.array([1, 2])
    model.set_dtype(mx.float16)
    assert model.layers[0].weight.dtype == mx.float16 and model.count.dtype == mx.int32
    model.set_dtype(mx.float32, None)
    assert model.count.dtype == mx.float32


def test_text():
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(input_dims=2, output_dims=3, bias=False)"
    assert repr(nn.Sequential(nn.ReLU(), nn.relu, nn.Sequential(nn.Tanh()))) == (
        "Sequential(\n  (layers.0): ReLU()\n  (layers.2): Sequential(\n    (layers.0): Tanh()\n  )\n)"
    )


def test_state_is_captured():
    model = nn.Linear(3, 2)
    before = np.array(model.bias)

    def step(x):
        model.bias = model.bias + x.sum()
        return model(x)

    compiled = mx.compile(step, inputs=model.state, outputs=model.state)
    y = compiled(mx.ones((1, 3)))
    np.testing.assert_allclose(np.array(model.bias), before + 3, rtol=1e-6)
    np.testing.assert_allclose(np.array(y), np.array(model(mx.ones((1, 3)))), rtol=1e-6)
    compiled(mx.ones((1, 3)))
    np.testing.assert_allclose(np.array(model.bias), before + 6, rtol=1e-6)
