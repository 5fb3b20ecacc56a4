"""The arguments that a layer, network or loss is made with: as Keras' configuration, and their ranges."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints


class ConfigFromArguments:
    """Keep the arguments of the constructor, and derive `get_config` from its signature.

    A layer, network or loss that keeps each argument as an attribute of the same name names this class before the one
    of Keras and needs no `get_config` of its own. An argument that is no plain value, such as a function, is put into
    a plain form by a `get_config` that begins with this one's.
    """

    def keep(self, arguments: Mapping[str, Any]) -> None:
        """Keep the arguments of a constructor as attributes of their names.

        Args:
            arguments: `locals()` of the constructor, right behind its `super().__init__(...)`. What a base class has
                kept already stays as it is there.
        """
        for name, value in arguments.items():
            # `__class__` is where Python looks for `super`.
            if name not in ("self", "kwargs", "__class__") and name not in vars(self):
                setattr(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` makes an equal object of: Keras' own entries, then the arguments by name."""
        own = argument_names(type(self))
        # Those of the base classes first: the order of every file that was written so far.
        ordered = {name: None for base in reversed(type(self).__mro__) for name in argument_names(base)}
        config = super().get_config()  # type: ignore[misc]
        return config | {name: getattr(self, name) for name in ordered if name in own and name not in config}


def argument_names(of: type) -> list[str]:
    """Give the names of a constructor's arguments; of `**kwargs` those that a `TypedDict` names."""
    _, *parameters = inspect.signature(of.__init__).parameters.values()  # type: ignore[misc]
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD and "Unpack[" in str(parameter.annotation):
            (keywords,) = get_args(get_type_hints(of.__init__)[parameter.name])  # type: ignore[misc]
            names += keywords.__annotations__
        elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            names.append(parameter.name)
    return names


def at_least(least: int, **counts: int) -> None:
    """Check that none of some arguments is under `least`.

    Raises:
        ValueError: one is; the message has all of them.
    """
    if any(count < least for count in counts.values()):
        named = ", ".join(f"{name}={count}" for name, count in counts.items())
        raise ValueError(f"{named}: must be at least {least}")
