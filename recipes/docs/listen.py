"""The clips of the listening page: ten sentences in three synthetic voices, as small Opus files.

    python recipes/docs/listen.py 2026-11-30 --title "Weights of 30 November 2026"

writes `docs/listen/2026-11-30/`: 30 clips of about 10 kB and `clips.json`, which says with which
weights they were made. `docs/listen.md` shows every folder that is there side by side, in order of
their names: what was before a training, and what came after it. Only the public API is used, so
an older checkout on PYTHONPATH makes the set of its own weights.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile
import torch

from speechkit import ZeroShotTTS
from speechkit.voices import bundled_voice

ROOT = Path(__file__).resolve().parents[2]
PROMPTS: Mapping[str, Path] = {
    name: bundled_voice(name).path for name in ("heart", "michael", "emma")
}
"""Synthetic voices: nobody's."""

SENTENCES = (
    "Good morning.",
    "The road over the mountain is usually empty.",
    "She asked whether the boat would leave before nine.",
    "Please put the blue cup next to the old radio.",
    "When the rain stopped, the children ran down to the river.",
    "How long have you been waiting here?",
    "I never said that it would be easy!",
    "The museum opens at ten, closes at five, and is free on Sundays.",
    "Thick fog settled over the harbour, and every ship sounded its horn.",
    "Thank you for listening to these ten short sentences.",
)
"""Statements, questions and commas, short and long."""

SEED = 0


def make_clips(
    tts: ZeroShotTTS,
    folder: Path,
    *,
    title: str,
    sentences: Sequence[str] = SENTENCES,
    prompts: Mapping[str, Path] = PROMPTS,
) -> int:
    """Speak every sentence in every voice into `folder`; returns the bytes of all clips.

    A folder that is there is replaced. Clips carry the watermark, as all synthetic speech does.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clips = []
    for name, prompt in prompts.items():
        voice = tts.voice(prompt)
        for number, sentence in enumerate(sentences):
            speech = tts.synthesize(sentence, voice, seed=SEED)
            path = folder / f"{number:02d}-{name}.opus"
            write_opus(path, speech.wave_T, speech.sample_rate_hz)
            clips.append({"file": path.name, "voice": name, "sentence": number})
            print(f"{path.name}  {speech.seconds:.1f} s", flush=True)
    made = {
        "title": title,
        "weights": tts.weights,
        "seed": SEED,
        "voices": list(prompts),
        "sentences": list(sentences),
        "clips": clips,
    }
    (folder / "clips.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in folder.glob("*.opus"))


def write_opus(path: Path, wave_T: torch.Tensor, sample_rate_hz: int) -> None:
    """A wave as Ogg Opus, speech at about 24 kb/s."""
    samples = wave_T.clamp(-1, 1).numpy()
    with soundfile.SoundFile(
        path,
        "w",
        samplerate=sample_rate_hz,
        channels=1,
        format="OGG",
        subtype="OPUS",
        compression_level=0.9,
    ) as file:
        file.write(samples)


def main() -> None:
    """Read the arguments, speak, say how large it became."""
    parser = argparse.ArgumentParser(description="Make one set of clips of the listening page.")
    parser.add_argument(
        "name", help="of the set: its folder; the page sorts by it, so a date is a good one"
    )
    parser.add_argument("--title", help="what the page calls the set (default: its name)")
    parser.add_argument("--model", type=Path, help="folder with codec/ and generator/")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "listen", help="parent folder")
    args = parser.parse_args()
    tts = ZeroShotTTS.from_pretrained(args.model)
    size = make_clips(tts, args.out / args.name, title=args.title or args.name)
    print(f"{size / 1000:.0f} kB in {args.out / args.name}")


if __name__ == "__main__":
    main()
