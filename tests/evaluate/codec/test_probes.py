"""Probes find what was planted and nothing in noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from speechkit.evaluate.codec.labels import FrameLabels
from speechkit.evaluate.codec.probes import (
    CHANCE,
    TRUE_PHONES,
    TRUE_PROSODY,
    ProbeClip,
    ProbeReport,
    pooled,
    reference_sources,
    run_probes,
)
from speechkit.evaluate.probes import fit_classifier, fit_regressor, predict

CLASSES = 5
FRAMES = 60
SPEAKERS = 3
CHANNELS = 6


def _labels(rng: torch.Generator) -> FrameLabels:
    phone_F = torch.randint(0, CLASSES, (FRAMES,), generator=rng)
    voiced_F = torch.randint(0, 2, (FRAMES,), generator=rng)
    contour_F = torch.randn(FRAMES, generator=rng)
    return FrameLabels(
        phone_F=phone_F,
        contour_F=torch.where(voiced_F > 0, contour_F, torch.nan),
        voiced_F=voiced_F,
        energy_F=torch.randn(FRAMES, generator=rng),
        mel_FM=torch.randn(FRAMES, 4, generator=rng),
    )


def _planted(labels: FrameLabels, speaker: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Content holds the phone, prosody pitch, voicing and energy, timbre and detail the voice."""
    noise = 0.1 * torch.randn(FRAMES, CHANNELS, generator=rng)
    content, prosody, detail = noise.clone(), noise.clone(), noise.clone()
    content[torch.arange(FRAMES), labels.phone_F] += 3
    prosody[:, 0] += torch.nan_to_num(labels.contour_F)
    prosody[:, 1] += labels.voiced_F
    prosody[:, 2] += labels.energy_F
    detail[:, speaker] += 2
    timbre = 0.05 * torch.randn(CHANNELS, generator=rng)
    timbre[speaker] += 3
    return {"timbre": timbre, "prosody": prosody, "content": content, "detail": detail}


@pytest.fixture(scope="module")
def probes() -> ProbeReport:
    rng = torch.Generator().manual_seed(0)
    clips = []
    for speaker in range(SPEAKERS):
        for number in range(6):
            labels = _labels(rng)
            clips.append(
                ProbeClip(
                    id=f"{speaker}-{number}",
                    speaker=f"s{speaker}",
                    sources=_planted(labels, speaker, rng) | reference_sources(labels, CLASSES),
                    labels=labels,
                )
            )
    return run_probes(clips, CLASSES)


def test_probes_find_what_is_there(probes: ProbeReport) -> None:
    figures = probes.figures
    assert figures["content"]["phone"] > 0.95
    assert figures["prosody"]["pitch"] > 0.9
    assert figures["prosody"]["voicing"] > 0.95
    assert figures["prosody"]["energy"] > 0.9
    assert figures["timbre"]["speaker"] == figures["detail"]["speaker"] == 1.0
    assert probes.details["prosody"]["correlation"] > 0.95
    assert figures[TRUE_PHONES]["phone"] == 1.0
    assert figures[TRUE_PROSODY]["pitch"] > 0.99


def test_probes_find_nothing_in_what_is_independent(probes: ProbeReport) -> None:
    figures, chance = probes.figures, probes.figures[CHANCE]
    for part, target in (("prosody", "phone"), ("detail", "phone"), ("content", "voicing")):
        assert figures[part][target] < chance[target] + 0.12
    for part, target in (("content", "pitch"), ("detail", "energy"), ("timbre", "pitch")):
        assert figures[part][target] < 0.05
    assert chance["speaker"] == 1 / SPEAKERS
    assert chance["pitch"] == 0.0
    # Silence is not asked for, so chance is one of the other classes.
    assert 0.15 < chance["phone"] < 0.4


def test_report_is_a_matrix_with_chance_below(probes: ProbeReport) -> None:
    lines = probes.text().splitlines()
    assert lines[0].split() == ["part", "phone", "pitch", "voicing", "energy", "speaker"]
    assert lines[1].startswith("timbre")
    assert lines[len(probes.figures)].startswith(CHANCE)
    assert probes.to_json()["figures"]["detail"]["speaker"] == 1.0


def test_frames_of_unaligned_clips_are_left_out() -> None:
    rng = torch.Generator().manual_seed(1)
    clips = []
    for speaker in range(2):
        for number in range(2):
            labels = _labels(rng)
            if number:
                labels.phone_F[:] = -1
            sources = reference_sources(labels, CLASSES)
            name = f"{speaker}{number}"
            clips.append(ProbeClip(id=name, speaker=str(speaker), sources=sources, labels=labels))
    assert run_probes(clips, CLASSES).figures[TRUE_PHONES]["phone"] == 1.0


def test_regression_finds_a_line_and_ignores_what_never_changes() -> None:
    rng = torch.Generator().manual_seed(0)
    x_ND = torch.randn(200, 3, generator=rng)
    x_ND[:, 2] = 7.0
    y_N = 2 * x_ND[:, 0] - x_ND[:, 1] + 1
    probe = fit_regressor(x_ND, y_N, torch.arange(200) % 4)
    assert predict(probe, x_ND) == pytest.approx(y_N.numpy(), abs=0.02)
    x_ND[:, 2] = 9.0
    assert predict(probe, x_ND) == pytest.approx(y_N.numpy(), abs=0.02)


def test_regression_bends_to_groups_that_do_not_agree() -> None:
    # A vector for each speaker, as timbre is, that has nothing to do with the speaker's level.
    rng = torch.Generator().manual_seed(0)
    group_N = torch.arange(400) % 8
    x_ND = torch.randn(8, 16, generator=rng)[group_N]
    y_N = torch.randn(8, generator=rng)[group_N] + torch.randn(400, generator=rng)
    probe = fit_regressor(x_ND, y_N, group_N)
    assert float(predict(probe, x_ND).std()) < 0.3 * float(y_N.std())
    alone = fit_regressor(x_ND, y_N, torch.zeros(400))
    assert float(predict(alone, x_ND).std()) < 0.01 * float(y_N.std())


def test_classification_repeats_itself_and_separates() -> None:
    rng = torch.Generator().manual_seed(0)
    label_N = (torch.arange(90) % 3).numpy()
    x_ND = torch.randn(90, 4, generator=rng) + 3 * torch.eye(4)[label_N]
    first, second = (fit_classifier(x_ND, label_N) for _ in range(2))
    assert (first[-1].coef_ == second[-1].coef_).all()
    assert (predict(first, x_ND) == label_N).mean() > 0.95


def test_pooling() -> None:
    assert pooled(torch.tensor([[1.0], [3.0]])).tolist() == [2.0, 1.0]
    assert pooled(torch.tensor([1.0, math.pi])).tolist() == pytest.approx([1.0, math.pi])
