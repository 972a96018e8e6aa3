"""`say`, `swap` and `voice` on good input, with random weights."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import soundfile
import torch

from speechkit.core.results import Voice

from .conftest import RATE_HZ, Run, buzz

KEYS = {
    *("out", "seconds", "real_time_factor", "seed", "phones", "frames", "stages_seconds"),
    *("weights", "notes", "trained", "words"),
}
TEXT = "Hello, world."
LONG = "The ferry leaves at noon, and we are late. " * 9


def test_json_is_one_object_with_all_keys(run: Run, model: Path, prompt: Path, out: Path) -> None:
    ran = run(
        "say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model, "--json", "--seed=7"
    )
    said = json.loads(ran.out)
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 1
    assert set(said) >= KEYS
    assert said["seed"] == 7
    assert said["phones"] == ["^", "HH", "AH0", "L", "OW1", ",", "W", "ER1", "L", "D", ".", "$"]
    assert len(said["frames"]) == len(said["phones"])
    assert [word["label"] for word in said["words"]] == ["Hello", "world"]
    stages = {"duration", "prosody", "content", "detail", "decode", "watermark"}
    assert set(said["stages_seconds"]) == stages
    assert said["seconds"] == pytest.approx(soundfile.info(out).duration)
    assert soundfile.info(out).samplerate == said["sample_rate_hz"] == RATE_HZ


def test_plain_output_says_what_the_readme_promises(
    run: Run, model: Path, prompt: Path, out: Path
) -> None:
    ran = run("say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model)
    assert ran.code == 0
    for part in ("HH AH0 L OW1", "seconds", "real-time factor", "seed", str(out)):
        assert part in ran.out
    shown = run(
        "say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model, "--show-phones"
    )
    assert len(shown.out.splitlines()) == len(ran.out.splitlines()) + 1 + 12
    quiet = run("say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model, "--quiet")
    assert quiet.out == ""


def test_random_weights_are_called_untrained(
    run: Run, model: Path, prompt: Path, out: Path
) -> None:
    ran = run("say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model, "--json")
    assert "UNTRAINED" in ran.err
    assert json.loads(ran.out)["trained"] is False


def test_the_seed_decides_every_byte(run: Run, model: Path, prompt: Path, out: Path) -> None:
    def bytes_of(seed: int) -> bytes:
        assert not run(
            "say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model, "--seed", seed
        ).code
        return out.read_bytes()

    first = bytes_of(1)
    assert bytes_of(1) == first
    assert bytes_of(2) != first


def test_text_comes_from_stdin_and_from_files(
    run: Run, model: Path, prompt: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def phones(*source: str | Path) -> list[str]:
        ran = run("say", "--prompt", prompt, *source, "-o", out, "--model", model, "--json")
        spoken: list[str] = json.loads(ran.out)["phones"]
        return spoken

    given = phones("--text", TEXT)
    file = out.with_name("text.txt")
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode() + b"\r\n")
    assert phones("--text-file", file) == given
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert phones("--text", "-") == given


def test_long_text_reports_its_chunks(run: Run, model: Path, prompt: Path, out: Path) -> None:
    ran = run("say", "--prompt", prompt, "--text", LONG, "-o", out, "--model", model, "--json")
    lines = [line for line in ran.err.splitlines() if line.startswith("chunk ")]
    count = json.loads(ran.out)["phones"].count("^")
    numbers = [int(line.split()[1]) for line in lines]
    assert lines == [f"chunk {n} of {count}: duration" for n in numbers]
    # Short pieces may be drawn together: a line tells the last of them.
    assert len(numbers) > 1
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == count
    quiet = run("say", "--prompt", prompt, "--text", LONG, "-o", out, "--model", model, "--quiet")
    assert "chunk" not in quiet.err


def test_lexicon_speed_steps_and_transcript_are_heeded(
    run: Run, model: Path, prompt: Path, out: Path
) -> None:
    lexicon = out.with_name("lexicon.txt")
    lexicon.write_text("# how we say it\nworld W AH1 L\n\n")
    common = ("say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model, "--json")
    plain = json.loads(run(*common).out)
    slow = json.loads(run(*common, "--speed", "0.5", "--steps", "2").out)
    # The silence at the ends has a length of its own.
    assert slow["frames"][1:-1] == [2 * count for count in plain["frames"][1:-1]]
    told = json.loads(run(*common, "--lexicon", lexicon, "--transcript", "ah, ah").out)
    assert told["phones"][6:9] == ["W", "AH1", "L"]


def test_threads_are_set(run: Run, model: Path, prompt: Path, out: Path) -> None:
    before = torch.get_num_threads()
    try:
        argv = ("say", "--prompt", prompt, "--text", "Hi.", "-o", out, "--model", model)
        assert run(*argv, "--threads", "3").code == 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
def test_other_formats_are_written(
    run: Run, model: Path, prompt: Path, out: Path, suffix: str
) -> None:
    path = out.with_suffix(suffix)
    assert run("say", "--prompt", prompt, "--text", TEXT, "-o", path, "--model", model).code == 0
    assert soundfile.info(path).format == suffix[1:].upper()


def test_prompts_that_are_not_ideal_are_used_with_a_note(
    run: Run, model: Path, out: Path, tmp_path: Path
) -> None:
    long, clipped = tmp_path / "long.wav", tmp_path / "clipped.wav"
    soundfile.write(long, buzz(31.0), RATE_HZ)
    soundfile.write(clipped, (20 * buzz(2.0)).clip(-1, 1), RATE_HZ)
    for path, word in ((long, "of 31.0 s"), (clipped, "clipped")):
        argv = ("say", "--prompt", path, "--text", TEXT, "-o", out, "--model", model)
        notes = json.loads(run(*argv, "--json").out)["notes"]
        assert [word in note for note in notes if "watermark" not in note] == [True]
        assert f"speechkit: note: {notes[0]}" in run(*argv).err


def test_symbols_that_cannot_be_spoken_are_named(
    run: Run, model: Path, prompt: Path, out: Path
) -> None:
    text = "Hello \U0001f600 привет world"
    ran = run("say", "--prompt", prompt, "--text", text, "-o", out, "--model", model, "--json")
    assert ran.code == 0
    notes = json.loads(ran.out)["notes"]
    # Random weights may say too little to be marked, which is noted too.
    assert ["\U0001f600" in note for note in notes if "watermark" not in note] == [True]


def test_a_saved_voice_speaks_like_its_prompt(
    run: Run, model: Path, prompt: Path, out: Path
) -> None:
    saved = out.with_name("me.safetensors")
    ran = run("voice", prompt, "-o", saved, "--model", model, "--json")
    assert json.loads(ran.out)["out"] == str(saved)
    assert len(Voice.load(saved).prosody.phone_F) == 100
    assert run("say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model).code == 0
    direct = out.read_bytes()
    assert run("say", "--prompt", saved, "--text", TEXT, "-o", out, "--model", model).code == 0
    assert out.read_bytes() == direct


def test_swap_takes_each_attribute_from_its_prompt(
    run: Run, model: Path, prompt: Path, other_prompt: Path, out: Path
) -> None:
    def swapped(*flags: str | Path) -> bytes:
        argv = ("--text", TEXT, "-o", out, "--model", model)
        assert run("swap", "--timbre", prompt, *flags, *argv).code == 0
        return out.read_bytes()

    assert run("say", "--prompt", prompt, "--text", TEXT, "-o", out, "--model", model).code == 0
    plain = out.read_bytes()
    assert swapped() == plain
    assert swapped("--prosody", prompt, "--detail", prompt) == plain
    # With a transcript, as random phone heads read much the same off any recording.
    other = out.with_name("other.safetensors")
    transcript = ("--transcript", "Out of town.")
    assert run("voice", other_prompt, *transcript, "-o", other, "--model", model).code == 0
    for name in ("--prosody", "--duration", "--content", "--detail"):
        assert swapped(name, other) != plain, name
