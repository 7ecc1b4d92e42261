"""Module: a dict of parameters and submodules with attribute access."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, Union

import ferrule.core as mx
from ferrule.utils import tree_flatten, tree_unflatten

__all__ = ["Module"]

_M = TypeVar("_M", bound="Module")


def _is_container(value):
    return isinstance(value, (dict, list, tuple))


def _names(keys):
    return [keys] if isinstance(keys, str) else keys


class Module(dict):
    """The base class of layers and models.

    An array, a Module, or a list, tuple or dict set as an attribute is an item of the module, a
    dict; any other attribute is an ordinary one. Arrays in it, in its submodules, and in lists
    and dicts of them are parameters, unless their name begins with an underscore.
    """

    __call__: Callable[..., Any]  # each kind of module has its own

    def __init__(self) -> None:
        super().__init__()
        self._no_grad = set()
        self._training = True

    # ---- attributes -----------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Only what is no ordinary attribute comes here.
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"'{type(self).__name__}' object has no attribute '{name}'"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, mx.array) or _is_container(value):
            self.__dict__.pop(name, None)
            self[name] = value
        else:
            super().__setattr__(name, value)
            self.pop(name, None)

    def __delattr__(self, name: str) -> None:
        if name in self:
            del self[name]
        else:
            super().__delattr__(name)

    @property
    def training(self) -> bool:
        """Whether the module is in training mode."""
        return self._training

    @property
    def state(self) -> Dict[str, Any]:
        """The dict of everything in the module: the module itself, not a copy."""
        return self

    # ---- texts ----------------------------------------------------------------------------

    def _extra_repr(self):
        return ""

    def __repr__(self) -> str:
        lines = []
        for path, child in tree_flatten(self.children(), is_leaf=self.is_module):
            if self.is_module(child):
                lines += f"({path}): {child!r}".split("\n")
        text = f"{type(self).__name__}({self._extra_repr()}"
        if lines:
            text += "\n" + "\n".join("  " + line for line in lines) + "\n"
        return text + ")"

    # ---- parameters -----------------------------------------------------------------------

    @staticmethod
    def is_module(value: Any) -> bool:
        return isinstance(value, Module)

    @staticmethod
    def valid_child_filter(module: Module, key: str, value: Any) -> bool:
        return isinstance(value, (dict, list))

    @staticmethod
    def valid_parameter_filter(module: Module, key: str, value: Any) -> bool:
        return isinstance(value, (dict, list, mx.array)) and not key.startswith("_")

    @staticmethod
    def trainable_parameter_filter(module: Module, key: str, value: Any) -> bool:
        return Module.valid_parameter_filter(module, key, value) and key not in module._no_grad

    def filter_and_map(
        self,
        filter_fn: Callable[[Module, str, Any], bool],
        map_fn: Optional[Callable[[mx.array], Any]] = None,
        is_leaf_fn: Optional[Callable[[Module, str, Any], bool]] = None,
    ) -> Dict[str, Any]:
        """The items for which filter_fn(module, key, value) is true, in submodules and
        containers likewise; leaves, as is_leaf_fn tells, go through map_fn."""

        def is_leaf(module, key, value):
            if is_leaf_fn is not None:
                return is_leaf_fn(module, key, value)
            return not isinstance(value, (dict, list))

        def visit(module, key, value):
            if is_leaf(module, key, value):
                return value if map_fn is None else map_fn(value)
            if isinstance(value, Module):
                return items(value)
            if isinstance(value, dict):
                return {k: entry(module, f"{key}.{k}", v) for k, v in value.items()}
            if isinstance(value, list):
                return [entry(module, f"{key}.{i}", v) for i, v in enumerate(value)]
            raise RuntimeError(f"filter_and_map: {key} is neither a leaf nor a container")

        def entry(module, key, value):
            return visit(module, key, value) if filter_fn(module, key, value) else {}

        def items(module):
            return {k: visit(module, k, v) for k, v in module.items() if filter_fn(module, k, v)}

        return items(self)

    def parameters(self) -> Dict[str, Any]:
        """All arrays, as a dict of dicts and lists."""
        return self.filter_and_map(self.valid_parameter_filter)

    def trainable_parameters(self) -> Dict[str, Any]:
        """All arrays that are not frozen, as a dict of dicts and lists."""
        return self.filter_and_map(self.trainable_parameter_filter)

    def update(self: _M, parameters: Dict[str, Any], strict: bool = True) -> _M:
        """Takes arrays from a dict of dicts and lists, which need not hold them all. strict: a
        place that the module doesn't have is a ValueError."""
        assign = []
        _plan_parameters(self, parameters, strict, assign)
        for container, key, value in assign:
            container[key] = value
        return self

    def apply(
        self: _M,
        map_fn: Callable[[mx.array], Any],
        filter_fn: Optional[Callable[[Module, str, Any], bool]] = None,
    ) -> _M:
        """Puts map_fn(parameter) in the place of each parameter that filter_fn lets through."""
        return self.update(self.filter_and_map(filter_fn or self.valid_parameter_filter, map_fn))

    def set_dtype(
        self,
        dtype: mx.Dtype,
        predicate: Optional[Callable[[mx.Dtype], bool]] = lambda dtype: mx.issubdtype(
            dtype, mx.floating
        ),
    ) -> None:
        """Casts the parameters for whose dtype predicate is true (None: all)."""
        self.apply(lambda x: x.astype(dtype) if predicate is None or predicate(x.dtype) else x)

    # ---- files ----------------------------------------------------------------------------

    def load_weights(
        self: _M,
        file_or_weights: Union[str, os.PathLike, List[Tuple[str, mx.array]]],
        strict: bool = True,
    ) -> _M:
        """Takes parameters from a .npz or .safetensors file or a list of (path, array).
        strict: the names and shapes must be the module's, else ValueError."""
        weights = file_or_weights
        if not isinstance(weights, list):
            weights = list(mx.load(weights).items())
        if strict:
            self._check_weights(dict(weights))
        return self.update(tree_unflatten(weights), strict=False) if weights else self

    def _check_weights(self, new):
        own = tree_flatten(self.parameters(), destination={})
        for what, names in (
            ("Received {} parameters not in model", sorted(new.keys() - own.keys())),
            ("Missing {} parameters", sorted(own.keys() - new.keys())),
        ):
            if names:
                listed = ",\n".join(names)
                raise ValueError(f"{what.format(len(names))}: \n{listed}.")
        for name, value in own.items():
            given = new[name]
            if not isinstance(given, mx.array):
                raise ValueError(
                    f"Expected an array but received {type(given).__name__} for parameter {name}"
                )
            if given.shape != value.shape:
                raise ValueError(
                    f"Expected shape {value.shape} but received shape {given.shape} "
                    f"for parameter {name}"
                )

    def save_weights(self, file: Union[str, os.PathLike]) -> None:
        """Writes the parameters to a .npz or .safetensors file."""
        weights = tree_flatten(self.parameters(), destination={})
        if str(file).endswith(".npz"):
            mx.savez(file, **weights)
        elif str(file).endswith(".safetensors"):
            mx.save_safetensors(file, weights)
        else:
            raise ValueError(
                f"Unsupported file extension for {file}. Use '.npz' or '.safetensors'."
            )

    # ---- submodules -----------------------------------------------------------------------

    def children(self) -> Dict[str, Any]:
        """The modules directly in this one, as a dict of dicts and lists."""
        return self.filter_and_map(
            self.valid_child_filter, is_leaf_fn=lambda m, k, v: isinstance(v, Module)
        )

    def leaf_modules(self) -> Dict[str, Any]:
        """The modules that hold no others, as a dict of dicts and lists."""

        def is_leaf(module, key, value):
            return isinstance(value, Module) and not tree_flatten(
                value.children(), is_leaf=Module.is_module
            )

        return self.filter_and_map(self.valid_child_filter, is_leaf_fn=is_leaf)

    def named_modules(self) -> List[Tuple[str, Module]]:
        """All modules in this one, itself first, as a list of (path, module)."""
        found, waiting = [], [("", self)]
        while waiting:
            path, module = waiting.pop()
            found.append((path, module))
            prefix = f".{path}" if path else ""
            waiting += [
                (name, child)
                for name, child in tree_flatten(
                    module.children(), prefix=prefix, is_leaf=self.is_module
                )
                if self.is_module(child)
            ]
        return found

    def modules(self) -> List[Module]:
        """All modules in this one, itself first, as a list."""
        return [module for _, module in self.named_modules()]

    def apply_to_modules(self: _M, apply_fn: Callable[[str, Module], Any]) -> _M:
        """Calls apply_fn(path, module) for each module in this one, itself first."""
        for path, module in self.named_modules():
            apply_fn(path, module)
        return self

    def update_modules(self: _M, modules: Dict[str, Any], strict: bool = True) -> _M:
        """Replaces submodules by those in a dict of dicts and lists, which need not hold them
        all. strict: a place that holds no module is a ValueError."""
        assign = []
        _plan_modules(self, modules, strict, assign)
        for container, key, value in assign:
            container[key] = value
        return self

    # ---- modes ----------------------------------------------------------------------------

    def _each_key(self, recurse, keys, strict, change):
        """Calls change(module, keys to freeze or unfreeze, None: all)."""
        keys = _names(keys)
        todo = self.modules() if recurse else [self]
        chosen = []
        for module in todo:
            for key in keys or ():
                if strict and key not in module:
                    raise KeyError(f"Module doesn't contain member {key}.")
            chosen.append((module, None if keys is None else [k for k in keys if k in module]))
        for module, names in chosen:
            change(module, names)
        return self

    def freeze(
        self: _M,
        *,
        recurse: bool = True,
        keys: Optional[Union[str, List[str]]] = None,
        strict: bool = False,
    ) -> _M:
        """No gradients for the parameters, or for those named; recurse: in submodules too.
        strict: KeyError if one of the modules has no such item."""

        def change(module, names):
            if names is None:
                here = module.filter_and_map(
                    lambda m, k, v: not isinstance(v, Module) and m.valid_parameter_filter(m, k, v)
                )
                names = [path for path, value in tree_flatten(here)]
            module._no_grad.update(names)

        return self._each_key(recurse, keys, strict, change)

    def unfreeze(
        self: _M,
        *,
        recurse: bool = True,
        keys: Optional[Union[str, List[str]]] = None,
        strict: bool = False,
    ) -> _M:
        """Takes freeze back; the same arguments."""

        def change(module, names):
            if names is None:
                module._no_grad.clear()
            else:
                module._no_grad.difference_update(names)

        return self._each_key(recurse, keys, strict, change)

    def _set_training_mode(self, mode):
        self._training = mode

    def train(self: _M, mode: bool = True) -> _M:
        """Training mode, in submodules too: what Dropout and BatchNorm do depends on it."""
        mode = bool(mode)
        for module in self.modules():
            module._set_training_mode(mode)
        return self

    def eval(self: _M) -> _M:
        """Evaluation mode: train(False)."""
        return self.train(False)


def _children_of(target, new, strict, what):
    """(key, what is there, what is to come) for the places in new that target has."""
    if isinstance(target, dict):
        if not isinstance(new, dict):
            raise ValueError(f"Received invalid type: {type(new).__name__}.")
        for key, value in new.items():
            if key in target:
                yield key, target[key], value
            elif strict:
                raise ValueError(f'Module does not have {what} named "{key}".')
    else:
        if isinstance(new, dict):
            if strict and new:
                raise ValueError(f'Module does not have {what} named "{next(iter(new))}".')
            return
        if not isinstance(new, (list, tuple)):
            raise ValueError(f"Received invalid type: {type(new).__name__}.")
        for i, value in enumerate(new):
            if i < len(target):
                yield i, target[i], value
            elif strict:
                raise ValueError(
                    f"List index {i} is out of bounds for destination of length {len(target)}."
                )


def _plan_parameters(target, new, strict, assign):
    for key, here, value in _children_of(target, new, strict, "parameter"):
        if isinstance(here, mx.array):
            if isinstance(value, mx.array):
                assign.append((target, key, value))
            elif strict and value != {}:
                raise ValueError(f"Received invalid type: {type(value).__name__}.")
        elif isinstance(here, (dict, list)):
            _plan_parameters(here, value, strict, assign)
        elif strict and value != {}:
            raise ValueError(f'Module does not have parameter named "{key}".')


def _plan_modules(target, new, strict, assign):
    for key, here, value in _children_of(target, new, strict, "sub-module"):
        if isinstance(here, Module) and isinstance(value, Module):
            assign.append((target, key, value))
        elif isinstance(here, (dict, list)) and isinstance(value, (dict, list)):
            _plan_modules(here, value, strict, assign)
        elif strict:
            raise ValueError(f'Module does not have sub-module named "{key}".')
