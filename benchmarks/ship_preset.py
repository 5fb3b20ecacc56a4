"""Make a finished run a shipped preset: weights as float16, facts for `isr models`, and the model card.

    python benchmarks/ship_preset.py runs/edsr_baseline_x2 edsr_baseline_x2 \\
        --val PHOTOS/val --manifest PHOTOS/manifest.csv --set5 SET5 --set14 SET14

The validation pictures decide everything. Set5 and Set14 are read here, once per finished run, and the card lists
every reading, so a card that exists is extended and not replaced.
"""

from __future__ import annotations

import argparse
import csv
import datetime
from pathlib import Path

import numpy as np
from measure import machine

from isr import config as configuration
from isr import presets
from isr.data.degrade import FixedDegradation
from isr.data.pairs import find_pairs
from isr.evaluate import Protocol, Table, evaluate, read_pairs
from isr.models import SuperResolutionModel
from isr.models.loading import load
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.runtimes import as_upscaler
from isr.spec import Upscaler
from isr.train.log import read_log


def score(
    model: SuperResolutionModel | Upscaler, hr: Path, scale: int, damage: FixedDegradation | None = None
) -> Table:
    """The model on a folder under the standard protocol; with a damage, on pictures that have it."""
    upscaler = as_upscaler(model)
    spec = upscaler.spec
    pairs = read_pairs(find_pairs(hr, None, scale), scale, spec.num_channels, damage)

    def run(x: np.ndarray) -> np.ndarray:
        return enlarge(upscaler, x, TileOptions(), scale=scale)

    protocol = Protocol(scale) if damage is None else Protocol(scale, lr=damage.describe(scale))
    return evaluate(run, pairs, protocol, model=spec.name)


def as_markdown(table: Table) -> str:
    """Figures per picture as a Markdown table."""
    lines = [
        "| picture | bicubic dB | model dB | gain | bicubic SSIM | model SSIM |",
        "|---|---|---|---|---|---|",
    ]
    for row in (*table.rows, table.mean):
        gain = row.psnr - row.bicubic_psnr
        lines.append(
            f"| {row.name} | {row.bicubic_psnr:.3f} | {row.psnr:.3f} | {gain:+.3f} "
            f"| {row.bicubic_ssim:.4f} | {row.ssim:.4f} |"
        )
    return "\n".join(lines)


def credits(manifest: Path) -> str:
    """Every training picture with its source, author and licence."""
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    lines = ["| picture | source | author | licence |", "|---|---|---|---|"]
    for row in rows:
        name = Path(row["file"]).name
        lines.append(f"| {name} | {row['source']} | {row['author']} | {row['licence']} |")
    return "\n".join(lines)


def training_pictures(manifest: Path) -> str:
    """The section of a card on what its network was trained on."""
    pictures = credits(manifest)
    return f"""## Training pictures

{len(pictures.splitlines()) - 2} photographs, 96 megapixels, made smaller and cropped.
Unsplash and Pexels: free use, no attribution needed (https://unsplash.com/license,
https://www.pexels.com/license/); CC0-1.0 and public domain: no conditions; CC-BY-4.0: the pictures were downscaled,
cropped and re-encoded. "not stated": the source names no author.

{pictures}
"""


def curve(run: Path) -> str:
    """Validation figures over the steps."""
    rows = [row for row in read_log(run / "log.csv") if row["val_psnr_y"] and row["loss"]]
    lines = ["| step | seconds | loss | val_psnr_y | over bicubic |", "|---|---|---|---|---|"]
    for row in rows:
        gain = float(row["val_psnr_y"]) - float(row["val_bicubic_psnr_y"])
        lines.append(
            f"| {row['step']} | {float(row['seconds']):.0f} | {float(row['loss']):.5f} "
            f"| {float(row['val_psnr_y']):.3f} | {gain:+.3f} |"
        )
    return "\n".join(lines)


def looks(
    card: Path, model: SuperResolutionModel | Upscaler, sets: dict[str, Path | None], steps: str
) -> str:
    """The readings of Set5 and Set14: the earlier ones of the card, and a new one of each given set."""
    head = "| date | run | set | bicubic dB | model dB | model SSIM |"
    old = []
    if card.is_file():
        lines = card.read_text(encoding="utf-8").splitlines()
        if head in lines:
            start = lines.index(head) + 2
            stop = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
            old = lines[start:stop]
    scales = model.spec.scales
    for name, folder in sets.items():
        for scale in scales if folder is not None else ():
            mean = score(model, folder, scale).mean
            shown = f"{name} x{scale}" if len(scales) > 1 else name
            old.append(
                f"| {datetime.date.today()} | {steps} | {shown} | {mean.bicubic_psnr:.2f} | {mean.psnr:.2f} "
                f"| {mean.ssim:.4f} |"
            )
    return "\n".join([head, "|---|---|---|---|---|---|", *old])


def portable(recipe: Path) -> str:
    """A run's recipe without the folders of the machine it ran on, its remarks on top."""
    remarks = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    config = configuration.load(recipe)
    folders = {"train_hr": "photos/train", "val_hr": "photos/val", "cache": None}
    # A flow is trained on photographs alone, and judged on clips.
    clips = {"train_clips": "clips/train", "val_clips": "clips/val"}
    folders |= {key: folder for key, folder in clips.items() if getattr(config.data, key) is not None}
    start = config.model.start_from
    # A run that ships under its own name.
    if start is not None and Path(start).name in ("best", "last"):
        start = Path(start).parent.name
    changed = config.model_copy(
        update={
            "run": f"runs/{Path(config.run).name}",
            "data": config.data.model_copy(update=folders),
            "model": config.model.model_copy(update={"start_from": start}),
        }
    )
    return "\n".join(remarks) + "\n" + configuration.to_yaml(changed, comments=False)


def arguments_of_a_run(description: str | None) -> argparse.ArgumentParser:
    """What both programs that ship a run are told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--note", default="", help="a sentence on how the run went, for the card")
    return parser


def best_row(run: Path) -> dict[str, str]:
    """The row of a run's log with the highest PSNR."""
    validated = (row for row in read_log(run / "log.csv") if row["val_psnr_y"])
    return max(validated, key=lambda row: float(row["val_psnr_y"]))


def store_in_halves(model: SuperResolutionModel) -> None:
    """Round the weights to what a preset stores."""
    for variable in model.variables:
        variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))


def body(model: SuperResolutionModel) -> str:
    """What a network is made of, in words."""
    count = getattr(model, "num_convs", None)
    parts = f"{model.num_blocks} blocks" if count is None else f"{count} convolutions"
    return f"{parts} of {model.num_features} features"


def main() -> None:
    parser = arguments_of_a_run(__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--set5", type=Path)
    parser.add_argument("--set14", type=Path)
    arguments = parser.parse_args()

    model = load(arguments.run / "best", name=arguments.name)
    full = [score(model, arguments.val, scale).mean.psnr for scale in model.scales]
    store_in_halves(model)
    tables = {scale: score(model, arguments.val, scale) for scale in model.scales}
    cost = max(before - table.mean.psnr for before, table in zip(full, tables.values(), strict=True))
    print(f"float16 storage costs {cost:.4f} dB on val")

    folder = presets.HERE / arguments.name
    config = configuration.load(arguments.run / "config.yml")
    best = best_row(arguments.run)
    steps = f"{best['step']} of {config.steps.total} steps"
    gains = {scale: f"{table.mean.psnr - table.mean.bicubic_psnr:+.2f} dB" for scale, table in tables.items()}
    named = " and ".join(", ".join(map(str, model.scales)).rsplit(", ", 1))
    only = len(model.scales) == 1
    better = "; ".join(
        f"{gains[scale]}{'' if only else f' at x{scale}'}, better on {table.better()} of {len(table.rows)}"
        for scale, table in tables.items()
    )
    validation = "\n\n".join(
        f"{table.protocol.describe()}. Sixteen freely licensed photographs, none of them trained on.\n\n"
        f"    isr evaluate --hr photos/val --preset {arguments.name}{'' if only else f' --scale {scale}'}\n\n"
        f"{as_markdown(table)}"
        for scale, table in tables.items()
    )
    sets = {"Set5": arguments.set5, "Set14": arguments.set14}
    card = f"""# {arguments.name}

{type(model).__name__} for scale {named}, {body(model)},
{model.count_params():,} parameters. Over bicubic on the validation pictures:
{better}.
Stored as float16 and run as float32; storage costs {cost:.4f} dB. The weights carry the licence of the code.

**For** photographs that were made smaller and are clean: it was trained on MATLAB-style bicubic reduction alone.
JPEG blocks, noise and blur are enlarged with the rest, and faces are not invented.

## Training

`isr train --config recipe.yml` with the recipe beside this card; {steps} in {float(best["seconds"]):.0f} s
({machine()}).
Schedule, stop and weights were chosen on the validation pictures alone. {arguments.note}

{curve(arguments.run)}

## Validation

{validation}

## Readings of Set5 and Set14

Same protocol, each set read once per finished run; every reading is listed.

{looks(folder / "card.md", model, sets, steps)}

{training_pictures(arguments.manifest)}"""
    facts = {
        "parameters": model.count_params(),
        "val_psnr_y": round(tables[model.scales[0]].mean.psnr, 2),
        "over_bicubic": gains[model.scales[0]],
        "licence": "Apache-2.0",
    }
    recipe = portable(arguments.run / "best" / "recipe.yml")
    model.save_preset(folder, dtype="float16", files={"card.md": card, "recipe.yml": recipe}, facts=facts)
    print(f"{folder}: {better}")


if __name__ == "__main__":
    main()
