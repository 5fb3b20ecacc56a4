"""Make a finished run of a video network a shipped preset: weights as float16, facts, and the model card.

    python benchmarks/ship_video_preset.py runs/tdan_small_x4 tdan_small_x4 --val CLIPS/val \\
        --clips CLIPS/manifest.csv --photos PHOTOS/manifest.csv --beside edsr_baseline_x4

The validation clips decide everything: all their frames are scored, with bicubic and image presets beside.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from measure import machine
from ship_preset import arguments_of_a_run, best_row, credits, curve, portable, store_in_halves

from isr import config as configuration
from isr import presets, upscale_frames
from isr.data.clips import find_clips
from isr.evaluate import BICUBIC, ClipProtocol, Table, describe_degradation, evaluate_clips, read_clips
from isr.models import EDVR, TDAN, FlowVSR, SuperResolutionModel
from isr.models.loading import load
from isr.train.log import read_log


def score(model: SuperResolutionModel, folder: Path, beside: list[str]) -> Table:
    """The model on all frames of clips, and presets beside it."""
    scale = model.scales[0]
    upscalers = {model.name: partial(upscale_frames, model)}
    upscalers |= {name: partial(upscale_frames, name) for name in beside}
    protocol = ClipProtocol(scale, lr=describe_degradation("bi", scale))
    return evaluate_clips(
        upscalers, read_clips(find_clips(folder, None), scale, model.num_channels), protocol
    )


def describe(model: SuperResolutionModel) -> str:
    """The network in words."""
    if isinstance(model, FlowVSR):
        base = model.base["arguments"]
        return (
            f"FlowVSR for scale {model.scale} on {model.base['model']} ({base.get('num_blocks')} blocks of "
            f"{base.get('num_features')} features, inside the preset), {model.num_blocks} blocks of "
            f"{model.num_features} features"
        )
    blocks = (
        f"{model.num_extract_blocks} + {model.num_reconstruct_blocks} blocks of {model.num_features} features"
    )
    if isinstance(model, TDAN):
        return f"TDAN for scale {model.scale}, {blocks}, border rule {model.border}"
    assert isinstance(model, EDVR)
    return f"EDVR for scale 4, {blocks}, {'with' if model.with_tsa else 'without'} TSA"


def clip_credits(manifest: Path) -> str:
    """Every training clip with its source, author and licence."""
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    lines = ["| clip | source | author | licence |", "|---|---|---|---|"]
    for row in rows:
        source = f"{row['source']}: {row['original']}" if row["original"] else row["source"]
        lines.append(f"| {Path(row['file']).stem} | {source} | {row['author']} | {row['licence']} |")
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """PSNR, SSIM and flicker of every clip as a Markdown table."""
    lines = [
        "| clip | frames | " + " | ".join(f"{method} dB / SSIM / flicker" for method in table.methods) + " |",
        "|---" * (2 + len(table.methods)) + "|",
    ]
    for row in (*table.rows, table.mean):
        cells = (f"{f.psnr:.3f} / {f.ssim:.4f} / {f.flicker:.2f}" for f in row.figures.values())
        lines.append(f"| {row.name} | {row.frames} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = arguments_of_a_run(__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="manifest of the training clips")
    parser.add_argument("--photos", type=Path, help="manifest of the photographs, where they were trained on")
    parser.add_argument(
        "--before",
        action="append",
        default=[],
        metavar="NAME=RUN",
        help="a stage that was trained before, by its name and its run, whose last weights were taken; repeatable",
    )
    parser.add_argument("--beside", action="append", default=[], help="a preset to compare with; repeatable")
    arguments = parser.parse_args()

    model = load(arguments.run / "best", name=arguments.name)
    store_in_halves(model)
    table = score(model, arguments.val, arguments.beside)
    figures = table.mean.figures
    own, bicubic = figures[model.name], figures[BICUBIC]
    gain = own.psnr - bicubic.psnr
    others = "".join(f", {own.psnr - figures[name].psnr:+.2f} dB against {name}" for name in arguments.beside)

    config = configuration.load(arguments.run / "config.yml")
    best = best_row(arguments.run)
    files = {"recipe.yml": portable(arguments.run / "best" / "recipe.yml")}
    before = ""
    for stage in arguments.before:
        name, _, run = stage.partition("=")
        files[f"{name}.yml"] = portable(Path(run) / "last" / "recipe.yml")
        steps = configuration.load(Path(run) / "config.yml").steps.total
        seconds = float(read_log(Path(run) / "log.csv")[-1]["seconds"])
        before += f"Before it came `isr train --config {name}.yml`: {steps} steps in {seconds:.0f} s. "
    pictures = ""
    if arguments.photos is not None:
        pictures = f"""

## Training pictures

They were set in motion (docs/training.md). Unsplash and Pexels: free use, no attribution needed; CC0-1.0 and
public domain: no conditions; CC-BY-4.0: the pictures were downscaled, cropped and re-encoded.

{credits(arguments.photos)}"""
    card = f"""# {arguments.name}

{describe(model)}, {model.count_params():,} parameters, windows of {model.spec.num_frames} frames. {gain:+.2f} dB over
bicubic on the validation clips{others}. Stored as float16 and run as float32. The weights carry the
licence of the code.

**For** clips that were made smaller and are clean: it was trained on MATLAB-style bicubic reduction alone. Artefacts
of compression, noise and motion blur are enlarged with the rest.

## Training

`isr train --config recipe.yml` with the recipe beside this card; {best["step"]} of {config.steps.total} steps in
{float(best["seconds"]):.0f} s ({machine()}; the machine did other work beside).
{before}Schedule, stop and weights were chosen on the validation clips alone. {arguments.note}

{curve(arguments.run)}

The curve counts every {config.data.val_stride}th frame, the table below all of them.

## Validation

{table.protocol.describe()}.

    isr evaluate --hr clips/val --preset {arguments.name}{"".join(f" --beside {name}" for name in arguments.beside)}

{as_markdown(table)}

## Training clips

{clip_credits(arguments.clips)}{pictures}
"""
    facts = {
        "parameters": model.count_params(),
        "val_psnr_y": round(own.psnr, 2),
        "over_bicubic": f"{gain:+.2f} dB",
        "licence": "Apache-2.0",
    }
    folder = presets.HERE / arguments.name
    model.save_preset(folder, dtype="float16", files={"card.md": card, **files}, facts=facts)
    print(table.to_text())
    print(f"{folder}: {gain:+.3f} dB over bicubic{others}")


if __name__ == "__main__":
    main()
