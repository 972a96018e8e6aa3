"""The generator: which prompt reaches which stage, batches, seeds, and its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.core.checkpoint import save_checkpoint
from speechkit.core.config import to_dict
from speechkit.core.errors import CheckpointError, ConfigError
from speechkit.core.results import Codes, PromptCodes, Voice
from speechkit.diffusion.config import (
    FRAME_STAGES,
    STAGES,
    DenoiserConfig,
    GeneratorConfig,
    SamplerConfig,
    StageSampling,
)
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.generator import Draws, Generator, build_generator, load_generator
from speechkit.text import DEFAULT_VOCABULARY
from speechkit.text.vocab import is_boundary
from tests.diffusion.builders import SMALL, live_generator, random_voice
from tests.tiny import CODEBOOK_SIZE

MODEL = live_generator()
PHONES = ("^", "HH", "AH0", "L", "OW1", ",", "W", "ER1", "L", "D", ".", "$")
PHONES_P = torch.tensor(DEFAULT_VOCABULARY.ids(PHONES))
SAMPLER = SamplerConfig(
    duration=StageSampling(steps=2, order="random", anneal=False),
    prosody=StageSampling(steps=3, guidance=1.0),
    content=StageSampling(steps=3, corrector=0.2),
    detail=StageSampling(steps=2),
)
VOICE, OTHER = random_voice(0), random_voice(1)


@dataclass(frozen=True)
class Made:
    """What all stages made of one utterance."""

    frames_P: Tensor
    codes: Codes

    def parts(self) -> dict[str, Tensor]:
        """What each stage made."""
        codes = self.codes
        return {
            "duration": self.frames_P,
            "prosody": codes.prosody_KF,
            "content": codes.content_KF,
            "detail": codes.detail_KF,
        }


def run(
    phones: Sequence[Tensor],
    voices: Sequence[Voice],
    draws: Draws,
    model: Generator = MODEL,
) -> list[Made]:
    """All stages, one after the other, as `ZeroShotTTS` runs them."""
    frames = model.draw_durations(phones, voices, draws)
    targets = [model.regulate(*pair) for pair in zip(phones, frames, strict=True)]
    for name in FRAME_STAGES:
        prompts = [getattr(voice, name) for voice in voices]
        targets = model.draw(name, targets, prompts, [v.timbre_D for v in voices], draws)
    return [Made(f, model.codes_of(t)) for f, t in zip(frames, targets, strict=True)]


def generate(voice: Voice = VOICE, seed: int = 0, sampler: SamplerConfig = SAMPLER) -> Made:
    (made,) = run([PHONES_P], [voice], Draws(sampler=sampler, seeds=(seed,)))
    return made


def changed(one: Made, other: Made) -> list[str]:
    """The stages whose outcome differs."""
    return [n for n in STAGES if not torch.equal(one.parts()[n], other.parts()[n])]


PLAIN = generate()


def test_every_phone_gets_frames_and_every_frame_codes() -> None:
    assert PLAIN.frames_P.shape == PHONES_P.shape
    for phone, frames in zip(PHONES, PLAIN.frames_P.tolist(), strict=True):
        assert frames >= (0 if is_boundary(phone) else 1)
    assert PLAIN.codes.frames == int(PLAIN.frames_P.sum())
    assert [part.shape[0] for part in PLAIN.parts().values()][1:] == [1, 2, 3]
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


def test_durations_that_are_known_stay_and_the_others_fit_them() -> None:
    known_P = torch.full((len(PHONES),), NULL_CODE)
    known_P[[0, 1, 2, 5]] = torch.tensor([99, 1, 40, 0])  # longer than there are entries, too
    draws = Draws(sampler=SAMPLER, seeds=(0,))
    (frames_P,) = MODEL.draw_durations([PHONES_P], [VOICE], draws, [known_P])
    assert frames_P[[0, 1, 2, 5]].tolist() == [99, 1, 40, 0]
    assert frames_P.shape == PHONES_P.shape
    assert all(
        int(frames) >= (0 if is_boundary(phone) else 1)
        for frames, phone in zip(frames_P, PHONES, strict=True)
    )
    open_P = known_P == NULL_CODE
    made = set()
    for frames in range(4):
        other_P = torch.where(open_P, known_P, frames)
        many = Draws(sampler=SAMPLER, seeds=tuple(range(16)))
        drawn = MODEL.draw_durations([PHONES_P] * 16, [VOICE] * 16, many, [other_P] * 16)
        made.add(tuple(torch.stack(drawn)[:, open_P].flatten().tolist()))
    assert len(made) > 1
    (plain_P,) = MODEL.draw_durations([PHONES_P], [VOICE], draws)
    unknown_P = torch.full_like(known_P, NULL_CODE)
    (same_P,) = MODEL.draw_durations([PHONES_P], [VOICE], draws, [unknown_P])
    assert torch.equal(plain_P, same_P)


def test_timbre_reaches_the_detail_stage_only() -> None:
    assert changed(PLAIN, generate(replace(VOICE, timbre_D=OTHER.timbre_D))) == ["detail"]


@pytest.mark.parametrize("told", [(), ("prosody", "detail")])
def test_which_stages_are_told_the_timbre_is_a_setting(told: tuple[str, ...]) -> None:
    model = live_generator(replace(SMALL, timbre_stages=told))
    voices = [VOICE, replace(VOICE, timbre_D=OTHER.timbre_D)]
    made = run([PHONES_P] * 2, voices, Draws(sampler=SAMPLER, seeds=(0, 0)), model)
    assert changed(*made) == ([] if not told else list(FRAME_STAGES))


def test_a_network_without_timbre_needs_none() -> None:
    config = replace(SMALL, frame=replace(SMALL.frame, timbre_channels=0))
    model = live_generator(config)
    assert not [name for name in model.state_dict() if "timbre" in name]
    made = run([PHONES_P], [VOICE], Draws(sampler=SAMPLER, seeds=(0,)), model)
    assert made[0].codes.frames == int(made[0].frames_P.sum())


def test_steps_of_a_stage_leave_earlier_draws_alone() -> None:
    more = replace(SAMPLER, content=StageSampling(steps=5))
    assert set(changed(PLAIN, generate(sampler=more))) <= {"content", "detail"}


def test_a_batch_of_eight_equals_eight_single_runs() -> None:
    rng = np.random.default_rng(0)
    phones = [PHONES_P[: int(rng.integers(5, 13))] for _ in range(8)]
    voices = [random_voice(n, frames=int(rng.integers(20, 90))) for n in range(8)]
    seeds = tuple(range(8))
    together = run(phones, voices, Draws(sampler=SAMPLER, seeds=seeds))
    assert len({made.codes.frames for made in together}) > 3
    for n, made in enumerate(together):
        (alone,) = run(phones[n : n + 1], voices[n : n + 1], Draws(sampler=SAMPLER, seeds=(n,)))
        assert changed(made, alone) == []
    # Nor does it matter where in the batch an item stands.
    back = run(phones[::-1], voices[::-1], Draws(sampler=SAMPLER, seeds=seeds[::-1]))
    assert all(changed(one, other) == [] for one, other in zip(together, back[::-1], strict=True))


def test_stages_are_announced_in_order() -> None:
    seen: list[str] = []
    run([PHONES_P], [VOICE], Draws(sampler=SAMPLER, seeds=(0,), begin=seen.append))
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


def test_fill_draws_the_stages_with_a_prompt_and_keeps_the_others() -> None:
    draws = Draws(sampler=SAMPLER, seeds=(0,))
    given = PLAIN.codes.stacked()
    frames_P, timbre_D = PLAIN.frames_P, VOICE.timbre_D
    kept = MODEL.fill(PHONES_P, frames_P, given, {}, timbre_D, draws)
    assert torch.equal(kept.stacked(), given)
    for name in FRAME_STAGES:
        prompts = {name: getattr(OTHER, name)}
        codes = MODEL.fill(PHONES_P, frames_P, given, prompts, timbre_D, draws)
        assert changed(PLAIN, Made(frames_P, codes)) == [name]


def test_all_stages_filled_again_are_what_was_drawn() -> None:
    unknown = torch.full_like(PLAIN.codes.stacked(), NULL_CODE)
    prompts = {name: getattr(VOICE, name) for name in FRAME_STAGES}
    draws = Draws(sampler=SAMPLER, seeds=(0,))
    codes = MODEL.fill(PHONES_P, PLAIN.frames_P, unknown, prompts, VOICE.timbre_D, draws)
    assert torch.equal(codes.stacked(), PLAIN.codes.stacked())


def test_bfloat16_agrees_with_float32_in_most_frames() -> None:
    greedy = StageSampling(steps=2, temperature=0.0, choice_temperature=0.0)
    sampler = SamplerConfig(duration=greedy, prosody=greedy, content=greedy, detail=greedy)
    prompts = {name: getattr(VOICE, name) for name in FRAME_STAGES}
    unknown = torch.full((6, int(PLAIN.frames_P.sum())), NULL_CODE)
    same, total = 0, 0
    for seed in range(3):
        model, codes = live_generator(seed=seed), []
        for fast in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                draws = Draws(sampler=sampler, seeds=(0,))
                filled = model.fill(
                    PHONES_P, PLAIN.frames_P, unknown, prompts, VOICE.timbre_D, draws
                )
            codes.append(filled.prosody_KF)
        same, total = same + int((codes[0] == codes[1]).sum()), total + codes[0].numel()
    assert same / total > 0.8


def test_a_generator_is_built_without_memory_and_loaded(tmp_path: Path) -> None:
    with torch.device("meta"):
        empty = build_generator(GeneratorConfig(phone_symbols=DEFAULT_VOCABULARY.symbols))
    assert all(parameter.is_meta for parameter in empty.parameters())
    # What no file holds is there all the same.
    pauses = [DEFAULT_VOCABULARY.symbols[n] for n in torch.nonzero(empty._pauses)[:, 0].tolist()]
    assert all(symbol == "<pad>" or is_boundary(symbol) for symbol in pauses)
    assert {" ", ",", "."} <= set(pauses)
    loaded = load_generator(save(MODEL, tmp_path))
    assert torch.equal(loaded._pauses, MODEL._pauses)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"prosody_codebooks": 2}, "must add up"),
        ({"timbre_stages": ("content", "pitch")}, "pitch"),
        ({"prompt_frames": 3}, "prompt_frames"),
    ],
)
def test_configs_that_fit_no_model_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=fault):
        GeneratorConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"channels": 100, "heads": 3}, "twice the heads"), ({"kernel": 4}, "odd")],
)
def test_networks_that_cannot_be_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        DenoiserConfig(**changes)


def save(model: Generator, folder: Path) -> Path:
    save_checkpoint(folder, model.state_dict(), {"generator": to_dict(model.config)})
    return folder


def test_saved_generator_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    loaded = load_generator(save(MODEL, tmp_path))
    assert loaded.config == MODEL.config
    (made,) = run([PHONES_P], [VOICE], Draws(sampler=SAMPLER, seeds=(0,)), loaded)
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


def test_codebooks_of_the_stages_follow_each_other() -> None:
    config = GeneratorConfig()
    codebooks = [k for name in FRAME_STAGES for k in config.codebooks_of(name)]
    assert codebooks == list(range(config.frame.codebooks))
    assert list(config.codebooks_of("duration")) == [0]
