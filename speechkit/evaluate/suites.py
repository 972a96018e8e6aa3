"""The two evaluations: zero-shot speech against recordings, and codec resynthesis.

Both hand every system the same clips and score it with the same measures, so that a loss can be
placed: recordings to codec is the codec's, codec to tts the generator's. Waves are written first
and scored as read back, so the figures are those of the files.

T samples at 16 kHz, K code books, F frames.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from speechkit.core.audio import read_audio, write_audio
from speechkit.core.errors import DataError
from speechkit.core.files import write_atomically
from speechkit.core.rng import derive
from speechkit.evaluate.pairs import SAMPLE_RATE_HZ, EvalClip, Pair, spread
from speechkit.evaluate.scorers import Embedding, Scorers, Wave
from speechkit.evaluate.speaker import similarity
from speechkit.evaluate.table import ClipRow, Report, load_rows, summarise
from speechkit.evaluate.usage import code_usage

Synthesise = Callable[[str, Tensor, int], Tensor]
"""(text, prompt_T, seed) to wave_T."""
Resynthesise = Callable[[Tensor], Tensor]
"""wave_T to the wave_T that the codec makes of it."""
Encode = Callable[[Tensor], Tensor]
"""wave_T to codes_KF."""

Scored = tuple[dict[str, float], str]
"""Figures of a clip, and what was heard in it."""

# Raised when a measure changes, so that no row of an earlier report is taken over.
_VERSION = 1
_TTS_PARTS = ("words", "embed", "second_embed", "quality")
_CODEC_PARTS = ("words", "embed", "quality", "aligned", "world")


def _silent(_: str) -> None:
    """Report nothing."""


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


def _stored(path: Path, wave_T: Tensor) -> Wave:
    """Write a wave and hand back what the file holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, wave_T, SAMPLE_RATE_HZ)
    stored: Wave = read_audio(path, SAMPLE_RATE_HZ).numpy()
    return stored


def _file_name(clip_id: str) -> str:
    """A clip id as the name of a wave file."""
    return clip_id.replace("/", "_") + ".wav"


def _digest(*parts: Wave | str) -> str:
    """Checksum of waves and strings."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes()
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()


def _voices(folder: Path, pairs: Sequence[Pair], scorers: Scorers) -> Voices:
    """Write the prompts of all pairs and embed them."""
    prompts = {pair.prompt_id: pair.prompt_T for pair in pairs}
    stored = {
        name: _stored(folder / "prompts" / _file_name(name), prompts[name])
        for name in sorted(prompts)
    }
    first, second = scorers.embed, scorers.second_embed
    return Voices(
        first={name: first(wave_T) for name, wave_T in stored.items()} if first else {},
        second={name: second(wave_T) for name, wave_T in stored.items()} if second else {},
        digest=_digest(*stored.values()),
    )


def score_speech(wave_T: Wave, text: str, scorers: Scorers) -> Scored:
    """Seconds, words and quality of one clip, and what was heard in it."""
    values: dict[str, float] = {"seconds": len(wave_T) / SAMPLE_RATE_HZ}
    heard = ""
    if scorers.words is not None:
        errors = scorers.words(wave_T, text)
        heard = errors.heard
        values |= {
            "wer": errors.wer,
            "cer": errors.cer,
            "word_edits": errors.word_edits,
            "words": errors.words,
            "character_edits": errors.character_edits,
            "characters": errors.characters,
        }
    if scorers.quality is not None:
        values |= asdict(scorers.quality(wave_T))
    return values, heard


class _Book:
    """Rows so far, and rows of an earlier report that need no second scoring."""

    def __init__(self, earlier: str | Path | None, progress: Callable[[str], None]) -> None:
        """Read the earlier report, if there is one."""
        known = load_rows(earlier) if earlier is not None and Path(earlier).is_file() else []
        self._known = {(row.system, row.id, row.digest): row for row in known if row.digest}
        self._progress = progress
        self.rows: list[ClipRow] = []

    def add(
        self,
        system: str,
        clip: Pair | EvalClip,
        digest: str,
        score: Callable[[], Scored],
    ) -> None:
        """Score a clip, or take the row an earlier report has of exactly this one."""
        row = self._known.get((system, clip.id, digest))
        if row is None:
            values, heard = score()
            row = ClipRow(
                system=system,
                id=clip.id,
                speaker=clip.speaker,
                values=values,
                heard=heard,
                digest=digest,
            )
        self.rows.append(row)
        self._progress(f"{system} {clip.id}")


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
    progress: Callable[[str], None] = _silent,
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
    context = _context(scorers, _TTS_PARTS) + voices.digest
    systems: dict[str, Callable[[Pair], Tensor]] = {"recordings": lambda pair: pair.target_T}
    if resynthesise is not None:
        systems["codec"] = lambda pair: resynthesise(pair.target_T)
    if synthesise is not None:
        systems["tts"] = lambda pair: synthesise(
            pair.text, pair.prompt_T, derive(seed, "tts", pair.id)
        )
    book = _Book(earlier, progress)
    manifest: list[dict[str, str]] = []
    for system, make in systems.items():
        for pair in spread(pairs, limit):
            path = folder / system / _file_name(pair.id)
            wave = _stored(path, make(pair))

            def score(pair: Pair = pair, wave: Wave = wave) -> Scored:
                values, heard = score_speech(wave, pair.text, scorers)
                return values | voices.compare(pair.prompt_id, wave, scorers), heard

            book.add(system, pair, _digest(context, pair.text, pair.prompt_id, wave), score)
            prompt = folder / "prompts" / _file_name(pair.prompt_id)
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
        settings=scorers.settings | {"seed": seed, "version": _VERSION},
        notes=list(scorers.notes),
    )


def _margin_share(report: Report) -> dict[str, float]:
    """The synthesis's margin as a share of the recordings': 1 is a perfect clone, 0 none."""
    real, ours = report.summary.get("recordings"), report.summary.get("tts")
    if real is None or ours is None or real.values.get("margin", 0.0) <= 0:
        return {}
    return {"margin_share": ours.values["margin"] / real.values["margin"]}


def _context(scorers: Scorers, parts: Sequence[str]) -> str:
    """All that figures depend on besides the audio: version, models, which ``parts`` are on."""
    on = [name for name in parts if getattr(scorers, name) is not None]
    return json.dumps([_VERSION, on, scorers.settings], sort_keys=True)


def write_manifest(path: str | Path, entries: Sequence[Mapping[str, str]]) -> None:
    """Write JSON lines with ``system, id, hyp, text`` and ``prompt`` or ``ref``."""
    lines = "".join(json.dumps(dict(entry)) + "\n" for entry in entries)

    def write(temporary: Path) -> None:
        temporary.write_text(lines, encoding="utf-8")

    write_atomically(path, write)


def run_codec_suite(
    resynthesise: Resynthesise,
    encode: Encode,
    clips: Sequence[EvalClip],
    out_folder: str | Path,
    *,
    entries: Sequence[int],
    scorers: Scorers,
    limit: int | None = None,
    earlier: str | Path | None = None,
    progress: Callable[[str], None] = _silent,
) -> Report:
    """Score recordings and what the codec makes of them, and count the codes in use.

    ``sim`` is the similarity to the recording itself. ``entries`` has the size of each code book;
    the usage of each (``extra["usage"]``) is counted over the scored clips. ``limit`` and
    ``earlier`` as in `run_tts_suite`. Raises DataError without clips.
    """
    chosen = spread(clips, limit)
    if not chosen:
        raise DataError("There are no clips to score: give a held-out corpus.")
    folder = Path(out_folder)
    context = _context(scorers, _CODEC_PARTS)
    book = _Book(earlier, progress)
    manifest: list[dict[str, str]] = []
    for clip in chosen:
        real_path = folder / "recordings" / _file_name(clip.id)
        path = folder / "codec" / _file_name(clip.id)
        real = _stored(real_path, clip.wave_T)
        wave = _stored(path, resynthesise(clip.wave_T))

        def plain(clip: EvalClip = clip, real: Wave = real) -> Scored:
            return score_speech(real, clip.text, scorers)

        def against(clip: EvalClip = clip, wave: Wave = wave, real: Wave = real) -> Scored:
            values, heard = score_speech(wave, clip.text, scorers)
            return values | score_against(wave, real, scorers), heard

        book.add("recordings", clip, _digest(context, clip.text, real), plain)
        book.add("codec", clip, _digest(context, clip.text, real, wave), against)
        for system, hyp in (("recordings", real_path), ("codec", path)):
            manifest.append(
                {"system": system, "id": clip.id, "hyp": str(hyp)}
                | {"text": clip.text, "ref": str(real_path)}
            )
    write_manifest(folder / "manifest.jsonl", manifest)
    report = _report(book.rows, scorers, seed=0)
    usage = code_usage((encode(clip.wave_T) for clip in chosen), entries)
    report.extra["usage"] = [asdict(one) | {"used_share": one.used_share} for one in usage]
    return report


def score_against(
    wave_T: Wave, reference_T: Wave, scorers: Scorers, aligned: bool = True
) -> dict[str, float]:
    """Figures of a clip beside its reference; STOI and PESQ only where both share their timing."""
    out: dict[str, float] = {}
    if scorers.world is not None:
        out |= scorers.world(wave_T, reference_T, aligned)
    if scorers.aligned is not None and aligned:
        out |= scorers.aligned(wave_T, reference_T)
    if scorers.embed is not None:
        out["sim"] = similarity(scorers.embed(wave_T), scorers.embed(reference_T))
    return out
