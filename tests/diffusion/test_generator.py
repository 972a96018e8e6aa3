"""The generator: which prompt reaches which stage, seeds, and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.results import PromptCodes, Voice
from speechkit.diffusion.config import STAGES, GeneratorConfig, SamplerConfig, StageSampling
from speechkit.diffusion.generator import Generated, Generator, load_generator
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.vocab import is_boundary
from tests.diffusion.builders import SMALL, live_generator, random_voice
from tests.tiny import CODEBOOK_SIZE

MODEL = live_generator()
PHONES = ("^", "HH", "AH0", "L", "OW1", ",", "W", "ER1", "L", "D", ".", "$")
PHONES_P = torch.tensor(DEFAULT_VOCABULARY.ids(PHONES))
SAMPLER = SamplerConfig(
    duration=StageSampling(steps=(2,), guidance=0.0),
    prosody=StageSampling(steps=(2,)),
    content=StageSampling(steps=(2, 1)),
    detail=StageSampling(steps=(1,), guidance=0.0),
)
VOICE, OTHER = random_voice(0), random_voice(1)


def generate(
    voice: Voice = VOICE, seed: int = 0, sampler: SamplerConfig = SAMPLER, **options: Any
) -> Generated:
    return MODEL.generate(PHONES_P, voice, sampler=sampler, seed=seed, **options)


def parts(made: Generated) -> dict[str, Tensor]:
    """What each stage made."""
    codes = made.codes
    return {
        "duration": made.frames_P,
        "prosody": codes.prosody_KF,
        "content": codes.content_KF,
        "detail": codes.detail_KF,
    }


def changed(one: Generated, other: Generated) -> list[str]:
    """The stages whose outcome differs."""
    return [n for n in STAGES if not torch.equal(parts(one)[n], parts(other)[n])]


PLAIN = generate()


def test_every_phone_gets_frames_and_every_frame_codes() -> None:
    assert PLAIN.frames_P.shape == PHONES_P.shape
    for phone, frames in zip(PHONES, PLAIN.frames_P.tolist(), strict=True):
        assert frames >= (0 if is_boundary(phone) else 1)
    assert PLAIN.codes.frames == int(PLAIN.frames_P.sum())
    assert [part.shape[0] for part in parts(PLAIN).values()][1:] == [1, 2, 3]
    stacked = PLAIN.codes.stacked()
    assert 0 <= int(stacked.min()) <= int(stacked.max()) < CODEBOOK_SIZE


def test_the_seed_decides() -> None:
    assert changed(PLAIN, generate()) == []
    assert "content" in changed(PLAIN, generate(seed=1))


@pytest.mark.parametrize("name", STAGES)
def test_a_prompt_reaches_its_stage_and_the_ones_after(name: str) -> None:
    made = generate(replace(VOICE, **{name: getattr(OTHER, name)}))
    different = changed(PLAIN, made)
    assert different[0] == name
    assert set(different) <= set(STAGES[STAGES.index(name) :])


def test_timbre_reaches_no_stage() -> None:
    assert changed(PLAIN, generate(replace(VOICE, timbre_D=OTHER.timbre_D))) == []


def test_steps_of_a_stage_leave_earlier_draws_alone() -> None:
    more = replace(SAMPLER, content=StageSampling(steps=(5,)))
    assert set(changed(PLAIN, generate(sampler=more))) <= {"content", "detail"}


def test_speed_stretches_the_durations() -> None:
    slow = generate(speed=0.5)
    assert int(slow.frames_P.sum()) == 2 * int(PLAIN.frames_P.sum())
    fast = int(generate(speed=2.0).frames_P.sum())
    assert fast < int(PLAIN.frames_P.sum())
    with pytest.raises(ConfigError, match="speed"):
        generate(speed=9.0)


def test_stages_are_announced_in_order() -> None:
    seen: list[str] = []
    generate(progress=seen.append)
    assert tuple(seen) == STAGES


def test_only_the_end_of_a_long_prompt_is_looked_at() -> None:
    frames, limit = 90, SMALL.prompt_frames
    phone_F = torch.arange(frames) // 5 % 2 + 20
    codes_KF = VOICE.prosody.codes_KF[:, torch.arange(frames) % 80]
    whole = PromptCodes(codes_KF=codes_KF, phone_F=phone_F)
    end = PromptCodes(codes_KF=codes_KF[:, -limit:], phone_F=phone_F[-limit:])
    one, other = (generate(replace(VOICE, prosody=a)) for a in (whole, end))
    assert changed(one, other) == []


def test_prompt_durations_beyond_the_last_entry_are_the_last() -> None:
    longest = SMALL.duration.codebook_size - 1
    rhythms = [
        replace(VOICE.duration, frames_P=VOICE.duration.frames_P.clamp_min(longest) + extra)
        for extra in (0, 500)
    ]
    one, other = (generate(replace(VOICE, duration=rhythm)) for rhythm in rhythms)
    assert changed(one, other) == []


def save(model: Generator, folder: Path) -> Path:
    save_checkpoint(folder, model.state_dict(), {"generator": to_dict(model.config)})
    return folder


def test_saved_generator_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    loaded = load_generator(save(MODEL, tmp_path))
    assert loaded.config == MODEL.config
    made = loaded.generate(PHONES_P, VOICE, sampler=SAMPLER, seed=0)
    assert changed(PLAIN, made) == []


def edited(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["generator"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="wrong shape"):
        load_generator(edited(save(MODEL, tmp_path / "a"), phone_symbols=["<pad>", "^"]))
    with pytest.raises(ConfigError, match="prompt_phone"):
        load_generator(edited(save(MODEL, tmp_path / "b"), prompt_phone=3))


@pytest.mark.parametrize("config", [{}, {"codec": {}}, {"generator": "x"}])
def test_a_foreign_model_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    save(MODEL, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        load_generator(tmp_path)


def test_books_of_the_stages_follow_each_other() -> None:
    config = GeneratorConfig()
    books = [book for name in STAGES[1:] for book in config.books_of(name)]
    assert books == list(range(config.frame.codebooks))
    assert list(config.books_of("duration")) == [0]
