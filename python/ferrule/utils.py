"""Trees: nested lists, tuples and dicts, whose leaves are whatever else stands in them.

A path to a leaf is its keys and indices joined by dots: `layers.0.weight`.
"""

from typing import Any, Callable, Dict, List, Optional, Tuple, Union, overload

__all__ = [
    "tree_flatten",
    "tree_map",
    "tree_map_with_path",
    "tree_merge",
    "tree_reduce",
    "tree_unflatten",
]

_NOTHING = object()


def _step(path, key):
    return str(key) if path is None else f"{path}.{key}"


def tree_map(
    fn: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Optional[Callable[[Any], bool]] = None
) -> Any:
    """The tree of fn(leaf, leaves of `rest` at the same place). Each of `rest` may hold more."""
    return _map(lambda path, *leaves: fn(*leaves), tree, rest, is_leaf, None)


def tree_map_with_path(
    fn: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: Optional[Callable[[Any], bool]] = None,
    path: Optional[str] = None,
) -> Any:
    """As tree_map, where fn is given the leaf's path first; `path` goes in front of all."""
    return _map(fn, tree, rest, is_leaf, path)


def _map(fn, tree, rest, is_leaf, path):
    if is_leaf is not None and is_leaf(tree):
        return fn(path, tree, *rest)
    if isinstance(tree, dict):
        return {
            key: _map(fn, child, [other[key] for other in rest], is_leaf, _step(path, key))
            for key, child in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        children = [
            _map(fn, child, [other[i] for other in rest], is_leaf, _step(path, i))
            for i, child in enumerate(tree)
        ]
        if hasattr(tree, "_fields"):  # a namedtuple
            return type(tree)(*children)
        return type(tree)(children)
    return fn(path, tree, *rest)


def _walk(tree, prefix, is_leaf):
    """Pairs of a path and a leaf. A prefix begins with a dot, as does each step."""
    if is_leaf is None or not is_leaf(tree):
        if isinstance(tree, dict):
            for key, child in tree.items():
                yield from _walk(child, f"{prefix}.{key}", is_leaf)
            return
        if isinstance(tree, (list, tuple)):
            for i, child in enumerate(tree):
                yield from _walk(child, f"{prefix}.{i}", is_leaf)
            return
    yield prefix[1:], tree


@overload
def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: Optional[Callable[[Any], bool]] = None,
    destination: Optional[List[Tuple[str, Any]]] = None,
) -> List[Tuple[str, Any]]: ...
@overload
def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: Optional[Callable[[Any], bool]] = None,
    *,
    destination: Dict[str, Any],
) -> Dict[str, Any]: ...
def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: Optional[Callable[[Any], bool]] = None,
    destination: Optional[Union[List[Tuple[str, Any]], Dict[str, Any]]] = None,
) -> Union[List[Tuple[str, Any]], Dict[str, Any]]:
    """The leaves with their paths: a list of pairs, or what `destination`, a list or a dict, holds
    after they were added. The first character of a prefix is dropped."""
    if destination is None:
        destination = []
    if isinstance(destination, list):
        destination.extend(_walk(tree, prefix, is_leaf))
    elif isinstance(destination, dict):
        destination.update(_walk(tree, prefix, is_leaf))
    else:
        raise ValueError(
            f"tree_flatten: destination must be a list or a dict, not {type(destination).__name__}"
        )
    return destination


def tree_unflatten(tree: Union[List[Tuple[str, Any]], Dict[str, Any]]) -> Any:
    """The tree that tree_flatten gave this list of pairs, or dict. Where the keys of a level begin
    with a number there is a list, with {} at numbers that are missing."""
    items = list(tree.items()) if isinstance(tree, dict) else list(tree)
    if not items:
        return []
    if len(items) == 1 and items[0][0] == "":
        return items[0][1]
    branches = {}
    for path, value in items:
        first, _, others = path.partition(".")
        branches.setdefault(first, []).append((others, value))
    try:
        numbers = sorted((int(key), key) for key in branches)
    except ValueError:
        return {key: tree_unflatten(branch) for key, branch in branches.items()}
    result = []
    for number, key in numbers:
        result.extend({} for _ in range(number - len(result)))
        result.append(tree_unflatten(branches[key]))
    return result


def tree_reduce(
    fn: Callable[..., Any],
    tree: Any,
    initializer: Any = None,
    is_leaf: Optional[Callable[[Any], bool]] = None,
) -> Any:
    """fn(... fn(fn(initializer, leaf), leaf) ...); without an initializer the first leaf is it."""
    total = _NOTHING if initializer is None else initializer
    for _, leaf in _walk(tree, "", is_leaf):
        total = leaf if total is _NOTHING else fn(total, leaf)
    return None if total is _NOTHING else total


def _is_empty(tree):
    return tree is None or (isinstance(tree, (dict, list, tuple)) and not tree)


def tree_merge(
    tree_a: Any, tree_b: Any, merge_fn: Optional[Callable[[Any, Any], Any]] = None
) -> Any:
    """The tree with the leaves of both. Where both have one, merge_fn(a, b) gives what counts;
    without it that is a ValueError. None and empty containers hold nothing."""
    if _is_empty(tree_a):
        return tree_b
    if _is_empty(tree_b):
        return tree_a
    if isinstance(tree_a, dict) and isinstance(tree_b, dict):
        merged = {
            key: tree_merge(child, tree_b.get(key), merge_fn) for key, child in tree_a.items()
        }
        merged.update((key, child) for key, child in tree_b.items() if key not in tree_a)
        return merged
    if isinstance(tree_a, (list, tuple)) and isinstance(tree_b, (list, tuple)):
        pairs = [
            tree_merge(
                tree_a[i] if i < len(tree_a) else None,
                tree_b[i] if i < len(tree_b) else None,
                merge_fn,
            )
            for i in range(max(len(tree_a), len(tree_b)))
        ]
        return type(tree_a)(pairs)
    if merge_fn is None:
        raise ValueError("tree_merge: both trees have a leaf at one place; merge_fn says what then")
    return merge_fn(tree_a, tree_b)
