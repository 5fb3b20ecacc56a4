"""The command line; imports neither Keras nor TensorFlow until a command needs a model."""

from __future__ import annotations


def main() -> None:
    """The entry point `isr`."""
    from isr.cli.app import main as run

    run()
