"""A shard gives back what was put in, and nothing else gets past its checks."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from speechkit.core.errors import DataError
from speechkit.data.packed import ClipInfo, PackedClip, PackedCorpus, write_packed

TEXTS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


def make_clip(name: str, samples: int, seed: int = 0, **fields: Any) -> PackedClip:
    rng = np.random.default_rng(seed)
    info = ClipInfo(
        id=name,
        text=fields.get("text", "hello"),
        speaker=fields.get("speaker", "anna"),
        language="en",
        license="CC0-1.0",
        split="train",
        source=f"{name}.wav",
    )
    f0_F = rng.uniform(60, 500, -(-samples // 160)).astype(np.float32)
    f0_F[rng.random(len(f0_F)) < 0.5] = 0
    pcm_T = rng.integers(-32768, 32768, samples).astype(np.int16)
    return PackedClip(info=info, pcm_T=pcm_T, f0_F=f0_F)


@given(
    rows=st.lists(st.tuples(st.integers(0, 2000), TEXTS, st.sampled_from("abc")), min_size=1),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_what_is_packed_is_read(rows: list[tuple[int, str | None, str]], seed: int) -> None:
    clips = [
        make_clip(f"clip {index}", samples, seed + index, text=text, speaker=speaker)
        for index, (samples, text, speaker) in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus.safetensors")
        write_packed(path, iter(clips))
        corpus = PackedCorpus(path)
        assert [file.name for file in Path(folder).iterdir()] == [path.name]
        assert len(corpus) == len(clips)
        for index, clip in enumerate(clips):
            assert corpus.clips[index] == clip.info
            assert corpus.samples(index) == len(clip.pcm_T)
            assert corpus.speakers[corpus.speaker(index)] == clip.info["speaker"]
            np.testing.assert_array_equal(corpus.wave(index).numpy() * 32768, clip.pcm_T)
            np.testing.assert_array_equal(
                corpus.f0(index).numpy(), clip.f0_F.astype(np.float16).astype(np.float32)
            )
        assert sorted(corpus.speakers) == sorted({row[2] for row in rows})


@given(start=st.integers(-50, 500), length=st.one_of(st.none(), st.integers(-20, 600)))
@settings(max_examples=40, deadline=None)
def test_a_part_is_the_slice_of_the_whole(
    start: int, length: int | None, packed_once: PackedCorpus
) -> None:
    stop = None if length is None else start + length
    low, high = max(start, 0), 400 if stop is None else max(stop, 0)
    np.testing.assert_array_equal(
        packed_once.wave(1, start, stop).numpy(), packed_once.wave(1).numpy()[low:high]
    )


@pytest.fixture(scope="module")
def packed_once(tmp_path_factory: pytest.TempPathFactory) -> PackedCorpus:
    path = tmp_path_factory.mktemp("packed") / "corpus.safetensors"
    write_packed(path, [make_clip("a", 333), make_clip("b", 400), make_clip("c", 1)])
    return PackedCorpus(path)


def test_safetensors_reads_the_file_too(packed_once: PackedCorpus) -> None:
    arrays = load_file(packed_once.path)
    assert arrays["audio_S"].dtype == np.int16
    assert arrays["f0_G"].dtype == np.float16
    assert arrays["audio_offsets_N1"].tolist() == [0, 333, 733, 734]


def test_audio_stays_on_disk_until_it_is_asked_for(packed_once: PackedCorpus) -> None:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("only Linux lists what a process has mapped")
    assert len(packed_once.wave(0))
    assert str(packed_once.path) in maps.read_text()


def test_another_process_opens_the_file_anew(packed_once: PackedCorpus) -> None:
    sent = ForkingPickler.dumps(packed_once)
    assert len(sent) < 1000
    there = ForkingPickler.loads(sent)
    assert there.clips[1] == packed_once.clips[1]
    assert there.wave(1).tolist() == packed_once.wave(1).tolist()


@pytest.mark.parametrize("clip", [-1, 3])
def test_a_clip_outside_is_an_index_error(packed_once: PackedCorpus, clip: int) -> None:
    for read in (packed_once.wave, packed_once.f0, packed_once.samples, packed_once.speaker):
        with pytest.raises(IndexError):
            read(clip)


def test_reading_needs_only_torch_numpy_and_safetensors() -> None:
    heavy = "soundfile, soxr, lhotse, pyworld, librosa, torchaudio, fairseq2, speechkit.core.audio"
    code = (
        "import sys, speechkit.data.packed\n"
        f"found = [n for n in '{heavy}'.split(', ') if n in sys.modules]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    "clips",
    [
        [],
        [make_clip("a", 320), make_clip("a", 320)],
        [PackedClip(info=make_clip("a", 9).info, pcm_T=np.zeros(320, np.int16), f0_F=np.zeros(3))],
        [
            PackedClip(
                info=make_clip("a", 9).info,
                pcm_T=np.zeros(320, np.float32),
                f0_F=np.zeros(2),
            )
        ],
        [
            make_clip("a", 320),
            PackedClip(info=make_clip("b", 9).info, pcm_T=np.zeros(9, np.int16), f0_F=np.zeros(0)),
        ],
    ],
    ids=["none", "same id", "pitch of another length", "float samples", "pitch of one alone"],
)
def test_what_does_not_fit_leaves_the_old_file(tmp_path: Path, clips: list[PackedClip]) -> None:
    path = tmp_path / "corpus.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(DataError):
        write_packed(path, clips)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def _header_edit(edit: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    """Return a function that rewrites the header of a packed file with `edit`."""

    def rewrite(data: bytes) -> bytes:
        length = struct.unpack("<Q", data[:8])[0]
        table = json.loads(data[8 : 8 + length])
        edit(table)
        text = json.dumps(table).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return rewrite


def _metadata(**fields: Any) -> Callable[[bytes], bytes]:
    return _header_edit(lambda table: table["__metadata__"].update(fields))


def _array(name: str, **fields: Any) -> Callable[[bytes], bytes]:
    return _header_edit(lambda table: table[name].update(fields))


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "seven bytes": lambda data: data[:7],
    "cut in the header": lambda data: data[:100],
    "cut in the samples": lambda data: data[:-40],
    "header bomb": lambda data: struct.pack("<Q", 2**62) + data[8:],
    "header of length 0": lambda data: struct.pack("<Q", 0) + data[8:],
    "no JSON": lambda data: data[:8] + b"\xff" + data[9:],
    "nested without end": lambda data: struct.pack("<Q", 200_000) + b"[" * 200_000,
    "a list": lambda data: struct.pack("<Q", 2) + b"[]",
    "another format": _metadata(format="somebody-else-1"),
    "no metadata": _header_edit(lambda table: table.pop("__metadata__")),
    "a tensor missing": _header_edit(lambda table: table.pop("f0_G")),
    "wrong dtype": _array("audio_S", dtype="F32"),
    "negative shape": _array("audio_S", shape=[-1]),
    "absurd shape": _array("audio_S", shape=[2**60], data_offsets=[0, 2**61]),
    "two dimensions": _array("audio_S", shape=[2, 3]),
    "shape of text": _array("audio_S", shape="734"),
    "descriptions elsewhere": _array("infos_U", shape=[1], data_offsets=[0, 1]),
    "no speakers": _metadata(speakers=None),
    "speakers not JSON": _metadata(speakers="["),
    "speakers not a list": _metadata(speakers="{}"),
    "no hash": _metadata(ids_sha256=None),
    "fewer speakers": _metadata(speakers="[]"),
    "speaker without a name": _metadata(speakers="[1]"),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_a_data_error(
    break_it: Callable[[bytes], bytes], packed_once: PackedCorpus, tmp_path: Path
) -> None:
    path = tmp_path / "corpus.safetensors"
    path.write_bytes(break_it(packed_once.path.read_bytes()))
    with pytest.raises(DataError, match="prepare"):
        PackedCorpus(path)


@pytest.mark.parametrize("text", [b'{"id": "a"}', b"[1]", b"{", b"\xff\xff"])
def test_a_broken_description_is_a_data_error(
    text: bytes, packed_once: PackedCorpus, tmp_path: Path
) -> None:
    path = tmp_path / "corpus.safetensors"
    data = packed_once.path.read_bytes()
    whole = json.dumps(packed_once.clips[0]).encode()
    assert data.count(whole) == 1
    path.write_bytes(data.replace(whole, text.ljust(len(whole))))
    with pytest.raises(DataError, match="description"):
        PackedCorpus(path)


@given(cut=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_every_truncation_is_a_data_error(cut: int, packed_once: PackedCorpus) -> None:
    data = packed_once.path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus.safetensors")
        path.write_bytes(data[: cut % len(data)])
        with pytest.raises(DataError):
            PackedCorpus(path)


@pytest.mark.parametrize("values", [[0, 400, 333, 734], [1, 333, 733, 734], [0, 333, 733, 735]])
def test_offsets_that_do_not_fit_are_a_data_error(
    values: list[int], packed_once: PackedCorpus, tmp_path: Path
) -> None:
    data = bytearray(packed_once.path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    data[start : start + 32] = np.asarray(values, "<i8").tobytes()
    path = tmp_path / "corpus.safetensors"
    path.write_bytes(data)
    with pytest.raises(DataError, match="offsets|pitch"):
        PackedCorpus(path)


@pytest.mark.parametrize("name", ["missing.safetensors", "."])
def test_no_file_is_a_data_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no packed corpus"):
        PackedCorpus(tmp_path / name)
