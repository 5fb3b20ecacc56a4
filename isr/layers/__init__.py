"""Building blocks of the networks, as Keras layers."""

from isr.layers.blocks import ResidualBlock, Upsampler, carry, carry_enlarged, conv, resample_phases

__all__ = ["ResidualBlock", "Upsampler", "carry", "carry_enlarged", "conv", "resample_phases"]
