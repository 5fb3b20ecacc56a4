"""How low resolution is made of high."""

from isr.data.degrade.rules import SIGMA, Degradation, blur_and_subsample, degrade, reflect

__all__ = ["SIGMA", "Degradation", "blur_and_subsample", "degrade", "reflect"]
