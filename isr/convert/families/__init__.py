"""The families of published weights, one file for each network: its tables of names, its plans, its conditions.

A file gives its `Family` entries as `FAMILIES`; nothing else has to know of it.
"""

from __future__ import annotations

import pkgutil
from graphlib import TopologicalSorter
from importlib import import_module

from isr.convert.family import Family


def _found() -> tuple[Family, ...]:
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    by_name: dict[str, Family] = {family.name: family for module in modules for family in module.FAMILIES}
    order = TopologicalSorter({name: family.after for name, family in by_name.items()})
    return tuple(by_name[name] for name in order.static_order())


# In the order in which they are tried.
FAMILIES = _found()
