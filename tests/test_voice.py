"""Voice files: round trips, and files that are no voices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechkit.core.errors import CheckpointError
from speechkit.core.results import VOICE_FORMAT, Voice, mix_voices
from speechkit.facodec.codec import codes_sign
from tests.diffusion.builders import random_voice
from tests.facodec.small.test_codec import fresh

META = {"format": VOICE_FORMAT, "codes": "", "notes": "[]"}
PARTS = ("duration", "prosody", "content", "detail")


def tensors(voice: Voice) -> list[Tensor]:
    return [voice.timbre_D, *(t for name in PARTS for t in vars(getattr(voice, name)).values())]


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), frames=st.integers(1, 60), note=st.text(max_size=20))
def test_a_saved_voice_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, frames: int, note: str
) -> None:
    path = tmp_path_factory.mktemp("voice") / "anna.voice"
    voice = replace(random_voice(seed, frames), notes=(note, "ends here"), codes="0f" * 8)
    voice.save(path)
    loaded = Voice.load(path)
    assert loaded.notes == voice.notes
    assert loaded.codes == voice.codes
    assert all(map(torch.equal, tensors(voice), tensors(loaded)))
    assert [t.dtype for t in tensors(voice)] == [t.dtype for t in tensors(loaded)]
    assert list(path.parent.iterdir()) == [path]


def test_attributes_that_share_tensors_can_be_saved(tmp_path: Path) -> None:
    voice = random_voice(0)
    shared = replace(voice, content=voice.prosody, detail=voice.prosody)
    shared.save(tmp_path / "v")
    assert torch.equal(Voice.load(tmp_path / "v").detail.codes_KF, voice.prosody.codes_KF)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_voice_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "v"
    random_voice(0).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="voice file"):
        Voice.load(path)


@pytest.mark.parametrize("data", [b"", b"RIFF....WAVE", b"\x80\x04K\x01.", b"\xff" * 64, b"{}"])
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "v").write_bytes(data)
    with pytest.raises(CheckpointError, match="voice file"):
        Voice.load(tmp_path / "v")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(CheckpointError, match="voice file"):
            Voice.load(path)


def rewritten(path: Path, **changes: Tensor | None) -> Path:
    """A voice file with tensors changed or left out; dots written as two underscores."""
    random_voice(0).save(path)
    stored = load_file(path)
    for key, value in changes.items():
        name = key.replace("__", ".")
        del stored[name]
        if value is not None:
            stored[name] = value
    save_file(stored, path, metadata=META)
    return path


@pytest.mark.parametrize("name", ["timbre_D", "duration__frames_P", "content__codes_KF"])
def test_a_voice_with_a_part_missing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Voice.load(rewritten(tmp_path / "v", **{name: None}))


def test_a_voice_that_does_not_say_its_codec_is_refused(tmp_path: Path) -> None:
    random_voice(0).save(tmp_path / "v")
    stored = load_file(tmp_path / "v")
    save_file(stored, tmp_path / "v", {"format": "speechkit-voice-2", "notes": "[]"})
    with pytest.raises(CheckpointError, match="again from its recording"):
        Voice.load(tmp_path / "v")


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "v")
    with pytest.raises(CheckpointError, match="make it again"):
        Voice.load(tmp_path / "v")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timbre_D", torch.zeros(2, 6)),
        ("timbre_D", torch.full((12,), torch.nan)),
        ("duration__frames_P", torch.tensor([1])),
        ("timbre_D", torch.zeros(0)),
        ("timbre_D", torch.zeros(12, dtype=torch.int64)),
        ("duration__frames_P", torch.full((80,), -1)),
        ("duration__phones_P", torch.zeros(0, dtype=torch.int64)),
        ("content__phone_F", torch.full((80,), -1)),
        ("prosody__codes_KF", torch.zeros(6, 3, dtype=torch.int64)),
        ("prosody__codes_KF", torch.full((6, 80), 0.5)),
        ("detail__phone_F", torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_a_voice_whose_parts_disagree_is_refused(tmp_path: Path, name: str, value: Tensor) -> None:
    with pytest.raises(CheckpointError):
        Voice.load(rewritten(tmp_path / "v", **{name: value}))


def test_empty_durations_are_refused(tmp_path: Path) -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    path = rewritten(tmp_path / "v", duration__frames_P=nothing, duration__phones_P=nothing)
    with pytest.raises(CheckpointError, match=r"v is a damaged voice \(duration\)"):
        Voice.load(path)


def test_notes_of_another_kind_are_refused_or_read_as_text(tmp_path: Path) -> None:
    random_voice(0).save(tmp_path / "v")
    stored = load_file(tmp_path / "v")
    save_file(stored, tmp_path / "v", META | {"notes": "[1, 2]"})
    assert Voice.load(tmp_path / "v").notes == ("1", "2")
    save_file(stored, tmp_path / "v", META | {"notes": "7"})
    with pytest.raises(CheckpointError, match="damaged"):
        Voice.load(tmp_path / "v")


def test_mixing_takes_each_attribute_from_its_voice() -> None:
    a, b = random_voice(0), random_voice(1)
    assert mix_voices(a) == a
    for name in PARTS:
        mixed = mix_voices(a, **{name: b})
        assert getattr(mixed, name) is getattr(b, name)
        assert mixed.timbre_D is a.timbre_D
        assert all(getattr(mixed, other) is getattr(a, other) for other in PARTS if other != name)
    everything = mix_voices(a, duration=b, prosody=b, content=b, detail=b)
    assert all(getattr(everything, name) is getattr(b, name) for name in PARTS)


def test_voices_of_several_codecs_are_not_mixed() -> None:
    a, b = (replace(random_voice(n), codes=str(n) * 16) for n in range(2))
    assert mix_voices(a, prosody=replace(b, codes="")).codes == a.codes
    with pytest.raises(CheckpointError, match="several codecs"):
        mix_voices(a, prosody=b)


def test_half_precision_and_another_decoder_leave_the_sign_of_codes() -> None:
    codec, changed = fresh(), fresh()
    with torch.no_grad():
        for name, weight in changed.named_parameters():
            if name.startswith("decoder"):
                weight.add_(1.0)
    assert codes_sign(codec) == codes_sign(changed) == codes_sign(changed.half())
