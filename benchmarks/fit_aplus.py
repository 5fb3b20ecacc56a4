"""Fit A+ on photographs and make it a shipped preset: weights as float16, facts for `isr models`, and the card.

    python benchmarks/fit_aplus.py 2 --train PHOTOS/train --val PHOTOS/val --manifest PHOTOS/manifest.csv \\
        --set5 SET5 --set14 SET14

The validation pictures decide everything. Set5 and Set14 are read here, once per finished fit, and the card lists
every reading, so a card that exists is extended and not replaced.
"""

from __future__ import annotations

import argparse
import datetime
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import machine
from ship_preset import as_markdown, credits, looks, score

from isr import presets
from isr.aplus import APlus
from isr.progress import Terminal
from isr.train.aplus import fit

ARGUMENTS: dict[str, Any] = {
    "num_anchors": (256, 128, 64),
    "num_features": 36,
    "num_patches": 36,
    "rounds": 2,
}
MEGAPIXELS = {2: 36, 3: 30, 4: 64}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scale", type=int, choices=MEGAPIXELS)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--set5", type=Path)
    parser.add_argument("--set14", type=Path)
    given = parser.parse_args()
    scale = given.scale
    arguments = {**ARGUMENTS, "megapixels": MEGAPIXELS[scale]}

    began, processor = time.perf_counter(), time.process_time()
    progress = Terminal()
    fitted = fit(given.train, scale, **arguments, progress=progress)
    progress.close()
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    name = f"aplus_x{scale}"
    with tempfile.TemporaryDirectory() as folder:
        fitted.save_preset(Path(folder) / name, dtype="float16")
        model = APlus.from_preset(Path(folder) / name)
    table = score(model, given.val, scale)
    cost = score(fitted, given.val, scale).mean.psnr - table.mean.psnr
    gain = table.mean.psnr - table.mean.bicubic_psnr
    count = sum(weights.size for weights in model.get_weights())
    anchors = ", ".join(str(number) for number in arguments["num_anchors"])
    call = ", ".join([f"scale={scale}", *(f"{key}={value}" for key, value in arguments.items())])
    target = presets.HERE / name
    sets = {"Set5": given.set5, "Set14": given.set14}
    card = f"""# {name}

A+ for scale {scale}, stages of {anchors} anchors, {arguments["num_features"]} features each, {count:,} numbers.
{gain:+.2f} dB over bicubic on the validation pictures, better on {table.better()} of {len(table.rows)}.
Stored as float16 and run as float32; storage costs {cost:.4f} dB. The weights carry the licence of the code.

**For** photographs that were made smaller and are clean, without a network: it was fitted to MATLAB-style
bicubic reduction alone. The networks that ship are better. JPEG blocks, noise and blur are enlarged with the rest.

## Fit

    isr.train.aplus.fit(
        "photos/train",
        {call},
    )

by `benchmarks/fit_aplus.py {scale}`; {processor:.0f} s of processor time, {seconds:.0f} s in all beside other work, at
most {memory:.1f} GiB of memory
({machine()}).
Arguments were chosen on the validation pictures alone.

## Validation

{table.protocol.describe()}. Sixteen freely licensed photographs, none of them fitted to.

    isr evaluate --hr photos/val --preset {name}

{as_markdown(table)}

## Readings of Set5 and Set14

Same protocol, each set read once per finished fit; every reading is listed.

{looks(target / "card.md", model, sets, f"fit of {datetime.date.today()}")}

## Training pictures

{len(credits(given.manifest).splitlines()) - 2} photographs, 96 megapixels, made smaller and cropped.
Unsplash and Pexels: free use, no attribution needed (https://unsplash.com/license,
https://www.pexels.com/license/); CC0-1.0 and public domain: no conditions; CC-BY-4.0: the pictures were downscaled,
cropped and re-encoded. "not stated": the source names no author.

{credits(given.manifest)}
"""
    facts = {
        "parameters": count,
        "val_psnr_y": round(table.mean.psnr, 2),
        "over_bicubic": f"{gain:+.2f} dB",
        "licence": "Apache-2.0",
        "fit": arguments,
    }
    fitted.save_preset(target, dtype="float16", files={"card.md": card}, facts=facts)
    print(f"{target}: {gain:+.3f} dB over bicubic, better on {table.better()} of {len(table.rows)}")


if __name__ == "__main__":
    main()
