"""The whole report on a tiny codec with random weights: every part, and every part left out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechkit.core.checkpoint import WEIGHTS
from speechkit.core.errors import DataError
from speechkit.core.results import Codes
from speechkit.data.align.reader import PhoneReader
from speechkit.evaluate.asr import WordErrors, word_errors
from speechkit.evaluate.codec import SECTIONS, CodecSuite, run_codec_suite
from speechkit.evaluate.codec.labels import frame_labels
from speechkit.evaluate.codec.parts import code_clips, embeddings, exchange
from speechkit.evaluate.codec.swaps import (
    contour_correlation,
    phone_agreement,
    register_share,
    swap_pairs,
    swapped,
)
from speechkit.evaluate.pairs import EvalClip
from speechkit.evaluate.quality import Quality
from speechkit.evaluate.scorers import Embedding, Scorers, Wave
from speechkit.evaluate.scoring import UNFINISHED
from speechkit.evaluate.table import Report, load_rows
from speechkit.facodec.codec import Codec
from speechkit.facodec.quantizer import QuantizerConfig
from speechkit.facodec.small.codec import FACodec, build_codec
from tests.tiny import TINY_CODEC

ALIGNER = WEIGHTS / "aligner"
QUIET = CodecSuite(sections=frozenset(), aligner=ALIGNER)


def _speech(pitch_hz: float, seconds: float, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    time_T = torch.arange(round(seconds * 16000)) / 16000
    phase_T = 2 * torch.pi * (pitch_hz * time_T + 3 * torch.sin(2 * torch.pi * 1.5 * time_T))
    buzz_T = torch.stack([torch.sin(n * phase_T) / n for n in range(1, 15)]).sum(0)
    noise_T = 0.02 * torch.randn(len(time_T), generator=rng)
    return 0.15 * buzz_T * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * time_T)) + noise_T


@pytest.fixture(scope="module")
def clips() -> list[EvalClip]:
    return [
        EvalClip(
            id=f"set/{speaker}{number}",
            speaker=speaker,
            text="hello there",
            wave_T=_speech(pitch_hz, 1.0 + 0.1 * number, number),
        )
        for speaker, pitch_hz in (("a", 110.0), ("b", 150.0), ("c", 220.0))
        for number in range(2)
    ]


@pytest.fixture(scope="module")
def codec() -> FACodec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_codec(TINY_CODEC).eval()


@pytest.fixture(scope="module")
def phones() -> PhoneReader:
    return PhoneReader(ALIGNER)


class _Fake:
    """Scorers that take no time, and count what they hear."""

    def __init__(self) -> None:
        self.transcribed = 0

    def words(self, wave_T: Wave, text: str) -> WordErrors:
        self.transcribed += 1
        return word_errors(text, "hello")

    def embed(self, wave_T: Wave) -> Embedding:
        spectrum = np.abs(np.fft.rfft(wave_T, 512))
        unit: Embedding = (spectrum / (np.linalg.norm(spectrum) + 1e-9)).astype(np.float32)
        return unit

    def bundle(self) -> Scorers:
        return Scorers(
            words=self.words,
            embed=self.embed,
            quality=lambda wave_T: Quality(ovrl=3.0, sig=3.0, bak=3.0, p808=3.0),
            aligned=lambda wave_T, reference_T: {"stoi": 0.8, "pesq": 1.5},
        )


Whole = tuple[Report, Path, _Fake]


@pytest.fixture(scope="module")
def whole(
    clips: list[EvalClip], codec: FACodec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    folder, fake = tmp_path_factory.mktemp("whole"), _Fake()
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", "")
    suite = CodecSuite(limit=3, swap_pairs=2, aligner=ALIGNER)
    yield run_codec_suite(codec, clips, folder, scorers=fake.bundle(), suite=suite), folder, fake
    patch.undo()


def test_report_has_every_part(whole: Whole) -> None:
    report, folder, _ = whole
    assert list(report.summary) == ["recordings", "codec", "codec, no detail", "copy synthesis"]
    codec = report.summary["codec"].values
    # 4 bits a code, 50 frames a second; clips are filled up to whole frames and bytes.
    assert codec["kbps"] == pytest.approx(1.2, rel=0.02)
    assert report.summary["codec, no detail"].values["kbps"] == pytest.approx(0.6, rel=0.02)
    assert "kbps" not in report.summary["copy synthesis"].values
    assert codec["wer"] == 0.5
    assert codec["mel"] > 0
    found = json.loads(json.dumps(report.to_json()))["extra"]
    assert found.keys() == {"differences", "probes", "swaps", "usage", "rate"}
    assert set(found["swaps"]["figures"]) == {
        *("nothing", "timbre", "prosody", "content", "detail")
    }
    assert found["probes"]["speakers"] == 3
    assert set(found["differences"]) == set(report.summary) - {"codec"}
    text = report.text()
    assert text.startswith("system")
    assert "swap" not in text.split("\n\n")[0]
    for heading in ("differences", "probes", "swaps", "usage", "rate"):
        assert f"\n{heading}" in text
    assert text.count("apt-get install") == 3
    manifest = (folder / "manifest.jsonl").read_text().splitlines()
    assert len(manifest) == 4 * 3
    assert all(Path(json.loads(line)["hyp"]).is_file() for line in manifest)


def test_pictures_are_drawn(whole: Whole) -> None:
    names = ("spectrograms", "reconstruction", "codes", "usage", "probes", "swaps")
    for name in names:
        content = (whole[1] / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000


def test_rows_are_scored_once_also_after_a_cut(
    whole: Whole, clips: list[EvalClip], codec: FACodec, tmp_path: Path
) -> None:
    _, folder, fake = whole
    scored = 3 * 4 + 2 * 5
    assert fake.transcribed == scored
    # The run of `whole` never saved its report, as if it had been cut short.
    kept = load_rows(folder / UNFINISHED)
    assert scored - 5 < len(kept) <= scored
    (tmp_path / UNFINISHED).write_bytes((folder / UNFINISHED).read_bytes())
    suite = CodecSuite(limit=3, sections=frozenset({"reconstruction", "ceiling"}))
    again = run_codec_suite(codec, clips, tmp_path, scorers=fake.bundle(), suite=suite)
    assert fake.transcribed == scored
    again.save(tmp_path / "report.json")
    more = CodecSuite(limit=4, sections=frozenset({"reconstruction"}))
    run_codec_suite(
        codec,
        clips,
        tmp_path,
        scorers=fake.bundle(),
        suite=more,
        earlier=tmp_path / "report.json",
    )
    assert fake.transcribed == scored + 3


def test_parts_can_be_left_out(clips: list[EvalClip], codec: FACodec, tmp_path: Path) -> None:
    report = run_codec_suite(codec, clips[:2], tmp_path, scorers=Scorers(), suite=QUIET)
    assert report.text() == ""
    assert not report.rows
    assert report.to_json()["extra"] == {}
    assert list(tmp_path.iterdir()) == []
    usage = CodecSuite(sections=frozenset({"usage"}))
    report = run_codec_suite(codec, clips[:2], tmp_path, scorers=Scorers(), suite=usage)
    assert report.text().startswith("usage\n  prosody: ")
    usage_of = report.to_json()["extra"]["usage"]["codebooks"]
    assert len(usage_of) == codec.quantizer.codebooks
    assert all(0 < one["used"] <= 1 <= one["perplexity"] for one in usage_of.values())
    with pytest.raises(DataError, match="no clips"):
        run_codec_suite(codec, [], tmp_path, scorers=Scorers(), suite=usage)


def test_what_cannot_be_measured_is_a_note(
    clips: list[EvalClip], codec: FACodec, tmp_path: Path
) -> None:
    suite = CodecSuite(sections=frozenset({"probes", "swaps"}), aligner=tmp_path)
    report = run_codec_suite(codec, clips[:2], tmp_path, scorers=Scorers(), suite=suite)
    assert [note.split(" left out: ")[0] for note in report.notes] == ["probes", "swaps"]
    suite = CodecSuite(sections=frozenset({"probes", "swaps"}), aligner=ALIGNER)
    report = run_codec_suite(codec, clips[:2], tmp_path, scorers=Scorers(), suite=suite)
    assert "two speakers" in report.notes[0]
    assert "donor" in report.notes[1]


class _Plain:
    """A codec of an unknown kind: it has no embeddings to show."""

    sample_rate_hz = 16000
    hop_samples = 320
    quantizer = QuantizerConfig(codebook_size=4)
    timbre_channels = voice_channels = 1
    voice_widths = (1,)
    phone_symbols: tuple[str, ...] = ()

    def phone_logits(self, content_BKF: Tensor) -> Tensor:
        return torch.zeros(*content_BKF.shape[::2], 1)

    def code_vectors(self) -> list[Tensor]:
        return [torch.eye(4)] * self.quantizer.codebooks

    def quiet(self, timbre_D: Tensor) -> Tensor:
        return timbre_D

    def to(self, device: str | torch.device) -> _Plain:
        return self

    def encode(self, wave_T: Tensor, f0_G: Tensor | None = None) -> tuple[Codes, Tensor]:
        frames = -(-len(wave_T) // 320)
        rows = torch.arange(frames)[None] % 4
        codes = Codes(prosody_KF=rows, content_KF=rows.expand(2, -1), detail_KF=rows.expand(3, -1))
        return codes, wave_T[:1]

    def decode(
        self,
        codes: Codes,
        timbre_D: Tensor,
        rng: torch.Generator,
        *,
        without: Collection[str] = (),
    ) -> Tensor:
        return torch.full((320 * codes.frames,), 0.05 if "detail" in without else 0.1)

    def encode_batch(
        self, waves: Sequence[Tensor], f0s: Sequence[Tensor] | None = None, *, whole: bool = True
    ) -> list[tuple[Codes, Tensor]]:
        return [self.encode(wave_T) for wave_T in waves]

    def decode_batch(
        self,
        codes: Sequence[Codes],
        timbre_BD: Tensor,
        rngs: Sequence[torch.Generator],
        *,
        without: Collection[str] = (),
    ) -> list[Tensor]:
        return [
            self.decode(item, timbre_D, rng, without=without)
            for item, timbre_D, rng in zip(codes, timbre_BD, rngs, strict=True)
        ]


def test_any_codec_is_reported(clips: list[EvalClip], tmp_path: Path) -> None:
    plain: Codec = _Plain()
    suite = CodecSuite(
        sections=frozenset(SECTIONS) - {"baselines", "swaps", "pictures"}, aligner=ALIGNER, limit=1
    )
    report = run_codec_suite(plain, clips[:2], tmp_path, scorers=Scorers(), suite=suite)
    assert list(report.summary) == ["recordings", "codec", "codec, no detail"]
    assert any("does not show the embeddings" in note for note in report.notes)
    assert report.to_json()["extra"]["rate"]["rates"][0]["kbps"] == pytest.approx(0.6, rel=0.05)
    plain.sample_rate_hz = 24000  # type: ignore[misc]
    with pytest.raises(DataError, match="24000"):
        run_codec_suite(plain, clips[:2], tmp_path, scorers=Scorers(), suite=suite)


def test_parts_are_exchanged_and_embedded(clips: list[EvalClip], codec: FACodec) -> None:
    short, long = code_clips(codec, [clips[0], clips[3]], lambda _: None)
    mixed = exchange(short.codes, long.codes, "content")
    assert torch.equal(mixed.content_KF, long.codes.content_KF[:, : short.codes.frames])
    assert torch.equal(mixed.prosody_KF, short.codes.prosody_KF)
    shown = embeddings(codec, short.codes)
    size = (short.codes.frames, TINY_CODEC.channels)
    assert list(shown) == ["prosody", "content", "detail"]
    assert all(z_FD.shape == size for z_FD in shown.values())


def test_donors_are_strangers_that_last_as_long(clips: list[EvalClip], codec: FACodec) -> None:
    pairs = swap_pairs(code_clips(codec, clips, lambda _: None), None)
    assert pairs
    for pair in pairs:
        assert pair.a.clip.speaker != pair.b.clip.speaker
        assert pair.b.codes.frames >= pair.a.codes.frames
    assert len(swap_pairs([pair.a for pair in pairs], 2)) == 2
    pair = pairs[0]
    plain = swapped(codec, pair, "nothing", 0)
    assert torch.equal(plain, swapped(codec, pair, "nothing", 0))
    for part in ("timbre", "prosody", "content", "detail"):
        other = swapped(codec, pair, part, 0)
        assert len(other) == len(pair.a.clip.wave_T)
        assert not torch.equal(other, plain)


def test_swap_measures() -> None:
    rising_G, falling_G = torch.linspace(100, 200, 50), torch.linspace(200, 100, 50)
    assert contour_correlation(rising_G, 2 * rising_G) == pytest.approx(1.0)
    correlation = contour_correlation(rising_G, falling_G)
    assert correlation is not None
    assert correlation < -0.9
    assert contour_correlation(rising_G, torch.zeros(50)) is None
    assert contour_correlation(rising_G, torch.full((50,), 90.0)) is None
    flat = [torch.full((20,), hz) for hz in (100.0, 200.0, 141.42)]
    assert register_share(flat[2], flat[0], flat[1]) == pytest.approx(0.5, abs=1e-3)
    assert register_share(flat[2], flat[0], flat[0]) is None
    assert register_share(torch.zeros(20), flat[0], flat[1]) is None
    heard_H = torch.tensor([1, 1, 2, 0, 3])
    assert phone_agreement(heard_H, torch.tensor([1, 2, 2, 0])) == pytest.approx(2 / 3)
    assert phone_agreement(heard_H, torch.zeros(5)) == 0.0


def test_labels_lie_on_the_code_frames(phones: PhoneReader, clips: list[EvalClip]) -> None:
    clip = clips[0]
    coarse, fine = frame_labels(clip, 320, phones), frame_labels(clip, 200, phones)
    assert [len(one.phone_F) for one in (coarse, fine)] == [50, 80]
    assert set(coarse.phone_F.tolist()) == set(fine.phone_F.tolist())
    assert float(fine.voiced_F.float().mean()) > 0.8
    voiced_F = coarse.contour_F[~coarse.contour_F.isnan()]
    assert float(voiced_F.abs().median()) < 0.3
    assert coarse.mel_FM.shape == (50, 80)
    unknown = EvalClip(id="x", speaker="x", text="?!", wave_T=clip.wave_T)
    assert (frame_labels(unknown, 320, phones).phone_F == -1).all()
