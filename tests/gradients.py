"""Gradients for tests, on whatever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


def differentiate(function: Callable[..., Any]) -> Callable[..., tuple[Any, list[np.ndarray]]]:
    """What a function of arrays gives, as NumPy arrays, and its gradients with respect to each of them.

    The function is compiled, as it is in training. It returns a scalar, or a pair of one and something else (a nest
    of tensors) that is given back beside it.
    """

    def pair(tensors: list[Any]) -> tuple[Any, Any]:
        result = function(*tensors)
        return result if isinstance(result, tuple) else (result, None)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def compiled(tensors: list[Any]) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                loss, other = pair(tensors)
            return (loss, other), tape.gradient(loss, tensors, unconnected_gradients="zero")
    else:
        import jax

        compiled = jax.jit(jax.value_and_grad(pair, has_aux=True))

    def run(*arrays: np.ndarray) -> tuple[Any, list[np.ndarray]]:
        (loss, other), gradients = compiled([ops.convert_to_tensor(array, "float32") for array in arrays])
        value = ops.convert_to_numpy(loss)
        if other is not None:
            value = value, keras.tree.map_structure(ops.convert_to_numpy, other)
        return value, [ops.convert_to_numpy(gradient) for gradient in gradients]

    return run


def descend(
    function: Callable[..., Any], x: np.ndarray, rate: float, steps: int
) -> tuple[np.ndarray, list[float]]:
    """Gradient descent from `x`: where it ends, and the function's value before every step and at the end."""
    step = differentiate(function)
    values = []
    for _ in range(steps):
        value, (gradient,) = step(x)
        values.append(float(value))
        x = x - rate * gradient
    values.append(float(step(x)[0]))
    return x, values
