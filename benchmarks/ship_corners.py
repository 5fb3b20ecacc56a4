"""Make finished runs a shipped preset for damaged photographs: its corners as float16, its facts and its card.

    python benchmarks/corners.py PHOTOS/val restored=runs/restored/best textured=runs/textured/last > table.md
    python benchmarks/ship_corners.py runs/restored photo_x4 --clean edsr_baseline_x4 --textured runs/textured \\
        --val PHOTOS/val --manifest PHOTOS/manifest.csv --table table.md --looks looks.md

The validation pictures decide everything; Set5 and Set14 are not read.
"""

from __future__ import annotations

from pathlib import Path

from measure import machine
from ship_preset import (
    arguments_of_a_run,
    as_markdown,
    best_row,
    body,
    curve,
    portable,
    score,
    store_in_halves,
    training_pictures,
)

from isr import config as configuration
from isr import presets
from isr.data.degrade import FixedDegradation
from isr.models.loading import load
from isr.train.log import read_log

RECIPES = {"restored": presets.RECIPE, "textured": "recipe_textured.yml"}


def how_trained(corner: str, run: Path, row: dict[str, str]) -> str:
    """What a card says of a run."""
    config = configuration.load(run / "config.yml")
    start = Path(str(config.model.start_from))
    return (
        f"`{corner}`: `isr train --config {RECIPES[corner]}`, {row['step']} of {config.steps.total} steps\n"
        f"in {float(row['seconds']):.0f} s beside other work, from "
        f"`{'restored' if start.name in ('best', 'last') else start}`. The curve is on {config.data.val_count} of the "
        f"validation pictures, all damage of strength {config.data.val_strength}."
        f"\n\n{curve(run)}"
    )


def main() -> None:
    parser = arguments_of_a_run(__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--clean", required=True, help="a shipped preset of the same network")
    parser.add_argument("--textured", type=Path, help="a run")
    parser.add_argument("--table", type=Path, required=True, help="what corners.py printed")
    parser.add_argument("--looks", type=Path, required=True, help="a section on what the results look like")
    arguments = parser.parse_args()

    model = load(arguments.run / "best", name=arguments.name)
    (scale,) = model.scales
    damage = FixedDegradation("real", 2)
    full = score(model, arguments.val, scale, damage).mean.psnr
    store_in_halves(model)
    table = score(model, arguments.val, scale, damage)
    cost = full - table.mean.psnr
    gain = table.mean.psnr - table.mean.bicubic_psnr
    textured = None
    trained = [how_trained("restored", arguments.run, best_row(arguments.run))]
    recipes = {presets.RECIPE: portable(arguments.run / "best" / "recipe.yml")}
    if arguments.textured is not None:
        textured = presets.read_safetensors(arguments.textured / "last" / presets.WEIGHTS)
        trained.append(
            how_trained("textured", arguments.textured, read_log(arguments.textured / "log.csv")[-1])
        )
        recipes[RECIPES["textured"]] = portable(arguments.textured / "last" / presets.RECIPE)
    mixing = "`--denoise` mixes the two" if textured is None else "`--denoise` and `--texture` mix them"
    names = "`clean` and `restored`" if textured is None else "`clean`, `restored` and `textured`"
    card = f"""# {arguments.name}

{type(model).__name__} for scale {scale}, {body(model)}, {model.count_params():,} parameters, in the corners
{names}: weights of one network that lie so close that {mixing}.
`clean` is `{arguments.clean}`; the preset by itself is `restored`. On validation pictures with all
damage of strength 2, that is {gain:+.2f} dB over bicubic, better on {table.better()} of {len(table.rows)}.
Stored as float16 and run as float32; storage costs {cost:.4f} dB. The weights carry the licence of the code.

**For** photographs that are blurred, noisy or compressed. On clean pictures `restored` takes detail for damage: take
`clean` there. Faces and text are not invented: what cannot be read stays so.

## Training

On {machine()}. Schedules, stops and weights were chosen on the validation
pictures alone. {arguments.note}

{chr(10).join(trained)}

## Every damage and strength

`python benchmarks/corners.py photos/val clean={arguments.clean} restored={arguments.name} --side 256`, in bfloat16.
"real" is blur, noise and JPEG together.

{arguments.table.read_text(encoding="utf-8").strip()}

{arguments.looks.read_text(encoding="utf-8").strip()}

## Validation

{table.protocol.describe()}.
Sixteen freely licensed photographs, none of them trained on.

    isr evaluate --hr photos/val --preset {arguments.name} --degradation real --strength 2

{as_markdown(table)}

Set5 and Set14 were not read.

{training_pictures(arguments.manifest)}"""
    folder = presets.HERE / arguments.name
    facts = {
        "parameters": model.count_params(),
        "val_psnr_y": round(table.mean.psnr, 2),
        "over_bicubic": f"{gain:+.2f} dB on {damage}",
        "licence": "Apache-2.0",
    }
    model.save_preset(folder, dtype="float16", files={"card.md": card, **recipes}, facts=facts)
    presets.write_corners(folder, clean=arguments.clean, textured=textured)
    print(f"{folder}: {gain:+.2f} dB, float16 storage costs {cost:.4f} dB")


if __name__ == "__main__":
    main()
