"""The command line; imports neither Keras nor TensorFlow until a command needs a model."""

from __future__ import annotations

import gc


def main() -> None:
    """Run `isr`: the entry point."""
    # What is imported stays: looking through it for what could be freed takes a tenth of the start. `run` ends this.
    gc.disable()
    from isr.cli.app import main as run

    run()
