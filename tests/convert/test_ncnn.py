"""ncnn's pairs of files: written here line by line, of the goldens' weights, so that they must give their pictures."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_models import numpy

from isr.convert import convert
from isr.errors import RequestError

GOLDENS = Path(__file__).parents[1] / "goldens" / "convert"
Weights = dict[str, np.ndarray]
Golden = dict[str, np.ndarray]


class Pair:
    """A graph and its numbers, as ncnn's converters write them."""

    def __init__(self, weights: Weights, flag: int = 0) -> None:
        self.weights, self.flag = weights, flag
        self.lines = ["Input picture 0 1 data"]
        self.numbers = b""

    def add(self, kind: str, inputs: str, settings: str = "") -> str:
        name = f"{kind.lower()}{len(self.lines)}"
        self.lines.append(f"{kind} {name} {len(inputs.split())} 1 {inputs} {name}_out {settings}".rstrip())
        return f"{name}_out"

    def split(self, blob: str, count: int) -> list[str]:
        outputs = [f"{blob}_{i}" for i in range(count)]
        self.lines.append(f"Split split{len(self.lines)} 1 {count} {blob} {' '.join(outputs)}")
        return outputs

    def conv(self, blob: str, name: str, leaky: bool = False) -> str:
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        filters, _, side, _ = kernel.shape
        self.numbers += struct.pack("<I", self.flag)
        if self.flag == 0x01306B47:
            half = kernel.astype("<f2").tobytes()
            self.numbers += half + b"\0" * (-len(half) % 4)
        else:
            self.numbers += kernel.astype("<f4").tobytes()
        self.numbers += bias.astype("<f4").tobytes()
        act = " 9=2 -23310=1,2.000000e-01" if leaky else ""
        return self.add("Convolution", blob, f"0={filters} 1={side} 4={side // 2} 5=1 6={kernel.size}{act}")

    def write(self, folder: Path) -> Path:
        blobs = {blob for line in self.lines for blob in line.split()[4:] if "=" not in blob}
        text = "\n".join(["7767517", f"{len(self.lines)} {len(blobs)}", *self.lines, ""])
        (folder / "network.bin").write_bytes(self.numbers)
        (folder / "network.param").write_text(text)
        return folder / "network.param"


def compact(pair: Pair, golden: Golden) -> None:
    y, skip = pair.split("data", 2)
    last = max(int(name.split(".")[1]) for name in pair.weights)
    for i in range(0, last, 2):
        y = pair.conv(y, f"body.{i}")
        slopes = pair.weights[f"body.{i + 1}.weight"]
        pair.numbers += slopes.astype("<f4").tobytes()
        y = pair.add("PReLU", y, f"0={slopes.size}")
    scale = golden["output"].shape[1] // golden["input"].shape[1]
    y = pair.add("PixelShuffle", pair.conv(y, f"body.{last}"), f"0={scale}")
    skip = pair.add("Interp", skip, f"0=1 1={scale}.000000e+00 2={scale}.000000e+00")
    pair.add("BinaryOp", f"{y} {skip}")


def span(pair: Pair, golden: Golden) -> None:
    pair.lines.append("MemoryData mean 0 1 mean_out 0=1 1=1 2=3")
    pair.numbers += np.float32([0.4488, 0.4371, 0.4040]).tobytes()
    x = pair.add("BinaryOp", "data mean_out", "0=1")
    x = pair.add("BinaryOp", x, "0=2 1=1 2=2.550000e+02")
    head, x = pair.split(pair.conv(x, "conv_1.eval_conv"), 2)
    first = activated = ""
    for b in range(1, 7):
        x, skip = pair.split(x, 2)
        activated, y = pair.split(pair.add("Swish", pair.conv(x, f"block_{b}.c1_r.eval_conv")), 2)
        h = pair.conv(
            pair.add("Swish", pair.conv(y, f"block_{b}.c2_r.eval_conv")), f"block_{b}.c3_r.eval_conv"
        )
        h, gate = pair.split(h, 2)
        gate = pair.add("BinaryOp", pair.add("Sigmoid", gate), "0=1 1=1 2=5.000000e-01")
        x = pair.add("BinaryOp", f"{pair.add('BinaryOp', f'{h} {skip}')} {gate}", "0=2")
        if b == 1:
            first, x = pair.split(x, 2)
    end = pair.conv(x, "conv_2.eval_conv")
    x = pair.conv(pair.add("Concat", f"{head} {end} {first} {activated}", "0=0"), "conv_cat")
    scale = golden["output"].shape[1] // golden["input"].shape[1]
    pair.add("PixelShuffle", pair.conv(x, "upsampler.0"), f"0={scale}")


def rrdbnet(pair: Pair, golden: Golden) -> None:
    head, x = pair.split(pair.conv("data", "conv_first"), 2)
    blocks = len({name.split(".")[1] for name in pair.weights if name.startswith("body.")})
    for b in range(blocks):
        x, start = pair.split(x, 2)
        for r in (1, 2, 3):
            seen = [x]
            for c in (1, 2, 3, 4, 5):
                joined = pair.add("Concat", " ".join(seen), "0=0") if c > 1 else x
                seen.append(pair.conv(joined, f"body.{b}.rdb{r}.conv{c}", leaky=c < 5))
            x = pair.add("Eltwise", f"{seen[-1]} {x}", "0=1 -23301=2,2.000000e-01,1.000000e+00")
        x = pair.add("Eltwise", f"{x} {start}", "0=1 -23301=2,2.000000e-01,1.000000e+00")
    x = pair.add("BinaryOp", f"{head} {pair.conv(x, 'conv_body')}")
    for name in ("conv_up1", "conv_up2"):
        x = pair.conv(pair.add("Interp", x, "0=1 1=2.000000e+00 2=2.000000e+00"), name, leaky=True)
    pair.conv(pair.conv(x, "conv_hr", leaky=True), "conv_last")


WRITERS: dict[str, Callable[[Pair, Golden], None]] = {
    "compact_x2": compact,
    "compact_x4": compact,
    "span_x3_merged": span,
    "rrdb_new_x4": rrdbnet,
}


def written(name: str, folder: Path, flag: int = 0) -> tuple[Path, Golden]:
    golden = dict(np.load(GOLDENS / f"{name}.npz"))
    weights = {key.removeprefix("weights/"): value for key, value in golden.items() if "weights/" in key}
    pair = Pair(weights, flag)
    WRITERS[name](pair, golden)
    return pair.write(folder), golden


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("flag", [0, 0x0002C056, 0x01306B47])
def test_a_pair_gives_the_published_picture(name: str, flag: int, tmp_path: Path) -> None:
    path, golden = written(name, tmp_path, flag)
    for given in (path, path.with_suffix(".bin")):
        conversion = convert(given)
        assert conversion.checkpoint.format == "ncnn"
        difference = np.abs(numpy(conversion.model(golden["input"])) - golden["output"]).max()
        assert difference < 1e-4 * np.ptp(golden["output"])


def test_what_the_graph_tells_is_not_assumed(tmp_path: Path) -> None:
    path, _ = written("span_x3_merged", tmp_path)
    conversion = convert(path)
    assert conversion.assumed == {}
    assert (conversion.taken["pixel_range"], conversion.taken["pixel_mean"]) == (
        255.0,
        [0.4488, 0.4371, 0.404],
    )
    (tmp_path / "rrdb").mkdir()
    path, golden = written("rrdb_new_x4", tmp_path / "rrdb")
    assert json.loads(str(golden["facts"])) == {} and convert(path).taken["res_scale"] == 0.2


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("compact_x2", "PReLU", "Mish", "an operation 'Mish'"),
        ("compact_x2", "0=1 1=2.0", "0=2 1=2.0", "an operation 'Interp'"),
        ("compact_x2", "4=1", "4=0", "a convolution as no network here has it"),
        ("compact_x2", "4=1", "4=1 3=2", "a convolution as no network here has it"),
        ("compact_x2", "5=1", "5=0", "without bias"),
        ("compact_x2", "4=1", "4=1 8=2", "a convolution as no network here has it"),
        ("compact_x2", "4=1", "4=1 9=5", "activation"),
        ("span_x3_merged", "2=5.000000e-01", "2=4.000000e-01", "resembles SPAN"),
        ("span_x3_merged", "Swish", "Sigmoid", "resembles SPAN"),
        ("rrdb_new_x4", "2,2.000000e-01", "2,3.000000e-01", "resembles RRDBNet"),
        ("rrdb_new_x4", "-23310=1,2.0", "-23310=1,1.0", "resembles RRDBNet"),
        ("rrdb_new_x4", "-23310=1,", "-23310=2,", "damaged"),
        ("compact_x4", "6=216", "6=217", "damaged"),
        ("compact_x4", "6=216", "6=-216", "damaged"),
        ("compact_x4", "0=8 1=3", "0=4 1=3", "weights of a kind"),
        ("compact_x4", "7767517\n", "7767517\n9", "damaged"),
        ("compact_x4", " data ", " nowhere ", "damaged"),
    ],
)
def test_another_graph_ends_in_one_line(name: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    path, _ = written(name, tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert said in error(path)


def error(path: Path) -> str:
    with pytest.raises(RequestError) as caught:
        convert(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def test_numbers_that_do_not_fit_end_in_one_line(tmp_path: Path) -> None:
    path, _ = written("compact_x2", tmp_path)
    data = path.with_suffix(".bin").read_bytes()
    for damaged, said in (
        (data[:-1], "ends too early"),
        (data + b"\0\0\0\0", "left over"),
        (struct.pack("<I", 0x000D4B38) + data[4:], "8 bits"),
        (struct.pack("<I", 77) + data[4:], "0x0000004D"),
    ):
        path.with_suffix(".bin").write_bytes(damaged)
        assert said in error(path)
    path.with_suffix(".bin").unlink()
    assert "put network.bin beside it" in error(path)


def test_a_network_made_smaller_at_the_end_is_refused(tmp_path: Path) -> None:
    """The files for x2 and x3 of the published network for animations hold that for x4 and a resize."""
    path, _ = written("compact_x4", tmp_path)
    lines = path.read_text().splitlines()
    count, blobs = map(int, lines[1].split())
    last = lines[-1].split()[6]
    lines[1] = f"{count + 1} {blobs + 1}"
    path.write_text("\n".join([*lines, f"Interp resize 1 1 {last} output 0=3 1=5.000000e-01 2=5.000000e-01"]))
    assert "larger scale" in error(path)
