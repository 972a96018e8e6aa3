"""The steps of `train voice`, each the function that its own verb calls; what is made stays.

    corpus/              the recordings, as prepare, align and encode write them
    run/                 the fine-tuning, as train generator leaves it
    held-out/            clips that nothing was trained on, and how they are spoken
    codec/, generator/   the model, for say --model
    voice.safetensors    the voice of the best recording, for say --prompt
    report.json          what was done and measured
    speech.wav           a sentence

Shapes: T samples.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from speechkit.core.audio import write_audio
from speechkit.core.checkpoint import CONFIG_FILE, WEIGHTS, load_checkpoint, read_config
from speechkit.core.devices import pick_device
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.files import write_json
from speechkit.core.onnx import is_export
from speechkit.core.rng import derive
from speechkit.data.clips import Corpus
from speechkit.data.codes import CorpusCodes
from speechkit.data.packed import PackedCorpus
from speechkit.data.work import Crew
from speechkit.diffusion.task import GeneratorTaskConfig
from speechkit.diffusion.train import GeneratorTraining, generator_task, train_generator
from speechkit.evaluate.own_voice import measure_voice
from speechkit.evaluate.pairs import EvalClip
from speechkit.evaluate.scorers import Scorers
from speechkit.facodec.recognition import bundled_reader
from speechkit.text import Frontend
from speechkit.train import TrainConfig
from speechkit.train.evaluation import BEST_FOLDER, FIGURES_FILE, held_out_figures
from speechkit.train.release import release
from speechkit.train.state import replace_folder
from speechkit.tts import ZeroShotTTS
from speechkit.voice_training.recordings import (
    Recordings,
    best_voice,
    check_recordings,
    prepare_recordings,
)
from speechkit.voice_training.report import Measured, VoiceReport

SENTENCE = "This is a voice of my own. It learned to speak from a folder of recordings."
STEPS = 200
"""Updates where no budget is given."""
ENOUGH_PHONES = 5000
"""Of the clips that are trained on, about seven minutes: with fewer, durations stay as they are."""
MOST_SPOKEN = 4
"""Held-out clips that are spoken before and after."""
MEASURED_FILE = "measured.json"
"""Figures that need not be worked out again."""


@dataclass(frozen=True, kw_only=True)
class VoiceTask(GeneratorTaskConfig):
    """What a step of fine-tuning trains on: little, so that a CPU does some steps a second."""

    frames: int = 1500
    target_frames: tuple[int, ...] = (160, 240, 320)


@dataclass(frozen=True, kw_only=True)
class FineTuning(TrainConfig):
    """How the generator is fine-tuned: a tenth of the learning rate it was trained with."""

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 20
    decay_share: float = 0.4
    ema_decay: float = 0.98
    amp: Literal["off", "bf16", "fp16", "auto"] = "auto"
    log_every_steps: int = 20
    validate_every_steps: int = 50
    save_every_minutes: float = 1.0


@dataclass(frozen=True, kw_only=True)
class VoiceTraining:
    """The recipe of `train voice`."""

    task: VoiceTask = field(default_factory=VoiceTask)
    """What a step trains on."""

    train: FineTuning = field(default_factory=FineTuning)
    """Optimiser, budget and log."""


def train_voice(
    folder: Path,
    out: Path,
    recipe: VoiceTraining,
    *,
    scorers: Callable[[], Scorers],
    model: Path | None = None,
    text: str = SENTENCE,
    speaker: str | None = None,
) -> VoiceReport:
    """Make the model of one speaker's voice in the folder `out`, from recordings with texts.

    `folder` is what `prepare` takes; `model` holds the codec, which stays as it is, and the
    generator to begin with (the bundled ones); `speaker` names who speaks where the recordings do
    not; `scorers` loads the measures. Called again it goes on where it was stopped.

    Raises, before anything expensive, DataError for recordings of several speakers, without texts,
    unreadable or too few, ConfigError and CheckpointError for places and models that do not fit,
    TextError for a `text` that cannot be spoken.
    """
    start = WEIGHTS if model is None else model
    _check_places(folder, out, start)
    Frontend().phones(text)
    source = Corpus(path=folder, speaker=speaker or folder.resolve().stem)
    check_recordings(source)
    device = pick_device(recipe.train.device)
    crew = Crew(threads=recipe.train.threads or 1, device=str(device))
    found = prepare_recordings(source, out / "corpus", start / "codec", crew)

    task, notes = recipe.task, found.notes
    if found.phones < ENOUGH_PHONES:
        task = replace(task, duration_batch_size=0)
        notes += (f"durations stay as they are: {found.phones} phones, not {ENOUGH_PHONES}",)
    plan = GeneratorTraining(task=task, train=_with_budget(recipe.train))
    measured = Measured(out / MEASURED_FILE)
    begun = load_checkpoint(start / "generator").sha256
    before = measured(("losses", begun, task), lambda: _start_losses(plan, found, start))
    trained = train_generator(
        plan, found.corpus.path, start / "codec", out / "run", init=start / "generator"
    )
    report = VoiceReport(
        finished=trained.finished,
        message=trained.message,
        out=str(out),
        speaker=found.corpus.speakers[0],
        clips=len(found.mine),
        held_out=len(found.held_out),
        minutes=found.minutes,
        phones=found.phones,
        durations_trained=task.duration_batch_size > 0,
        steps=trained.step,
        before=before,
        notes=notes,
    )
    if not trained.finished:
        return report
    report = _put_together(report, start, out)
    return _speak(report, found, start, text, scorers(), measured, recipe.train.seed, device)


def _check_places(folder: Path, out: Path, start: Path) -> None:
    """Raise ConfigError or CheckpointError for folders that cannot be what they should be."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{out} lies in {folder}, whose recordings are read: give another --out.")
    for part in ("codec", "generator"):
        if not (start / part / CONFIG_FILE).is_file():
            raise CheckpointError(f"{start} holds no {part}: give a folder with both.")
        if is_export(read_config(start / part)):
            raise CheckpointError(f"{start / part} is in ONNX, which cannot be trained.")
    if out.resolve() == start.resolve():
        raise ConfigError(f"{out} holds the model to begin with: give another --out.")


def _with_budget(train: TrainConfig) -> TrainConfig:
    """The same with `STEPS` where no budget is given."""
    given = train.minutes is not None or train.steps is not None
    return train if given else replace(train, steps=STEPS)


def _start_losses(plan: GeneratorTraining, found: Recordings, start: Path) -> dict[str, float]:
    """Held-out figures of the generator to begin with."""
    task = generator_task(
        plan, found.alignment, CorpusCodes(found.corpus), start / "codec", start / "generator"
    )
    return held_out_figures(task)


def _put_together(report: VoiceReport, start: Path, out: Path) -> VoiceReport:
    """Write `codec` and `generator` into the model folder; the generator is the better one."""
    best = out / "run" / BEST_FOLDER
    after = json.loads((best / FIGURES_FILE).read_text(encoding="utf-8"))["figures"]
    kept = after["score"] > report.before["score"]
    if kept:
        about: dict[str, Any] = {"fine_tuned_from": load_checkpoint(start / "generator").sha256}
        about |= {"steps": report.steps, "clips": report.clips, "figures": after}
        release(best, out / "generator", about)
    else:
        replace_folder(out / "generator", lambda target: _copy(start / "generator", target))
    replace_folder(out / "codec", lambda target: _copy(start / "codec", target))
    notes = () if kept else ("fine-tuning did not lower the held-out losses: the start is kept",)
    return replace(report, after=after, kept=kept, notes=(*report.notes, *notes))


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a model."""
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, target / path.name)


def _speak(
    report: VoiceReport,
    found: Recordings,
    start: Path,
    text: str,
    scorers: Scorers,
    measured: Measured,
    seed: int,
    device: torch.device,
) -> VoiceReport:
    """Choose the voice, measure before and after, speak the sentence, write the report."""
    out = Path(report.out)
    begun = ZeroShotTTS.from_pretrained(start, device=device)
    own = ZeroShotTTS.from_pretrained(out, device=device)
    prompt, voice = best_voice(own, found)
    voice.save(out / "voice.safetensors")
    clips = [_eval_clip(found.corpus, clip) for clip in found.held_out[:MOST_SPOKEN]]
    about = (prompt, seed, sorted(scorers.settings.items()), scorers.notes)

    def measure(name: str, tts: ZeroShotTTS | None) -> dict[str, Any]:
        def speak(clip: EvalClip) -> Tensor:
            assert tts is not None
            return tts.synthesize(clip.text, voice, seed=derive(seed, clip.id)).wave_T

        def make() -> dict[str, Any]:
            return measure_voice(
                clips,
                None if tts is None else speak,
                out / "held-out" / name,
                scorers=scorers,
                reader=bundled_reader(),
            ).to_json()

        return measured((name, tts and tts.weights, about), make)

    figures = {
        name: measure(name, tts)
        for name, tts in (("recordings", None), ("before", begun), ("after", own))
    }
    speech = own.synthesize(text, voice, seed=seed)
    write_audio(out / "speech.wav", speech.wave_T, speech.sample_rate_hz)
    report = replace(
        report,
        prompt=prompt,
        figures=figures,
        message=f"speechkit say --model {out} --prompt {out / 'voice.safetensors'} 'Any text.'",
        notes=(*report.notes, *scorers.notes, *speech.notes),
    )
    write_json(out / "report.json", asdict(report))
    return report


def _eval_clip(corpus: PackedCorpus, clip: int) -> EvalClip:
    """A clip as evaluations take it."""
    info = corpus.clips[clip]
    text = info["text"] or ""
    return EvalClip(id=info["id"], speaker=info["speaker"], text=text, wave_T=corpus.wave(clip))
