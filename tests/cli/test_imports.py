"""What a command imports: only what it uses, since importing is most of its start."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from children import ROOT, run_python

from isr.cli.app import COMMANDS, app_of, run
from isr.io import pictures

# Each takes from 15 ms to seconds.
HEAVY = {
    "av",
    "email",
    "isr.config",
    "isr.data",
    "keras",
    "openvino",
    "openvino.tools.ovc",
    "pydantic",
    "rich",
    "tensorflow",
    "yaml",
}
# Each takes about a millisecond or more, and serves clips, other pictures than PNG, and `.keras` files.
FOR_OTHERS = {
    "PIL.Image",
    "PIL.ImageCms",
    "concurrent.futures",
    "isr.io.clips.info",
    "isr.io.clips.video",
    "isr.predict.jobs.clip",
    "logging",
    "secrets",
    "tifffile",
    "zipfile",
}

REPORT = """
import json, sys
from isr.cli.app import run
try:
    code = run(json.loads(sys.argv[1]))
finally:
    print(json.dumps(sorted(name for name, module in sys.modules.items() if module is not None)))
assert code == 0, code
"""


def imported(*arguments: str, of: set[str] = HEAVY) -> set[str]:
    """Run a command in a child; returns which of some modules it imported."""
    lines = run_python("-c", REPORT, json.dumps(arguments)).splitlines()
    return of & set(json.loads(lines[-1]))


def test_a_photo_imports_openvino_alone(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    photo = tmp_path / "photo.png"
    rng = np.random.default_rng(0)
    pictures.write(photo, pictures.Picture(rng.integers(0, 256, (20, 24, 3), np.uint8)))
    assert imported("predict", str(photo), "--preset", "edsr_fast_x2") == {"openvino"}
    assert (tmp_path / "photo_x2.png").exists()


def test_a_plus_imports_no_framework(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    pictures.write(photo, pictures.Picture(np.zeros((8, 8, 3), np.uint8)))
    assert imported("predict", str(photo), "--preset", "aplus_x2", of=HEAVY | FOR_OTHERS) == set()
    assert (tmp_path / "photo_x2.png").exists()
    code = "import sys, isr, numpy; isr.upscale('aplus_x2', numpy.zeros((8, 8, 3), 'uint8'))"
    run_python("-c", f"{code}; assert not {{'jax', 'keras', 'tensorflow'}} & sys.modules.keys()")


def test_help_and_lists_import_nothing_heavy() -> None:
    # Help is drawn by rich.
    assert imported("--help") <= {"rich"}
    assert imported("models") == set()


def test_openvino_still_converts_after_its_converter_was_left_out() -> None:
    pytest.importorskip("openvino")
    code = (
        "import sys, isr.runtimes.engines.openvino, openvino\n"
        "assert 'openvino.tools.ovc' not in sys.modules\n"
        "try: openvino.convert_model('missing.onnx')\n"
        "except Exception as error: print(type(error).__module__)\n"
        "from openvino.tools.ovc import convert_model\n"
    )
    assert run_python("-c", code).strip() != "builtins"


def test_every_command_is_in_the_program() -> None:
    assert [command.name for command in app_of().registered_commands] == list(COMMANDS)


def names(text: str) -> set[str]:
    """The distributions in lines or quoted lists of requirements."""
    return {name.lower() for name in re.findall(r'^[\s"]*([A-Za-z0-9_.-]+)(?=>=)', text, re.MULTILINE)}


def test_presets_work_without_tensorflow_by_the_requirements_of_the_repository(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    installed = names((ROOT / "setup.py").read_text().split("install_requires=[")[1].split("]")[0])
    enough = names((ROOT / "requirements" / "openvino.txt").read_text())
    left_out = installed - enough
    assert enough < installed and {"tensorflow", "keras"} <= left_out
    packages = {"ruamel.yaml": "ruamel", "tensorboardx": "tensorboardX"}
    blocked = {packages.get(name, name): None for name in left_out}
    rng = np.random.default_rng(0)
    pictures.write(tmp_path / "photo.png", pictures.Picture(rng.integers(0, 256, (20, 24, 3), np.uint8)))
    for preset in ("edsr_fast_x2", "mdsr_baseline"):
        line = [
            "predict",
            str(tmp_path / "photo.png"),
            "--preset",
            preset,
            "-o",
            str(tmp_path / f"{preset}.png"),
        ]
        code = f"import sys; sys.modules.update({blocked!r}); from isr.cli.app import run; sys.exit(run({line!r}))"
        run_python("-c", code)
        assert (tmp_path / f"{preset}.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "a.png", "--scale", "large"], "--scale"),
        (["predict", "a.png", "--tile", "2.5"], "--tile"),
        (["predict"], "INPUT"),
        (["models", "--dir"], "--dir"),
    ],
)
def test_what_is_not_plain_is_still_read_and_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert said in capsys.readouterr().err
