"""The verbs that exchange encoders with other libraries: `import`, `export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechkit.cli import arguments
from speechkit.cli.output import Outcome
from speechkit.core.errors import ConfigError

LAYOUTS = ("auto", "transformers", "torchaudio", "fairseq", "fairseq2")
FAMILIES = ("wav2vec2", "hubert")


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the two verbs."""
    take = verbs.add_parser(
        "import", help="turn wav2vec 2.0 or HuBERT weights of another library into a model folder"
    )
    take.add_argument(
        "source",
        type=Path,
        help="folder of transformers, or a .safetensors file of torchaudio, fairseq or fairseq2",
    )
    take.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="to write")
    take.add_argument("--layout", choices=LAYOUTS, default="auto", help="whose names (auto)")
    take.add_argument(
        "--heads",
        type=arguments.whole_number(1, 256),
        help="attention heads, where a .safetensors file is of no published size",
    )
    take.add_argument(
        "--norm-order",
        choices=("pre", "post"),
        help="LayerNorm before each part or after its sum, where a .safetensors file is neither "
        "like the published base nor the large models",
    )
    take.add_argument("--encoder-only", action="store_true", help="leave the heads")
    arguments.add_json(take)
    take.set_defaults(handler=_import)

    give = verbs.add_parser("export", help="write a folder that transformers reads")
    give.add_argument("model", type=Path, help="model folder")
    give.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="to write")
    give.add_argument(
        "--family", choices=FAMILIES, help="class of an encoder or a recogniser (wav2vec2)"
    )
    arguments.add_json(give)
    give.set_defaults(handler=_export)


def _import(args: argparse.Namespace) -> Outcome:
    """Import a model."""
    _check_folders(args.source, args.out)

    from speechkit.core.checkpoint import load_tensors
    from speechkit.ssl.checkpoints import save_model
    from speechkit.ssl.ctc.model import CtcModel, save_ctc
    from speechkit.ssl.interop.states import from_state, kind_of
    from speechkit.ssl.interop.transformers import from_transformers

    if args.source.is_dir():
        if args.layout not in ("auto", "transformers") or args.heads or args.norm_order:
            raise ConfigError("Folders are read as transformers': give the .safetensors file.")
        imported = from_transformers(args.source, encoder_only=args.encoder_only)
    elif args.layout == "transformers":
        raise ConfigError("Weights of transformers need their config.json: give the folder.")
    else:
        state, _ = load_tensors(args.source)
        layout = None if args.layout == "auto" else args.layout
        imported = from_state(
            state,
            layout=layout,
            heads=args.heads,
            norm_order=args.norm_order,
            encoder_only=args.encoder_only,
        )
    if isinstance(imported.model, CtcModel):
        save_ctc(args.out, imported.model)
    else:
        save_model(args.out, imported.model, imported_from=imported.layout)
    kind = kind_of(imported.model)
    size = sum(parameter.numel() for parameter in imported.model.parameters())
    lines = [f"{args.out}: {kind} of {size / 1e6:.1f} million parameters, from {imported.layout}"]
    data = {"out": str(args.out), "kind": kind, "layout": imported.layout, "parameters": size}
    return Outcome(
        text="\n".join([*lines, *imported.notes]), data={**data, "notes": list(imported.notes)}
    )


def _export(args: argparse.Namespace) -> Outcome:
    """Export a model."""
    _check_folders(args.model, args.out)

    from speechkit.core.checkpoint import read_config
    from speechkit.ssl.bestrq import BestRqPretrainer
    from speechkit.ssl.checkpoints import load_model
    from speechkit.ssl.ctc.model import KIND, load_ctc
    from speechkit.ssl.interop.transformers import to_transformers

    recogniser = read_config(args.model).get("kind") == KIND
    model = load_ctc(args.model) if recogniser else load_model(args.model)
    # No library has BEST-RQ's head, or the random codebook.
    model = model.encoder if isinstance(model, BestRqPretrainer) else model
    exported = to_transformers(model, args.out, family=args.family)
    lines = [f"{args.out}: {exported.architecture} of transformers"]
    if exported.left_out:
        lines.append(f"without a place there, and left out: {', '.join(exported.left_out)}")
    return Outcome(
        text="\n".join(lines),
        data={
            "out": str(args.out),
            "architecture": exported.architecture,
            "left_out": list(exported.left_out),
        },
    )


def _check_folders(source: Path, out: Path) -> None:
    """Raise ConfigError unless the output is a folder, or none yet, other than the source."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"The output {out} is a file: give the name of a folder.")
    home = source if source.is_dir() else source.parent
    if out.exists() and home.exists() and out.samefile(home):
        raise ConfigError(f"The output {out} is also the input: give another folder.")
