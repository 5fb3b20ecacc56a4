"""What a server does, in a process that knows neither the package nor Keras.

`python serving_child.py MODEL REQUESTS ANSWERS`: loads a SavedModel and asks it. REQUESTS is a pickled list of
`(signature, {input: array})`; ANSWERS becomes one of `{output: array}`, or of the message where it refuses.
"""

import pickle
import sys
from pathlib import Path

sys.modules["isr"] = sys.modules["keras"] = None  # type: ignore[assignment]  # an import of them fails

import tensorflow as tf  # noqa: E402

if __name__ == "__main__":
    model, requests, answers = sys.argv[1:]
    loaded = tf.saved_model.load(model)
    found: list[object] = []
    for signature, given in pickle.loads(Path(requests).read_bytes()):
        inputs = {name: tf.constant(value) for name, value in given.items()}
        try:
            outputs = loaded.signatures[signature](**inputs)
            found.append({name: value.numpy() for name, value in outputs.items()})
        except tf.errors.InvalidArgumentError as error:
            found.append(error.message)
    Path(answers).write_bytes(pickle.dumps(found))
    print(sorted(loaded.signatures))
