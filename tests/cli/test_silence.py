"""No command asks another machine: what an audit hook hears in a child that runs each of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from children import run_python

from isr import presets
from isr.cli.app import COMMANDS
from isr.io import pictures

# By command, lines that do its usual work; a new command fails until it has some.
LINES = {
    "predict": [
        "predict {photo} --preset edsr_fast_x2 -o {out}/a.png",
        "predict {photo} --preset edsr_fast_x2 --engine tensorflow -o {out}/b.png",
    ],
    # It serves until it is stopped: tests/page/test_page.py listens to both of its processes.
    "page": ["page --help"],
    "evaluate": ["evaluate --hr {photos} --preset edsr_fast_x2"],
    "compare": ["compare {photo} --preset edsr_fast_x2 -o {out}/compared.png"],
    "degrade": ["degrade {photo} -o {out}/degraded.png"],
    "train": [
        'train --set run={out}/run --set model.arguments={{"scale":2,"num_features":4,"num_blocks":1}} '
        "--set data.train_hr={photos} --set data.val_hr={photos} --set data.patch_size=24 --set data.batch_size=2 "
        "--set steps.total=2 --set steps.validate_every=2"
    ],
    "convert": ["convert {weights} -o {out}/converted"],
    "export": [
        "export --preset edsr_fast_x2 --format openvino -o {out}/openvino",
        "export --preset edsr_fast_x2 -o {out}/served",
    ],
    "quantise": ["quantise {preset} --photos {photos} --count 2 -o {out}/eight"],
    "engines": ["engines"],
    "models": ["models"],
    "config": ["config", "config edsr_fast_x2"],
}

CHILD = """
import json, os, sys, time
lines, seen = json.loads(sys.argv[1]), sys.argv[2]
file = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
line = []
def hook(event, given):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        os.write(file, f"{line}: {event} {given}\\n".encode())
sys.addaudithook(hook)
from isr.cli.app import run
for line in lines:
    code = run(line)
    print(*line, code, file=sys.stderr)
    assert code == 0, line
# What is sent in the background, too.
time.sleep(1)
"""


def test_no_command_looks_up_or_asks_a_host(tmp_path: Path) -> None:
    assert set(LINES) == set(COMMANDS), "give every command its lines"
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        pixels = rng.integers(0, 256, (96, 96, 3), np.uint8)
        pictures.write(photos / f"{index}.png", pictures.Picture(pixels))
    shapes = {"conv_first": (4, 3), "body.0.conv1": (4, 4), "body.0.conv2": (4, 4)}
    shapes |= {"conv_after_body": (4, 4), "upsample.0": (16, 4), "conv_last": (3, 4)}
    tensors: dict[str, np.ndarray] = {
        f"{name}.weight": np.zeros((*shape, 3, 3), np.float32) for name, shape in shapes.items()
    }
    tensors |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    presets.write_safetensors(tmp_path / "net.safetensors", tensors)
    places = {
        "photo": photos / "0.png",
        "photos": photos,
        "out": tmp_path,
        "weights": tmp_path / "net.safetensors",
        "preset": presets.find("edsr_fast_x2"),
    }
    lines = [line.format(**places).split() for command in LINES.values() for line in command]
    seen = tmp_path / "seen.txt"
    run_python("-c", CHILD, json.dumps(lines), str(seen), env={"ISR_CACHE": str(tmp_path / "cache")})
    assert seen.read_text() == ""
