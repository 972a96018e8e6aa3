"""Probes from end to end on tones, with a tiny encoder of random weights."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.cli import build_parser
from speechkit.core.errors import CheckpointError, ConfigError, DataError, SpeechkitError
from speechkit.core.rng import generator
from speechkit.data.alignment import Alignment, ClipAlignment, write_alignment
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, Shard, write_packed
from speechkit.ssl.checkpoints import save_model
from speechkit.ssl.config import EncoderConfig
from speechkit.ssl.encoder import build_encoder
from speechkit.ssl.probes import ProbeConfig, run_probes
from speechkit.ssl.probes.heads import Probe
from speechkit.ssl.probes.phones import SILENCE, PhoneFrames, Placed, fit_chosen
from speechkit.ssl.probes.pieces import Piece
from speechkit.ssl.probes.program import gather
from speechkit.ssl.probes.report import ClipRate, difference
from speechkit.ssl.probes.sources import encoder_source, plain_sources
from speechkit.ssl.probes.speakers import equal_error, speaker_material, verification_error
from speechkit.ssl.selection import Selection
from tests.ssl.tiny import tiny_corpus

TINY = EncoderConfig(
    conv_channels=(8,) * 7, model_dim=16, layers=2, heads=2, ffn_dim=32,
    position_kernel=8, position_groups=2,
)  # fmt: skip
CONFIG = ProbeConfig(minutes=2, steps=80, learning_rate=3e-2, words=3)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "model"
    save_model(folder, build_encoder(TINY, seed=1))
    return folder


def test_all_probes_of_an_encoder(tones: Path, encoder: Path) -> None:
    seen: list[str] = []
    report = run_probes([encoder], tones, CONFIG, progress=seen.append)
    names = [source.name for source in report.sources]
    assert names == seen == [str(encoder), "random weights", "log-mel", "MFCC"]
    for source in report.sources:
        assert source.figures.keys() == report.chance.keys()
        assert all(0 <= value <= 1.5 for value in source.figures.values()), source
        layers = 1 if source.name in ("log-mel", "MFCC") else 3
        assert source.layer_weights.keys() == {"phones", "ctc", "speaker", "words"}
        for weights in source.layer_weights.values():
            assert len(weights) == layers
            assert sum(weights) == pytest.approx(1, abs=1e-5)
    log_mel, chance = report.sources[2].figures, report.chance
    # A tone is easy to tell, and so is how loud a hum is.
    for name in ("phone_accuracy", "speaker_accuracy", "word_accuracy"):
        assert log_mel[name] > chance[name] + 0.25, name
    for name in ("phone_error_rate", "ctc_error_rate", "eer_mean"):
        assert log_mel[name] < chance[name] - 0.1, name
    assert sorted(report.words) == ["apple", "banana", "cherry"]
    assert report.counts["phones"]["clips_without_alignment"] == 1
    assert report.counts["speakers"]["clips_too_short"] == 1
    for source in report.sources:
        assert source.dropout.keys() == {"phones", "ctc"}
        assert all(one in CONFIG.dropouts for values in source.dropout.values() for one in values)
    table = report.text()
    assert "dropout, ctc, log-mel: " in table
    assert all(name in table for name in [*names, "chance", "layer weights, phones"])
    assert json.loads(json.dumps(report.to_json()))["words"] == report.words


def test_dropout_is_chosen_by_speakers_apart_and_the_head_then_learns_from_all(
    tones: Path,
) -> None:
    corpus = PackedCorpus(tones)
    config = replace(CONFIG, tasks=("ctc",), steps=1)
    material = gather(corpus, config)
    assert material.phones is not None
    frames = PhoneFrames(plain_sources()[0], corpus, material.phones, config)
    learnt: list[tuple[float, set[int]]] = []

    def train(probe: Probe, clips: Sequence[Placed]) -> None:
        learnt.append((probe.dropout, {clip.speaker for clip, _ in clips}))
        with torch.no_grad():
            # Nothing but silence is all wrong; nothing but one phone gets some right.
            probe.head.weight.zero_()
            probe.head.bias.zero_()
            probe.head.bias[frames.labels_N.max() if probe.dropout == 0.3 else SILENCE] = 1.0

    chosen = replace(config, dropouts=(0.1, 0.3, 0.6))
    assert fit_chosen(frames, "ctc", chosen, train).dropout == 0.3
    everyone = {clip.speaker for clip, _ in frames.clips(test=False)}
    assert [dropout for dropout, _ in learnt] == [0.1, 0.3, 0.6, 0.3]
    assert learnt[0][1] == learnt[1][1] == learnt[2][1]
    assert learnt[0][1] < everyone
    assert learnt[3][1] == everyone
    # With one to choose from nobody is set apart.
    learnt.clear()
    fit_chosen(frames, "ctc", replace(config, dropouts=(0.5,)), train)
    assert learnt == [(0.5, everyone)]
    with pytest.raises(ConfigError, match="dropouts"):
        replace(config, dropouts=(1.0,))


def test_same_seed_same_figures(tones: Path, encoder: Path) -> None:
    config = replace(CONFIG, tasks=("words", "verification"), steps=5)
    first, second = (run_probes([encoder], tones, config) for _ in range(2))
    for one, other in zip(first.sources, second.sources, strict=True):
        assert one.figures == other.figures
    assert "phone_accuracy" not in first.chance


def test_phones_are_tested_on_other_speakers(tones: Path) -> None:
    corpus = PackedCorpus(tones)
    material = gather(corpus, replace(CONFIG, tasks=("phones", "words")))
    assert material.phones is not None
    assert material.words is not None
    assert material.speakers is None
    for parts in (material.phones.clips, material.words.pieces):
        speakers: dict[bool, set[int]] = defaultdict(set)
        for part in parts:
            speakers[part.test].add(corpus.speaker(part.clip))
        assert speakers[True]
        assert speakers[False]
        assert not speakers[True] & speakers[False]
    for clip in material.phones.clips:
        assert len(clip.labels_F) == -(-corpus.samples(clip.clip) // 320)


def test_speakers_are_tested_on_other_clips_where_they_have_some(tones: Path) -> None:
    corpus = PackedCorpus(tones)
    material = speaker_material(corpus, range(len(corpus)), CONFIG)
    known, strangers = (
        {corpus.speaker(piece.clip) for piece in pieces}
        for pieces in (material.known, material.strangers)
    )
    assert not known & strangers
    assert len(strangers) >= 2
    one_clip = 0
    by_label = itertools.groupby(material.known, key=lambda piece: piece.label)
    for _, group in by_label:
        pieces = list(group)
        assert {piece.test for piece in pieces} == {False, True}
        train, test = ([p for p in pieces if p.test == flag] for flag in (False, True))
        if len({piece.clip for piece in pieces}) > 1:
            assert not {p.clip for p in train} & {p.clip for p in test}
        else:
            one_clip += 1
            assert max(p.stop for p in train) <= min(p.start for p in test)
    assert one_clip == material.counts["tested_on_the_same_clip"]


def test_verification_leaves_out_pairs_of_one_clip() -> None:
    where = [(0, 0), (0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (2, 4)]
    pieces = [Piece(clip=clip, start=0, stop=1, label=label, test=False) for label, clip in where]
    x_ND = torch.randn(len(where), 3, generator=generator(4))
    same, other = [], []
    for (one, a), (two, b) in itertools.combinations(zip(where, x_ND, strict=True), 2):
        score = float(torch.cosine_similarity(a, b, dim=0))
        if one[0] != two[0]:
            other.append(score)
        elif one[1] != two[1] or one[0] == 2:
            same.append(score)
    assert len(same) == 4
    expected = equal_error(torch.tensor(same), torch.tensor(other))
    assert verification_error(x_ND, pieces) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("samples", [400, 3200, 16_000, 16_123])
def test_all_sources_give_the_frames_of_an_encoder(samples: int) -> None:
    wave_T = 0.1 * torch.randn(samples, generator=generator(5))
    tiny = encoder_source("tiny", build_encoder(TINY).eval(), (0, 2))
    for source in [tiny, *plain_sources()]:
        frames = TINY.frames(samples)
        assert source.states(wave_T).shape == (frames, source.layers, source.channels)


def test_an_encoder_of_25_hz_says_between_frames_what_lies_on_the_line() -> None:
    mel = replace(TINY, front="log-mel", conv_channels=(8, 8), conv_kernels=(3, 3),
                  conv_strides=(2, 2))  # fmt: skip
    encoder = build_encoder(mel).eval()
    for samples in (400, 719, 720, 16_000, 16_123):
        wave_T = 0.1 * torch.randn(samples, generator=generator(6))
        found_FLD = encoder_source("mel", encoder, (0, 2)).states(wave_T)
        assert found_FLD.shape == (TINY.frames(samples), 2, 16)
        with torch.inference_mode():
            layers = encoder.hidden_states(wave_T[None]).layers
        given_FLD = torch.stack([layers[0][0], layers[2][0]], dim=1)
        places = np.arange(len(found_FLD)) / 2
        for layer, channel in ((0, 0), (1, 7)):
            line_F = np.interp(places, np.arange(len(given_FLD)), given_FLD[:, layer, channel])
            assert np.allclose(found_FLD[:, layer, channel], line_F, atol=1e-5)


def test_phones_are_tested_on_a_split_and_repeats_are_compared_with_log_mel(
    tones: Path, encoder: Path, tmp_path: Path
) -> None:
    corpus = PackedCorpus(tones)
    exam = tmp_path / "exam.safetensors"
    # Five other speakers, of one clip each.
    places = [0, 3, 6, 9, 12]
    infos = [{**corpus.clips[n], "speaker": f"x{n}", "split": "eval"} for n in places]
    write_packed(
        exam,
        [
            PackedClip(
                info=ClipInfo(**{**info, "id": f"exam/{n}"}),  # type: ignore[typeddict-item]
                pcm_T=(corpus.wave(n).numpy() * 32768).astype(np.int16),
                f0_F=corpus.f0(n).numpy(),
            )
            for n, info in zip(places, infos, strict=True)
        ],
    )
    sidecar = Alignment(corpus)
    write_alignment(
        Shard(exam),
        sidecar.symbols,
        {
            row: ClipAlignment(sidecar.phones(n), sidecar.frames(n), 0.0)
            for row, n in enumerate(places)
        },
    )
    config = replace(
        CONFIG, tasks=("ctc",), minutes=0.2, steps=20, test_splits=("eval",), repeats=2
    )
    report = run_probes([encoder], [tones, exam], config)
    counts = report.counts["phones"]
    assert counts["test_speakers"] == 5
    assert counts["train_minutes"] >= 0.2 > counts["train_minutes"] - 0.2
    by_name = {source.name: source for source in report.sources}
    baseline, random = by_name["log-mel"], by_name["random weights"]
    single = [
        run_probes([encoder], [tones, exam], replace(config, repeats=1, seed=seed))
        for seed in range(2)
    ]
    assert random.repeats["ctc_error_rate"] == [
        one.sources[1].figures["ctc_error_rate"] for one in single
    ]
    assert random.figures["ctc_error_rate"] == pytest.approx(
        sum(random.repeats["ctc_error_rate"]) / 2
    )
    found = random.differences["ctc_error_rate"]
    # The same clips are tested in both repeats: the mean of rates is the rate of all.
    assert found.value == pytest.approx(
        random.figures["ctc_error_rate"] - baseline.figures["ctc_error_rate"]
    )
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert not baseline.differences
    assert "against log-mel" in report.text()
    with pytest.raises(DataError, match="0 speakers have aligned clips in the splits"):
        run_probes([encoder], tones, config)
    with pytest.raises(DataError, match="0 elsewhere"):
        run_probes([encoder], exam, config)
    with pytest.raises(ConfigError, match="Only `phones` and `ctc`"):
        replace(config, tasks=("ctc", "words"))


def test_a_difference_is_paired_over_speakers() -> None:
    speakers = [f"s{n // 2}" for n in range(12)]
    hard = [10 * (n % 4) for n in range(12)]
    one = ClipRate(errors=hard, phones=[40] * 12, speakers=speakers)
    other = ClipRate(errors=[n + 4 for n in hard], phones=[40] * 12, speakers=speakers)
    found = difference(one, other, 0)
    # Every clip is four phones of forty better, so no draw of speakers says otherwise.
    assert (found.value, found.low, found.high) == pytest.approx((-0.1, -0.1, -0.1))
    few = replace(one, speakers=["a", "b", "c", "d"] * 3)
    assert difference(few, replace(other, speakers=few.speakers), 0).low is None


def test_what_cannot_be_probed(tones: Path, encoder: Path, tmp_path: Path) -> None:
    def refused(kind: type[SpeechkitError], match: str, **changes: object) -> None:
        given = {"encoders": [encoder], "data": tones, "config": CONFIG, **changes}
        with pytest.raises(kind, match=match):
            run_probes(**given)  # type: ignore[arg-type]

    refused(DataError, "align", data=tiny_corpus(tmp_path / "tones.safetensors"))
    refused(CheckpointError, "config.json", encoders=[tmp_path])
    refused(ConfigError, "encoder", encoders=[])
    refused(ConfigError, "no layer 3", config=replace(CONFIG, layers=(0, 3)))
    refused(ConfigError, "fewer minutes", config=replace(CONFIG, max_gigabytes=1e-6))
    alone = Selection(sources=("tones/18",))
    refused(DataError, "two speakers", config=replace(CONFIG, selection=alone))
    for tasks, match in (("speaker",), "Only 1 speakers"), (("words",), "two speakers"):
        config = replace(CONFIG, selection=alone, tasks=tasks)
        refused(DataError, match, config=config)
    moment = replace(CONFIG, selection=Selection(sources=("tones/19",)))
    refused(DataError, "None of the 1 chosen clips has an alignment", config=moment)
    with pytest.raises(ConfigError, match="Probes are"):
        ProbeConfig(tasks=("emotion",))
    with pytest.raises(ConfigError, match="each 160 samples"):
        encoder_source(
            "odd", build_encoder(replace(TINY, conv_strides=(5, 2, 2, 2, 2, 2, 1))), None
        )


def test_the_verb(tones: Path, encoder: Path, tmp_path: Path) -> None:
    line = ["ssl", "probe", "--encoder", str(encoder), "--corpus"]
    options = ["--tasks", "words", "--steps", "3", "--words", "2", "--layers", "1"]
    args = build_parser().parse_args([*line, str(tones), *options])
    outcome = args.handler(args)
    assert "word%" in outcome.text
    assert outcome.data["layers"] == [1]
    args = build_parser().parse_args([*line, str(tmp_path / "none.safetensors")])
    with pytest.raises(DataError, match="prepare"):
        args.handler(args)
