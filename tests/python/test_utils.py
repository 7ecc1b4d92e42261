"""ferrule.utils: trees."""

from collections import namedtuple

import ferrule.core as mx
import pytest
from ferrule.utils import (
    tree_flatten,
    tree_map,
    tree_map_with_path,
    tree_merge,
    tree_reduce,
    tree_unflatten,
)

TREE = {"a": {"b": [1, (2, 3)], "c": None}, "d": {}, "e": [], "f": 4}


def test_flatten():
    flat = [("a.b.0", 1), ("a.b.1.0", 2), ("a.b.1.1", 3), ("a.c", None), ("f", 4)]
    assert tree_flatten(TREE) == flat
    assert tree_flatten(TREE, destination={}) == dict(flat)
    assert tree_flatten(3) == [("", 3)]
    assert tree_flatten([[[0]]], prefix=".hello") == [("hello.0.0.0", 0)]
    assert tree_flatten([(1, 2)], is_leaf=lambda x: isinstance(x, tuple)) == [("0", (1, 2))]
    there = [("x", 0)]
    assert tree_flatten([1], destination=there) is there and there[1:] == [("0", 1)]
    with pytest.raises(ValueError, match="destination"):
        tree_flatten([1], destination=3)


def test_unflatten():
    assert tree_unflatten([("a.b.0", 1), ("a.b.1.0", 2), ("d", 4)]) == {
        "a": {"b": [1, [2]]},
        "d": 4,
    }
    assert tree_unflatten({"hello.world": 42}) == {"hello": {"world": 42}}
    assert tree_unflatten([("", 3)]) == 3 and tree_unflatten([]) == []
    assert tree_unflatten([("2.a", 1), ("0.a", 3)]) == [{"a": 3}, {}, {"a": 1}]
    assert tree_unflatten([("10", 1), ("2", 2), ("a", 3)]) == {"10": 1, "2": 2, "a": 3}
    assert [*tree_unflatten([(str(i), i) for i in range(12)])] == list(range(12))


def test_map():
    assert tree_map(lambda x, y: (x, y), {"a": [1, 2]}, {"a": [3, 4, 5], "b": 0}) == {
        "a": [(1, 3), (2, 4)]
    }
    assert tree_map(lambda x: x + 1, ({"a": (1, 2)}, 3)) == ({"a": (2, 3)}, 4)
    assert tree_map(sum, [(1, 2), 3][:1], is_leaf=lambda x: isinstance(x, tuple)) == [3]
    with pytest.raises(KeyError):
        tree_map(max, {"a": 1}, {"b": 1})
    with pytest.raises(IndexError):
        tree_map(max, [1, 2], [1])
    pair = namedtuple("pair", "x y")
    assert tree_map(lambda v: v * 2, pair(1, [2])) == pair(2, [4])
    paths = tree_map_with_path(lambda path, x: f"{path}={x}", {"a": (1, [2])}, path="q")
    assert paths == {"a": ("q.a.0=1", ["q.a.1.0=2"])}
    assert tree_map_with_path(lambda path, x, y: (path, x + y), [1], [2]) == [("0", 3)]


def test_reduce():
    assert tree_reduce(lambda a, x: a + x, {"a": [1, 2], "b": 3}) == 6
    assert tree_reduce(lambda a, x: a + x, {"a": [1, 2], "b": 3}, 10) == 16
    assert tree_reduce(max, {}, 10) == 10 and tree_reduce(max, {}) is None
    arrays = {"a": mx.array([1.0, 2.0]), "b": [mx.array(3.0)]}
    assert tree_reduce(lambda total, x: total + x.sum(), arrays, 0).item() == 6


def test_merge():
    assert tree_merge({"a": {"x": 1}}, {"b": 2, "a": {"y": 3}}) == {"a": {"x": 1, "y": 3}, "b": 2}
    assert tree_merge([1, {}], [{}, 2]) == [1, 2]
    assert tree_merge([1], [None, 2]) == [1, 2]
    assert tree_merge({"a": (1, {})}, {"a": ({}, 2)}) == {"a": (1, 2)}
    assert tree_merge({"a": None}, {"a": 2}) == {"a": 2}
    assert tree_merge({"a": 1}, {"a": 2}, lambda x, y: x + y) == {"a": 3}
    with pytest.raises(ValueError, match="merge_fn"):
        tree_merge({"a": 1}, {"a": 2})
    with pytest.raises(ValueError):
        tree_merge({"a": [1]}, {"a": {"b": 1}})
