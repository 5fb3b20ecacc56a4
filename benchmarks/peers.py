"""The same network and weights in every engine here, in ncnn by itself, and in PyTorch by spandrel: who is fastest?

    python benchmarks/peers.py NETWORK [--torch-python PYTHON] [--precision bfloat16] [--isa AVX2]
        [--size 180x320] [--rounds 3] [--whole] [--ways ncnn,torch] [--folder FOLDER]

NETWORK is `rrdbnet6`, `rrdbnet23`, `compact` or `span`, with random weights of the published shapes, or a preset.
PyTorch and spandrel may be in an environment of their own, whose python is named. `--folder` keeps the networks for
another call, and `--ways` takes some of the ways only, so that a long comparison goes in short pieces. Without
`--whole`, the networks alone compute pictures of `--size`, in turn, each in a process of its own; seconds are the
least of the rounds. With it, whole commands enlarge a PNG file, in turn; the seconds of the processor, which depend
less on what else the machine does, and the peak memory stand beside. `--isa AVX2` limits oneDNN (TensorFlow, OpenVINO,
PyTorch), OpenVINO's own kernels, and OpenBLAS to what such processors have; ncnn has no switch for that, so it
computes with all of the processor.

The shares are of what the multiplications of the 3x3 convolutions would take at the speed of a large matrix product
(NumPy's, measured in the same run): done directly, and by Winograd's F(4x4, 3x3), which needs a quarter of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
RANDOM = {
    "rrdbnet6": ("RRDBNet", {"scale": 4, "num_blocks": 6}),
    "rrdbnet23": ("RRDBNet", {"scale": 4}),
    "compact": ("Compact", {"scale": 4, "num_features": 64, "num_convs": 16}),
    "span": ("SPAN", {"scale": 4}),
}
# The file that is written last.
LAST = "torch.safetensors"


# --------------------------------------------------------------------------------------------- what is compared


def prepare(network: str, folder: Path) -> tuple[Path, int]:
    """Make a preset, its pair of files for ncnn, and its tensors in their authors' names.

    Args:
        network: its name.
        folder: where they are written; what an earlier call wrote is taken as it is.

    Returns:
        The preset's folder and the scale.
    """
    from safetensors.numpy import save_file

    from isr import presets
    from isr.convert import ncnn as pairs
    from isr.runtimes.engines import ncnn_graph
    from isr.runtimes.wirings import Network

    preset = folder / network if network in RANDOM else presets.find(network)
    made = (folder / LAST).is_file()
    if network in RANDOM and not made:
        code = f"""
import numpy as np
from pathlib import Path
from isr.models import get_model
name, arguments = {RANDOM[network]!r}
model = get_model(name)(**arguments).reparametrise()
rng = np.random.default_rng(0)
for variable in model.variables:  # no bias is zero, or it would be folded away
    variable.assign(variable + 0.01 * rng.normal(size=variable.shape).astype("float32"))
model.save_preset(Path({str(preset)!r}))
"""
        subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    config = presets.read_config(preset)
    (scale, *_) = presets.scales_of(config["model"], config["arguments"])
    if made:
        return preset, scale
    weights = presets.read_safetensors(preset / presets.WEIGHTS)
    graph = ncnn_graph.build(Network(config["model"], config["arguments"], weights), scale)
    ncnn_graph.save(graph, folder / "network.param")
    if config["model"] == "EDSR":
        tensors = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        tensors["mean"] = np.asarray(config["arguments"]["pixel_mean"], np.float32)
        tensors["range"] = np.float32([config["arguments"]["pixel_range"]])
    else:
        tensors, _ = pairs.read(graph.text, graph.numbers)
        tensors = branched(tensors) if config["model"] == "SPAN" else tensors
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / LAST)
    return preset, scale


def branched(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """SPAN's tensors with branches that merge to the same convolutions: its authors' code wants them."""
    found = dict(tensors)
    for name in [name for name in tensors if name.endswith(".eval_conv.weight")]:
        layer = name.removesuffix(".eval_conv.weight")
        kernel, bias = tensors[name], tensors[f"{layer}.eval_conv.bias"]
        o, i = kernel.shape[:2]
        wide = np.zeros((2 * o, 2 * i, 3, 3), np.float32)
        wide[:o, :i] = kernel
        parts = {
            "sk": (np.zeros((o, i, 1, 1)), np.zeros(o)),
            "conv.0": (np.eye(2 * i, i)[..., None, None], np.zeros(2 * i)),
            "conv.1": (wide, np.zeros(2 * o)),
            "conv.2": (np.eye(o, 2 * o)[..., None, None], bias),
        }
        for part, (weight, offset) in parts.items():
            found[f"{layer}.{part}.weight"] = weight.astype(np.float32)
            found[f"{layer}.{part}.bias"] = offset.astype(np.float32)
    return found


class Flop:
    """`isr.runtimes.wirings.Operations` on (channels, pixels per input pixel): counts two for each product."""

    def __init__(self, weights: Any) -> None:
        self.weights, self.count = weights, 0

    def _same(self, x: Any, *_: Any) -> Any:
        return x

    normalise = denormalise = lower = scale = shift = sigmoid = silu = prelu = add = multiply = end_body = (
        _same
    )

    def conv(self, x: Any, name: str, **_: Any) -> Any:
        kernel = self.weights[f"{name}/kernel"]
        self.count += 2 * kernel.size * x[1]
        return kernel.shape[-1], x[1]

    def concatenate(self, parts: Any) -> Any:
        return sum(part[0] for part in parts), parts[0][1]

    def pixel_shuffle(self, x: Any, factor: int) -> Any:
        return x[0] // factor**2, x[1] * factor**2

    def pixel_unshuffle(self, x: Any, factor: int) -> Any:
        return x[0] * factor**2, x[1] / factor**2

    def enlarge_nearest(self, x: Any, factor: int) -> Any:
        return x[0], x[1] * factor**2


def flop_per_pixel(preset: Path) -> float:
    from isr import presets
    from isr.runtimes.wirings import Network

    config = presets.read_config(preset)
    counted = Flop(presets.read_safetensors(preset / presets.WEIGHTS))
    (scale, *_) = presets.scales_of(config["model"], config["arguments"])
    Network(config["model"], config["arguments"]).wire(counted, (3, Fraction(1)), scale)
    return float(counted.count)


# ------------------------------------------------------------------------------------------------------- the peers


def open_way(way: str, folder: Path, preset: str) -> Any:
    """A function of a picture `[h, w, c]`; in an environment of its own that of PyTorch is all that is imported."""
    name, _, precision = way.partition(" ")
    if name == "ncnn-alone":
        import ncnn

        net = ncnn.Net()
        net.load_param(str(folder / "network.param"))
        net.load_model(str(folder / "network.bin"))

        def by_ncnn(lr: np.ndarray) -> np.ndarray:
            extractor = net.create_extractor()
            planes = np.ascontiguousarray(lr.transpose(2, 0, 1))
            extractor.input("data", ncnn.Mat(planes).clone())
            return np.array(extractor.extract("output")[1]).transpose(1, 2, 0)

        return by_ncnn
    if name == "torch":
        return open_torch(folder / LAST, precision)
    from isr.predict.source import Network

    upscaler = Network(preset, name).open(precision)
    return lambda lr: upscaler(lr[None])[0]


def open_torch(path: Path, precision: str) -> Any:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    if "head/kernel" in tensors:  # EDSR, which spandrel does not have
        model = torch_edsr(tensors)
    else:
        import spandrel

        model = spandrel.ModelLoader().load_from_file(path).model.eval()
    dtype = getattr(torch, precision)
    model = model.to(dtype=dtype, memory_format=torch.channels_last)

    def run(lr: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(lr.transpose(2, 0, 1)[None]).to(dtype, memory_format=torch.channels_last)
            return model(x)[0].float().permute(1, 2, 0).numpy()

    return run


def torch_edsr(tensors: Any) -> Any:
    import torch
    from torch import nn

    def conv(name: str) -> Any:
        kernel = tensors[f"{name}/kernel"].permute(3, 2, 0, 1)
        bias = tensors[f"{name}/bias"]
        if "upsampler" in name:  # PyTorch's order of the channels of sub-pixels
            order = torch.arange(len(kernel)).reshape(4, -1).T.reshape(-1)
            kernel, bias = kernel[order], bias[order]
        made = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        made.load_state_dict({"weight": kernel.contiguous(), "bias": bias})
        return made

    class EDSR(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            ups = sum(name.startswith("upsampler") for name in tensors) // 2
            blocks = sum(name.endswith("conv1/kernel") and "block" in name for name in tensors)
            self.head, self.end, self.tail = conv("head"), conv("body_end"), conv("tail")
            self.blocks = nn.ModuleList(
                nn.Sequential(conv(f"block{i}/conv1"), nn.ReLU(), conv(f"block{i}/conv2"))
                for i in range(blocks)
            )
            self.up = nn.Sequential(
                *(m for i in range(ups) for m in (conv(f"upsampler/conv{i}"), nn.PixelShuffle(2)))
            )
            self.register_buffer("mean", tensors["mean"].reshape(1, -1, 1, 1))
            self.range = float(tensors["range"][0])

        def forward(self, x: Any) -> Any:
            shallow = x = self.head((x - self.mean) * self.range)
            for block in self.blocks:
                x = x + block(x)
            return self.tail(self.up(shallow + self.end(x))) / self.range + self.mean

    return EDSR().eval()


def worker(way: str, folder: Path, preset: str, size: str) -> None:
    """Open a way, keep its result, then compute once for every line of stdin and answer with the seconds."""
    height, width = map(int, size.split("x"))
    lr = np.random.default_rng(0).random((height, width, 3), np.float32)
    run = open_way(way, folder, preset)
    first = np.asarray(run(lr), np.float32)
    np.save(folder / f"{way.replace(' ', '-')}.npy", first)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run(lr)
        print(time.perf_counter() - began, flush=True)


def whole(way: str, folder: Path, preset: str, source: str, target: str) -> None:
    """A picture in, a picture out, as a short program of one's own would do it."""
    from PIL import Image

    run = open_way(way, folder, preset)
    lr = np.asarray(Image.open(source).convert("RGB"), np.float32) / 255
    sr = np.clip(run(lr) * 255 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(sr).save(target)


# -------------------------------------------------------------------------------------------------------- measuring


def environment(isa: str) -> dict[str, str]:
    found = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # As installed: bytecode is kept.
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    if isa:
        # OpenVINO wants both: its own kernels follow the second.
        found |= {"ONEDNN_MAX_CPU_ISA": isa, "OV_CPU_MAX_ISA": isa}
        found |= {"ATEN_CPU_CAPABILITY": isa.lower(), "MKL_ENABLE_INSTRUCTIONS": isa}
        found |= {"OPENBLAS_CORETYPE": "Haswell"}
    return found


def networks_alone(ways: dict[str, str], folder: Path, preset: str, size: str, rounds: int, env: Any) -> None:
    running = {
        way: subprocess.Popen(
            [python, str(HERE), "--worker", way, str(folder), preset, size],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=env,
        )
        for way, python in ways.items()
    }
    for way, process in list(running.items()):
        if process.stdout.readline().strip() != "ready":  # type: ignore[union-attr]
            print(f"  {way:<22} cannot run")
            del running[way]
    seconds: dict[str, list[float]] = {way: [] for way in running}
    for _ in range(rounds):
        for way, process in running.items():
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            seconds[way].append(float(process.stdout.readline()))  # type: ignore[union-attr]
    for process in running.values():
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()
    height, width = map(int, size.split("x"))
    flop = flop_per_pixel(Path(preset)) * height * width
    roof = matrix_product(env)
    least = {way: min(times) for way, times in seconds.items()}
    peers = [time for way, time in least.items() if way.startswith(("ncnn-alone", "torch"))]
    exact = np.load(folder / f"{next(iter(running)).replace(' ', '-')}.npy")
    print(f"  {flop / height / width / 1e6:.2f} MFLOP per pixel; a matrix product: {roof / 1e9:.0f} GFLOP/s")
    for way, time_ in sorted(least.items(), key=lambda item: item[1]):
        found = np.load(folder / f"{way.replace(' ', '-')}.npy")
        print(
            f"  {way:<22} {time_ / height / width * 1e6:8.2f} s per megapixel"
            + (f", {time_ / min(peers):.2f} of the fastest peer" if peers else "")
            + f"; share of the roof: {flop / time_ / roof:.2f} direct, {flop / time_ / roof / 4:.2f} Winograd"
            + f"; differs by {np.abs(found - exact).max():.1e}"
        )


def matrix_product(env: Any) -> float:
    """Operations per second of a product of 2048 rows and columns in float32."""
    code = """
import time, numpy as np
a = np.random.default_rng(0).random((2048, 2048), np.float32)
best = 9
for _ in range(4):
    began = time.perf_counter(); a @ a; best = min(best, time.perf_counter() - began)
print(2 * 2048**3 / best)
"""
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def whole_commands(ways: dict[str, str], folder: Path, preset: str, size: str, rounds: int, env: Any) -> None:
    from PIL import Image

    height, width = map(int, size.split("x"))
    rows, columns = np.mgrid[:height, :width] / 40
    picture = (127 + 100 * np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1)).astype(
        np.uint8
    )
    source, target = folder / "photo.png", folder / "enlarged.png"
    Image.fromarray(picture).save(source)
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, python in ways.items():
            name, _, precision = way.partition(" ")
            target.unlink(missing_ok=True)
            command = [python, str(HERE), "--one", way, str(folder), preset, str(source), str(target)]
            if name not in ("ncnn-alone", "torch"):
                command = [python, "-m", "isr", "predict", str(source), "-o", str(target), "--preset", preset]
                command += ["--engine", name, "--precision", precision, "--quiet"]
            began = time.perf_counter()
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status == 0:
                processor = usage.ru_utime + usage.ru_stime
                found[way].append((time.perf_counter() - began, processor, usage.ru_maxrss / 1e3))
            # A line as soon as it is known: whoever stops the comparison has what was done.
            if number == rounds - 1:
                told = "cannot run"
                if found[way]:
                    clocks, processors, peaks = zip(*found[way], strict=True)
                    clock, processor, memory = min(clocks), min(processors), max(peaks)
                    told = f"{clock:7.2f} s, of the processor {processor:7.2f} s, {memory:6.0f} MB"
                print(f"  {way:<22} {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--isa", default="")
    parser.add_argument("--size", default="180x320")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument(
        "--ways", default="tensorflow,openvino,ncnn,ncnn-alone,torch", help="some; empty: only prepare"
    )
    asked = parser.parse_args()
    from measure import machine

    wanted = [name for name in asked.ways.split(",") if name]
    ways = {}
    for name in wanted:
        if name == "ncnn-alone" or (name == "ncnn" and asked.precision == "float32"):
            ways[f"{name} float32"] = sys.executable
        elif name != "ncnn":
            ways[f"{name} {asked.precision}"] = asked.torch_python if name == "torch" else sys.executable
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary)) / asked.network
        folder.mkdir(parents=True, exist_ok=True)
        preset, scale = prepare(asked.network, folder)
        limited = f", limited to {asked.isa}" if asked.isa else ""
        what = "whole commands" if asked.whole else "networks alone"
        print(machine())
        print(f"{asked.network} x{scale}, {asked.size}, {asked.precision}{limited}, {what}", flush=True)
        if not ways:
            return
        measure = whole_commands if asked.whole else networks_alone
        measure(ways, folder, str(preset), asked.size, asked.rounds, environment(asked.isa))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
    elif sys.argv[1:2] == ["--one"]:
        whole(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
    else:
        main()
