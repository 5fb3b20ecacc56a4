"""How low resolution is made of high.

`rules` has the two rules of the benchmarks, `recipes` what training draws, and `fixed` what networks are judged by.
"""

from isr.data.degrade.fixed import STRENGTHS, Damage, FixedDegradation, Strength
from isr.data.degrade.recipes import degrade_at_random
from isr.data.degrade.rules import SIGMA, Degradation, blur_and_subsample, degrade, reflect

__all__ = [
    "SIGMA",
    "STRENGTHS",
    "Damage",
    "Degradation",
    "FixedDegradation",
    "Strength",
    "blur_and_subsample",
    "degrade",
    "degrade_at_random",
    "reflect",
]
