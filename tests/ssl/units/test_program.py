"""Units of a small packed corpus from end to end, with MFCCs, a stand-in and a real encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from speechkit.cli.arguments import Parser
from speechkit.cli.output import Outcome
from speechkit.cli.ssl import units as verb
from speechkit.core.errors import CheckpointError, ConfigError, DataError, SpeechkitError
from speechkit.core.rng import generator
from speechkit.data.alignment import ClipAlignment, write_alignment
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, Shard, write_packed
from speechkit.data.work import Crew
from speechkit.ssl.selection import Selection
from speechkit.ssl.units import KMeans, KMeansConfig, Units, UnitsConfig, make_units
from speechkit.ssl.units.features import Features, features_of, mfcc
from speechkit.ssl.units.program import draw_evenly

TONES_HZ = (300, 1000, 3000)
PHONES = ("AA1", "B", "S")
TONE_FRAMES = 10
SMALL = UnitsConfig(kmeans=KMeansConfig(clusters=6, batch_frames=200, epochs=5, inits=2))


def clip(name: str, language: str, tones: list[int], samples: int | None = None) -> PackedClip:
    """Tones of 0.2 s each with a little noise; `samples` cuts the clip short."""
    time_T = np.arange(TONE_FRAMES * 320) / 16_000
    rng = np.random.default_rng(len(name) + sum(tones))
    wave_T = np.concatenate([0.3 * np.sin(2 * np.pi * TONES_HZ[tone] * time_T) for tone in tones])
    wave_T = (wave_T + 0.001 * rng.standard_normal(len(wave_T)))[:samples]
    info = ClipInfo(
        id=name, text="a", speaker=name, language=language, license="CC0", split="train",
        source=f"{name.split('/')[0]}-0.tar",
    )  # fmt: skip
    return PackedClip(
        info=info,
        pcm_T=(wave_T * 32767).astype(np.int16),
        f0_F=np.zeros(-(-len(wave_T) // 160), np.float32),
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of tones, one of them shorter than a frame, with their alignment."""
    path = tmp_path_factory.mktemp("corpus") / "tones.safetensors"
    tones = {"x/a": [0, 1, 2], "x/b": [2, 0, 1, 1], "y/c": [1, 2], "x/short": [0]}
    write_packed(
        path,
        [
            clip(name, "de" if name == "y/c" else "en", which, 399 if "short" in name else None)
            for name, which in tones.items()
        ],
    )
    alignments = {
        index: ClipAlignment(torch.tensor(which), torch.tensor([TONE_FRAMES] * len(which)), 0.0)
        for index, which in enumerate(tones.values())
        if index < 3
    }
    write_alignment(Shard(path), PHONES, alignments)
    return path


@dataclass
class States:
    layers: list[Tensor]


class StandIn:
    """Three layers at 50 Hz: the spectrum of each window, and multiples of it."""

    hop_samples = 320
    rate_hz = 50

    def hidden_states(self, wave_BT: Tensor, lengths_B: object = None) -> States:
        windows_BFT = wave_BT.unfold(1, 400, self.hop_samples)
        spectrum = torch.fft.rfft(windows_BFT).abs()[..., :100]
        return States([spectrum * factor for factor in (1.0, 2.0, 3.0)])


def test_tones_get_units_that_tell_them_apart(corpus: Path, tmp_path: Path) -> None:
    report = make_units(corpus, tmp_path / "u", SMALL)
    packed = PackedCorpus(corpus)
    units = Units(report.out, packed)
    kmeans, sha256 = KMeans.load(tmp_path / "u" / "kmeans")
    for index in range(3):
        expected_F = kmeans.assign(mfcc(packed.wave(index)))[0]
        assert units.of(index).tolist() == expected_F.tolist()
    assert report.too_short == ("x/short",)
    assert not units.has(3)
    assert report.clips == 4
    assert units.kmeans_sha256 == sha256 == report.kmeans_sha256
    assert (units.rate_hz, units.features, kmeans.notes["features"]) == (
        100, {"kind": "mfcc"}, {"kind": "mfcc"},
    )  # fmt: skip
    assert report.quality is not None
    assert report.quality.everything.pnmi > 0.7
    assert report.quality.everything.phones == 3
    assert 0 < report.usage.used <= 6
    assert report.units == sum(len(units.of(clip)) for clip in range(3))
    assert "x/short" in report.text()
    assert report.inertia == pytest.approx(kmeans.notes["inertia"], rel=1e-4)  # all frames seen


def test_given_centroids_are_used_and_must_fit(corpus: Path, tmp_path: Path) -> None:
    first = make_units(corpus, tmp_path / "u", SMALL)
    again = make_units(corpus, tmp_path / "v", kmeans=first.kmeans)
    assert (again.fitted_frames, again.kmeans_sha256) == (0, first.kmeans_sha256)
    assert contents(tmp_path / "u") == contents(tmp_path / "v")
    other = features_of(StandIn(), 1, "ab")
    with pytest.raises(ConfigError, match="same features"):
        make_units(corpus, tmp_path / "w", kmeans=first.kmeans, features=other)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of units by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def sharded(corpus: Path, tmp_path: Path) -> Path:
    """The clips in shards of two."""
    packed = PackedCorpus(corpus)
    clips = (
        PackedClip(
            info=info,
            pcm_T=(packed.wave(n).numpy() * 32768).astype(np.int16),
            f0_F=packed.f0(n).numpy(),
        )
        for n, info in enumerate(packed.clips)
    )
    write_packed(tmp_path / "x.corpus", clips, shard_clips=2)
    return tmp_path / "x.corpus"


def test_a_killed_run_goes_on(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_units(sharded, tmp_path / "whole", SMALL)
    of, heard = Features.of, list[int]()

    def dies(limit: int) -> Callable[[Features, Tensor], Tensor]:
        def once(self: Features, wave_T: Tensor) -> Tensor:
            if len(heard) == limit:
                raise KeyboardInterrupt
            heard.append(len(wave_T))
            return of(self, wave_T)

        return once

    # Three clips are long enough. Killed in the sample's second shard, then in the units' second.
    for limit in (2, 5):
        monkeypatch.setattr(Features, "of", dies(limit))
        with pytest.raises(KeyboardInterrupt):
            make_units(sharded, tmp_path / "killed", SMALL)
    heard.clear()
    monkeypatch.setattr(Features, "of", dies(1))
    report = make_units(sharded, tmp_path / "killed", SMALL)
    assert len(heard) == 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert (report.kmeans_sha256, report.missing_shards) == (whole.kmeans_sha256, 0)
    assert report.inertia == pytest.approx(whole.inertia)
    assert not (tmp_path / "killed" / "sample").exists()


def test_parts_wait_for_the_centroids(sharded: Path, tmp_path: Path) -> None:
    whole = make_units(sharded, tmp_path / "whole", SMALL)
    with pytest.raises(ConfigError, match="begin with --shard 1/2"):
        make_units(sharded, tmp_path / "parts", SMALL, crew=Crew(part=(2, 2)))
    first = make_units(sharded, tmp_path / "parts", SMALL, crew=Crew(part=(1, 2)))
    assert (first.missing_shards, first.clips) == (1, 2)
    report = make_units(sharded, tmp_path / "parts", SMALL, crew=Crew(part=(2, 2)))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert (report.missing_shards, report.units) == (0, whole.units)


@pytest.mark.slow
def test_one_process_or_two_give_the_same_bytes(sharded: Path, tmp_path: Path) -> None:
    config = replace(SMALL, max_frames=60, percent=70, seed=3)
    for name, workers in (("a", 1), ("b", 2)):
        make_units(sharded, tmp_path / name, config, crew=Crew(workers=workers))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert json.loads((tmp_path / "a/kmeans/config.json").read_text())["fitted_frames"] == 60


def test_same_seed_same_bytes(corpus: Path, tmp_path: Path) -> None:
    config = replace(SMALL, max_frames=60, percent=70)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_units(corpus, tmp_path / name, replace(config, seed=seed))
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert first != other


def test_only_the_selection_is_written(corpus: Path, tmp_path: Path) -> None:
    packed = PackedCorpus(corpus)
    for selection, known in (
        (Selection(languages=("de",)), [2]),
        (Selection(sources=("x",), splits=("train",)), [0, 1]),
    ):
        make_units(corpus, tmp_path / "u", replace(SMALL, selection=selection))
        units = Units(tmp_path / "u", packed)
        assert [clip for clip in range(4) if units.has(clip)] == known


def test_layers_of_an_encoder_give_units_at_50_hz(corpus: Path, tmp_path: Path) -> None:
    features = features_of(StandIn(), 2, "ab" * 32)
    report = make_units(corpus, tmp_path / "u", SMALL, features=features)
    packed = PackedCorpus(corpus)
    units = Units(report.out, packed)
    kmeans, _ = KMeans.load(report.kmeans)
    states_FD = StandIn().hidden_states(packed.wave(0)[None]).layers[2][0]
    assert units.of(0).tolist() == kmeans.assign(states_FD)[0].tolist()
    assert units.rate_hz == 50
    assert units.features == {"kind": "encoder", "layer": 2, "encoder_sha256": "ab" * 32}
    assert report.quality is not None
    assert report.quality.everything.pnmi > 0.9


def test_a_folder_of_a_real_encoder(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("fairseq2")
    from speechkit.ssl.checkpoints import save_model
    from speechkit.ssl.config import EncoderConfig
    from speechkit.ssl.encoder import build_encoder

    tiny = EncoderConfig(
        conv_channels=(8,) * 7, model_dim=16, layers=2, heads=2, ffn_dim=16,
        position_kernel=4, position_groups=2,
    )  # fmt: skip
    encoder = build_encoder(tiny).eval()
    save_model(tmp_path / "encoder", encoder)
    config = replace(SMALL, features=tmp_path / "encoder", layer=1)
    report = make_units(corpus, tmp_path / "u", config)
    kmeans, _ = KMeans.load(report.kmeans)
    with torch.inference_mode():
        states_FD = encoder.hidden_states(PackedCorpus(corpus).wave(1)[None]).layers[1][0]
    assert (
        Units(report.out, PackedCorpus(corpus)).of(1).tolist()
        == kmeans.assign(states_FD)[0].tolist()
    )
    with pytest.raises(ConfigError, match="from 0 to 2"):
        make_units(corpus, tmp_path / "v", replace(config, layer=3))


def test_an_encoder_of_another_rate_is_refused(corpus: Path, tmp_path: Path) -> None:
    slow = StandIn()
    slow.hop_samples = 640
    with pytest.raises(DataError, match="not 25 ms windows"):
        make_units(corpus, tmp_path / "u", SMALL, features=features_of(slow, 0, ""))


def test_bad_input_is_refused_before_any_feature_is_made(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Features, wave_T: Tensor) -> Tensor:
        raise AssertionError("expensive work had begun")

    monkeypatch.setattr(Features, "of", refuse)
    out = tmp_path / "u"
    many = replace(SMALL, kmeans=replace(SMALL.kmeans, clusters=5000))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    cases: list[tuple[type[SpeechkitError], str, UnitsConfig, dict[str, Any]]] = [
        (DataError, "fewer than 5000", many, {}),
        (DataError, "languages de, en", replace(SMALL, selection=Selection(languages=("xx",))), {}),
        (DataError, "shorter than 25 ms",
         replace(SMALL, selection=Selection(sources=("x/short",))), {}),
        (CheckpointError, "not a folder", SMALL, {"kmeans": tmp_path / "none"}),
        (CheckpointError, "There is no", replace(SMALL, features=tmp_path, layer=1), {}),
    ]  # fmt: skip
    for error, match, config, paths in cases:
        with pytest.raises(error, match=match):
            make_units(corpus, out, config, **paths)
    for place in ("file", "full"):
        with pytest.raises(ConfigError, match="give"):
            make_units(corpus, tmp_path / place, SMALL)
    with pytest.raises(DataError, match="no packed corpus"):
        make_units(tmp_path / "none", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.parametrize(
    "changes",
    [{"layer": 3}, {"features": "folder"}, {"percent": 0.0}, {"max_frames": 5}],
)
def test_impossible_configs_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(SMALL, **changes)  # type: ignore[arg-type]


def test_frames_are_drawn_evenly_and_once() -> None:
    for total, count in ((10, 10), (10, 99), (1000, 7), (11, 10)):
        rows_N = draw_evenly(total, count, generator(0))
        assert len(rows_N) == min(total, count)
        assert bool((pad(rows_N, (1, 0), value=-1).diff() > 0).all())
        assert int(rows_N[-1]) < total


def run(*arguments: str | Path) -> Outcome:
    """Run the verb as the command line does."""
    parser = Parser()
    verb.add_verbs(parser.add_subparsers())
    parsed = parser.parse_args(["units", *map(str, arguments)])
    outcome: Outcome = parsed.handler(parsed)
    return outcome


def test_the_verb_reports_and_refuses(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "u"
    outcome = run(corpus, "-o", out, "--clusters", "4", "--languages", "en", "--percent", "100")
    units = Units(out, PackedCorpus(corpus))
    assert [units.has(clip) for clip in range(4)] == [True, True, False, False]
    assert "PNMI" in outcome.text
    assert json.loads(json.dumps(outcome.data))["clusters"] == 4
    for bad in (
        (corpus, "-o", corpus),
        (tmp_path / "none", "-o", out),
        (corpus, "-o", out, "--kmeans", tmp_path / "u" / "kmeans", "--clusters", "4"),
        (corpus, "-o", out, "--layer", "2"),
        (corpus, "-o", out, "--percent", "0"),
    ):
        with pytest.raises(SpeechkitError):
            run(*bad)
