from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechkit.core.audio import write_audio
from speechkit.core.errors import DataError
from speechkit.evaluate.pairs import (
    EvalClip,
    cut_prompt,
    eval_clips,
    pairs_from_clips,
    speech_onset,
    spread,
    tts_pairs,
)


def _wave(seconds: float, silence_seconds: float = 0.0, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    wave_T = 0.3 * torch.rand(round(seconds * 16000), generator=rng) - 0.15
    wave_T[: round(silence_seconds * 16000)] *= 0.001
    return wave_T


def _clip(name: str, speaker: str = "a", seconds: float = 5.0, silence: float = 0.0) -> EvalClip:
    return EvalClip(
        id=name, speaker=speaker, text=f"text of {name}", wave_T=_wave(seconds, silence)
    )


def test_prompt_starts_where_speech_does() -> None:
    wave_T = _wave(5.0, silence_seconds=1.0)
    assert abs(speech_onset(wave_T) - (16000 - 800)) <= 320
    assert cut_prompt(wave_T).shape == (48000,)
    assert speech_onset(torch.zeros(16000)) == 0
    assert speech_onset(torch.zeros(10)) == 0


def test_prompt_is_the_first_clip_that_is_long_enough() -> None:
    clips = [
        _clip("3", seconds=5),
        _clip("1", seconds=3.5),
        _clip("2", seconds=4.2, silence=2),
        _clip("4"),
    ]
    pairs = pairs_from_clips(clips)
    assert {pair.prompt_id for pair in pairs} == {"3"}
    assert [pair.id for pair in pairs] == ["1", "2", "4"]
    assert all(pair.prompt_T.shape == (48000,) for pair in pairs)
    assert pairs[0].text == "text of 1"


def test_choice_is_the_same_each_time_and_grows_without_change() -> None:
    clips = [_clip(f"{s}{i}", s) for s in "ab" for i in range(8)]
    two, four = (pairs_from_clips(clips[::order], n) for n, order in ((2, 1), (4, -1)))
    assert [p.id for p in two] == [p.id for p in pairs_from_clips(clips, 2)]
    assert {p.id for p in two} < {p.id for p in four}
    assert [p.speaker for p in two] == ["a", "a", "b", "b"]


def test_limit_takes_from_every_speaker() -> None:
    pairs = pairs_from_clips([_clip(f"{s}{i}", s) for s in "abc" for i in range(6)])
    chosen = spread(pairs, 4)
    assert {pair.speaker for pair in chosen} == set("abc")
    assert [pair.id for pair in chosen] == sorted(pair.id for pair in chosen)
    assert {p.id for p in spread(pairs, 3)} < {p.id for p in chosen}
    assert spread(pairs, None) == spread(pairs, 99) == pairs


def test_nothing_to_pair_is_a_plain_error() -> None:
    with pytest.raises(DataError, match="two clips"):
        pairs_from_clips([_clip("1")])
    with pytest.raises(DataError, match="per_speaker"):
        pairs_from_clips([_clip("1"), _clip("2")], 0)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    lines = []
    with tarfile.open(tmp_path / "held-out.tar", "w") as archive:
        for i, (split, text) in enumerate(
            [("eval", "one"), ("eval", "two"), ("train", "no"), ("eval", None)]
        ):
            write_audio(tmp_path / "clip.flac", _wave(5.0, seed=i), 16000)
            content = (tmp_path / "clip.flac").read_bytes()
            member = tarfile.TarInfo(f"clips/{i}.flac")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            entry = {"id": str(i), "shard": "held-out.tar", "file": member.name, "speaker": "a"}
            lines.append(json.dumps(entry | {"text": text, "split": split}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    return tmp_path / "held-out.tar"


def test_shard_gives_its_held_out_clips_with_a_text(shard: Path) -> None:
    clips = eval_clips(shard)
    assert [(clip.id, clip.text) for clip in clips] == [("0", "one"), ("1", "two")]
    assert torch.allclose(clips[1].wave_T, _wave(5.0, seed=1), atol=1e-4)
    assert [pair.id for pair in tts_pairs(shard)] == ["1"]


def test_broken_shard_is_a_plain_error(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split"):
        eval_clips(shard, split="dev")
    shard.write_bytes(b"no tar")
    with pytest.raises(DataError, match="manifest"):
        eval_clips(shard)
    with pytest.raises(DataError):
        eval_clips(tmp_path / "absent.safetensors")
