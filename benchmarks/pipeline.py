"""What a clip costs beside the network: decoding, the network and encoding, each alone, and the whole command.

    python benchmarks/pipeline.py CLIP [--preset live_x2 ...] [--frames 60]

Processor seconds per frame, of all threads, which depend little on what else the machine does; the first frames of the
clip, enlarged by 2, with the engine and the precision that `isr predict` takes by itself. In the command the three run
side by side, so that the whole takes the sum of them divided by the cores, where these have nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from measure import machine

from isr import upscale_frames
from isr.io.clips import FrameReader, FrameWriter, plan_output, probe


def command(clip: Path, target: Path, preset: str, seconds: float) -> tuple[float, float]:
    """Processor seconds of `isr predict`, and those on the clock."""
    began = time.perf_counter()
    words = [
        sys.executable,
        "-m",
        "isr",
        "predict",
        str(clip),
        "-o",
        str(target),
        "--preset",
        preset,
        "--overwrite",
    ]
    words += ["--duration", f"{seconds:.3f}", "--quiet"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--preset", action="append")
    parser.add_argument("--frames", type=int, default=60)
    asked = parser.parse_args()
    info = probe(asked.clip, timeline=True)
    wanted = range(min(asked.frames, len(info.known_timeline.pts)))
    began = time.process_time()
    with FrameReader(info, wanted) as reader:
        frames = list(reader)
    decoding = time.process_time() - began
    count = len(frames)
    print(f"{machine()}; {asked.clip.name}, {info.width}x{info.height}, {count} frames")
    print(f"  decode: {decoding / count:.4f} s per frame")
    for preset in asked.preset or ["live_x2", "edsr_fast_x2"]:
        clip = [frame.pixels for frame in frames]
        # The first call opens the network.
        list(upscale_frames(preset, clip[:1], precision="auto", engine="auto"))
        began = time.process_time()
        large = list(upscale_frames(preset, clip, precision="auto", engine="auto"))
        network = time.process_time() - began
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "large.mp4"
            output = plan_output(info, target, 2 * info.height, 2 * info.width, frames=wanted)
            began = time.process_time()
            with FrameWriter(output) as writer:
                for frame, pixels in zip(frames, large, strict=True):
                    writer.write(replace(frame, pixels=pixels))
            encoding = time.process_time() - began
            seconds = float((frames[-1].pts + frames[-1].duration - frames[0].pts) * info.time_base)
            whole, clock = command(asked.clip, target, preset, seconds)
        print(
            f"  {preset}: network {network / count:.4f}, encode {encoding / count:.4f} s per frame; the whole command "
            f"{whole / count:.4f}, on the clock {clock / count:.4f}; share of the network {network / whole:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
