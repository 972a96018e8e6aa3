"""The evaluation of zero-shot speech, beside recordings and codec resynthesis.

Every system gets the same clips and is scored with the same measures, so that a loss can be
placed: recordings to codec is the codec's, codec to tts the generator's. The codec alone, part
by part, is measured in `speechkit.evaluate.codec`.

T samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from speechkit.core.errors import DataError
from speechkit.core.rng import derive
from speechkit.evaluate.pairs import Pair, spread
from speechkit.evaluate.scorers import Embedding, Scorers, Wave
from speechkit.evaluate.scoring import (
    VERSION,
    RowBook,
    Scored,
    context_of,
    digest_of,
    file_name,
    score_speech,
    silent,
    stored_wave,
    write_manifest,
)
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, Report, summarise

Synthesise = Callable[[str, Tensor, int], Tensor]
"""(text, prompt_T, seed) to wave_T."""
Resynthesise = Callable[[Tensor], Tensor]
"""wave_T to the wave_T that the codec makes of it."""

_TTS_PARTS = ("words", "embed", "second_embed", "quality")


@dataclass(frozen=True, kw_only=True)
class Voices:
    """Speaker embeddings of all prompts, the right and the wrong ones."""

    first: Mapping[str, Embedding]
    """By prompt id (CAM++)."""
    second: Mapping[str, Embedding]
    """By prompt id (Resemblyzer)."""
    digest: str
    """Checksum of the prompts."""

    def compare(self, prompt_id: str, wave_T: Wave, scorers: Scorers) -> dict[str, float]:
        """``sim`` to the right prompt, ``sim_wrong`` as the mean over the others, ``margin``."""
        out: dict[str, float] = {}
        if scorers.embed is not None:
            ours = scorers.embed(wave_T)
            out["sim"] = similarity(self.first[prompt_id], ours)
            wrong = [similarity(v, ours) for name, v in self.first.items() if name != prompt_id]
            if wrong:
                out["sim_wrong"] = sum(wrong) / len(wrong)
                out["margin"] = out["sim"] - out["sim_wrong"]
        if scorers.second_embed is not None:
            out["sim_r"] = similarity(self.second[prompt_id], scorers.second_embed(wave_T))
        return out


def _voices(folder: Path, pairs: Sequence[Pair], scorers: Scorers) -> Voices:
    """Write the prompts of all pairs and embed them."""
    prompts = {pair.prompt_id: pair.prompt_T for pair in pairs}
    stored = {
        name: stored_wave(folder / "prompts" / file_name(name), prompts[name])
        for name in sorted(prompts)
    }
    first, second = scorers.embed, scorers.second_embed
    return Voices(
        first={name: first(wave_T) for name, wave_T in stored.items()} if first else {},
        second={name: second(wave_T) for name, wave_T in stored.items()} if second else {},
        digest=digest_of(*stored.values()),
    )


def run_tts_suite(
    synthesise: Synthesise | None,
    resynthesise: Resynthesise | None,
    pairs: Sequence[Pair],
    out_folder: str | Path,
    *,
    scorers: Scorers,
    seed: int = 0,
    limit: int | None = None,
    earlier: str | Path | None = None,
    progress: Callable[[str], None] = silent,
) -> Report:
    """Score recordings, codec resynthesis and synthesis on the same pairs.

    A system given as None is left out. Each clip's similarity to its own prompt stands beside the
    mean over all other speakers' prompts; ``margin`` is the difference. ``limit`` caps the scored
    pairs, spread over the speakers; ``earlier`` is a saved report whose rows are taken over where
    audio, text, prompts and models are the same. Waves, and a manifest that names them, go to
    ``out_folder``. Raises DataError without pairs.
    """
    if not pairs:
        raise DataError("There are no pairs to score: give a held-out corpus.")
    folder = Path(out_folder)
    voices = _voices(folder, pairs, scorers)
    context = context_of(scorers, _TTS_PARTS) + voices.digest
    systems: dict[str, Callable[[Pair], Tensor]] = {"recordings": lambda pair: pair.target_T}
    if resynthesise is not None:
        systems["codec"] = lambda pair: resynthesise(pair.target_T)
    if synthesise is not None:
        systems["tts"] = lambda pair: synthesise(
            pair.text, pair.prompt_T, derive(seed, "tts", pair.id)
        )
    book = RowBook(earlier, progress)
    manifest: list[dict[str, str]] = []
    for system, make in systems.items():
        for pair in spread(pairs, limit):
            path = folder / system / file_name(pair.id)
            wave = stored_wave(path, make(pair))

            def score(pair: Pair = pair, wave: Wave = wave) -> Scored:
                values, heard = score_speech(wave, pair.text, scorers)
                return values | voices.compare(pair.prompt_id, wave, scorers), heard

            book.add(
                system,
                pair.id,
                pair.speaker,
                digest_of(context, pair.text, pair.prompt_id, wave),
                score,
            )
            prompt = folder / "prompts" / file_name(pair.prompt_id)
            manifest.append(
                {"system": system, "id": pair.id, "hyp": str(path)}
                | {"text": pair.text, "prompt": str(prompt)}
            )
    write_manifest(folder / "manifest.jsonl", manifest)
    report = _report(book.rows, scorers, seed)
    report.extra |= _margin_share(report)
    return report


def _report(rows: list[ClipRow], scorers: Scorers, seed: int) -> Report:
    """Rows with their summary."""
    return Report(
        rows=rows,
        summary=summarise(rows),
        settings=scorers.settings | {"seed": seed, "version": VERSION},
        notes=list(scorers.notes),
    )


def _margin_share(report: Report) -> dict[str, float]:
    """The synthesis's margin as a share of the recordings': 1 is a perfect clone, 0 none."""
    real, ours = report.summary.get("recordings"), report.summary.get("tts")
    if real is None or ours is None or real.values.get("margin", 0.0) <= 0:
        return {}
    return {"margin_share": ours.values["margin"] / real.values["margin"]}
