"""The evaluation of zero-shot speech, beside recordings and codec resynthesis.

Every system gets the same clips and is scored with the same measures, so that a loss can be
placed: recordings to codec is the codec's, codec to tts the generator's (`stages` places it part
by part). The codec alone is measured in `speechkit.evaluate.codec`.

T samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.f0 import extract_f0
from speechkit.core.rng import derive
from speechkit.evaluate.pairs import Pair, spread
from speechkit.evaluate.scorers import Scorers, Wave
from speechkit.evaluate.scoring import (
    RECORDINGS,
    SPEECH_PARTS,
    VERSION,
    RowLog,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_speech,
    silent,
    stored_wave,
    verifiers,
    write_manifest,
)
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import Report, summarise

Speak = Callable[[Pair, int], Tensor]
"""(pair, seed) to wave_T."""

LOW_VOICE_HZ = 160.0
"""Median F0 under which a voice counts as low: what most men are under, most women over."""


class Prompts:
    """The prompts of all pairs on disk: their embeddings, and who is a stranger to whom.

    A stranger is another speaker of the same register (low or high median F0): any verifier tells
    a man from a woman, so strangers of both sexes would flatter a synthesiser that ignores all of
    the prompt but its pitch. Where a register has one speaker, all others are the strangers.
    """

    def __init__(self, folder: Path, pairs: Sequence[Pair], scorers: Scorers) -> None:
        prompts = {pair.prompt_id: pair.prompt_T for pair in pairs}
        stored = {
            name: stored_wave(folder / "prompts" / file_name(name), prompts[name])
            for name in sorted(prompts)
        }
        low = {name: is_low(wave_T) for name, wave_T in stored.items()}
        self._strangers = {
            name: [other for other in low if other != name and low[other] == low[name]]
            or [other for other in low if other != name]
            for name in low
        }
        self._verifiers = verifiers(scorers)
        self._embeddings = {
            key: {name: embed(wave_T) for name, wave_T in stored.items()}
            for key, embed in self._verifiers.items()
        }
        self.low_share = sum(low.values()) / max(1, len(low))
        self.digest = digest_of(*stored.values())

    def compare(self, prompt_id: str, wave_T: Wave) -> dict[str, float]:
        """``sim`` to the right prompt, ``sim_wrong`` as the mean over strangers', ``margin``.

        With a second verifier also ``sim_r`` and ``margin_r``.
        """
        out: dict[str, float] = {}
        for key, embed in self._verifiers.items():
            ours, known = embed(wave_T), self._embeddings[key]
            right = out[f"sim{key}"] = similarity(known[prompt_id], ours)
            wrong = [similarity(known[name], ours) for name in self._strangers[prompt_id]]
            if wrong:
                mean = sum(wrong) / len(wrong)
                out |= {f"sim_wrong{key}": mean, f"margin{key}": right - mean}
        return out


def is_low(wave_T: Wave) -> bool:
    """Whether the median F0 of a recording is that of a low voice."""
    f0_F = extract_f0(wave_T)
    return bool((f0_F > 0).any()) and float(np.median(f0_F[f0_F > 0])) < LOW_VOICE_HZ


def run_tts_suite(
    systems: Mapping[str, Speak],
    pairs: Sequence[Pair],
    out_folder: str | Path,
    *,
    scorers: Scorers,
    seed: int = 0,
    limit: int | None = None,
    others: Sequence[Pair] = (),
    earlier: str | Path | None = None,
    progress: Callable[[str], None] = silent,
) -> Report:
    """Score the recordings, and what each system makes of the same pairs.

    Each clip's similarity to its own prompt stands beside the mean over strangers' prompts (see
    `Prompts`); ``margin`` is the difference, and ``extra`` has each system's margin as a share of
    the recordings': 1 is a perfect clone, 0 none. ``limit`` caps the scored pairs, spread over the
    speakers; prompts of ``others`` are strangers too. ``earlier`` is a saved report whose rows are
    taken over where audio, text, prompts and models are the same. Waves, and a manifest that names
    them, go to ``out_folder``. Raises DataError without pairs.
    """
    if not pairs:
        raise DataError("There are no pairs to score: give a held-out corpus.")
    folder = Path(out_folder)
    prompts = Prompts(folder, [*pairs, *others], scorers)
    context = context_of(scorers, SPEECH_PARTS) + prompts.digest
    log = RowLog(earlier, progress)
    manifest: list[dict[str, str]] = []
    recordings: dict[str, Speak] = {RECORDINGS: lambda pair, _: pair.target_T}
    for system, speak in {**recordings, **systems}.items():
        for pair in spread(pairs, limit):
            path = folder / system.replace(" ", "-") / file_name(pair.id)
            wave = stored_wave(path, speak(pair, derive(seed, "tts", pair.id)))

            def score(pair: Pair = pair, wave: Wave = wave) -> Scored:
                values, heard = score_speech(wave, pair.text, scorers)
                return values | prompts.compare(pair.prompt_id, wave), heard

            digest = digest_of(context, pair.text, pair.prompt_id, wave)
            log.add(system, pair.id, pair.speaker, digest, score)
            prompt = folder / "prompts" / file_name(pair.prompt_id)
            manifest.append(
                {"system": system, "id": pair.id, "hyp": str(path)}
                | {"text": pair.text, "prompt": str(prompt)}
            )
    write_manifest(folder / "manifest.jsonl", manifest)
    report = Report(
        rows=log.rows,
        summary=summarise(log.rows),
        settings=scorers.settings
        | {"seed": seed, "version": VERSION, "low_voices": round(prompts.low_share, 3)},
        notes=[*scorers.notes, "wrong: the mean over other speakers of the same register"],
    )
    real = report.summary[RECORDINGS].values
    for key, title in (("margin", "margin_share"), ("margin_r", "margin_share_r")):
        if real.get(key, 0.0) > 0:
            report.extra[title] = {
                name: round(one.values[key] / real[key], 4)
                for name, one in report.summary.items()
                if name != RECORDINGS and key in one.values
            }
    return report
