"""Everything but speaking: help, data verbs, evaluation, bench, training, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

import speechkit
from speechkit import cli
from speechkit.core.checkpoint import load_checkpoint
from speechkit.data.align.model import Aligner, AlignerConfig, save_aligner
from speechkit.facodec.train import PHASES

from .conftest import RATE_HZ, Run, buzz

VERBS = (
    *("say", "swap", "voice", "convert", "codec", "prepare", "align", "encode"),
    *("train", "release", "eval", "bench", "convert-checkpoint", "watermark"),
)
MEASURES_OFF = ("--asr", "none", "--no-speaker", "--no-dnsmos")


def shell(*argv: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the program as a process of its own, with standard input as bytes."""
    return subprocess.run(
        [sys.executable, "-m", "speechkit", *map(str, argv)],
        input=stdin,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two speakers with two clips each, one of 5 s."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for speaker, pitch_hz in (("anna", 210.0), ("bob", 110.0)):
        for number, seconds in enumerate((5.0, 2.0)):
            file = f"{speaker}{number}.wav"
            soundfile.write(folder / file, buzz(seconds, pitch_hz), RATE_HZ)
            rows.append({"file": file, "text": "Hello there.", "speaker": speaker, "split": "eval"})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def packed(run: Run, corpus: Path, tmp_path: Path) -> Path:
    """The corpus in shards, made by `prepare`."""
    path = tmp_path / "packed.corpus"
    ran = run("prepare", corpus, "-o", path, "--splits", "all", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["clips"] == 4
    return path


def test_help_lists_the_verbs(run: Run) -> None:
    shown = run("--help")
    assert shown.code == 0
    assert all(verb in shown.out for verb in VERBS)
    for verb in VERBS:
        assert run(verb, "--help").code == 0
    assert run("--version").out.split() == ["speechkit", speechkit.__version__]
    assert "VERB" in run().error
    assert "sing" in run("sing").error
    assert "nothing to say" in run("say").error


@pytest.mark.parametrize(
    "argv",
    ["--help", "--version", "say --help", "convert --help", "voices", "say Hi. --prompt missing"],
)
def test_what_computes_nothing_imports_nothing_heavy(argv: str) -> None:
    code = (
        "import sys; from speechkit.cli import main; main(sys.argv[1:]);"
        "print({'torch', 'numpy', 'soundfile'} & set(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *argv.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "set()"


@pytest.mark.parametrize("verb", [verb for verbs in cli.VERBS.values() for verb in verbs])
def test_a_verb_alone_is_the_verb_among_all(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    helps = []
    for parser in (cli.build_parser(verb), cli.build_parser()):
        with pytest.raises(SystemExit):
            parser.parse_args([verb, "--help"])
        helps.append(capsys.readouterr().out)
    assert helps[0] == helps[1]


@pytest.mark.parametrize(
    ("argv", "foreign"),
    [
        ("say --prompt {prompt} --text Hi. -o {out}.wav --model {model}", "data.align cli.codec"),
        ("codec encode {prompt} -o {out}.skc", "diffusion data.align tts text.g2p watermark"),
        ("convert --source {prompt} --target {prompt} -o {out}.wav", "diffusion data.align tts"),
    ],
    ids=["say", "encode", "convert"],
)
def test_commands_import_what_they_need(
    argv: str, foreign: str, prompt: Path, model: Path, out: Path
) -> None:
    code = (
        "import sys; from speechkit.cli import main; code = main(sys.argv[2:]);"
        "names = {f'speechkit.{name}' for name in sys.argv[1].split()};"
        "assert not code and not names & set(sys.modules), names & set(sys.modules)"
    )
    words = argv.format(prompt=prompt, model=model, out=out.with_suffix("")).split()
    done = subprocess.run(
        [sys.executable, "-c", code, foreign, *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_processes_speak_and_fail_like_functions(model: Path, prompt: Path, out: Path) -> None:
    argv = ("say", "--prompt", prompt, "-o", out, "--model", model, "--json", "--text", "-")
    good = shell(*argv, stdin=b"Hello.")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["phones"][1] == "HH"
    written = out.read_bytes()
    bad = shell(*argv, stdin=b"")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert bad.stderr.splitlines() == [
        b"speechkit: error: The text is empty: give at least one word."
    ]
    assert out.read_bytes() == written


def test_prepare_reports_and_refuses(run: Run, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "my.corpus"
    ran = run("prepare", corpus, "-o", path, "--splits", "eval")
    assert ran.code == 0
    assert "hours" in ran.out
    assert (
        "other clips"
        in run("prepare", corpus, "-o", path, "--splits", "all", "--shard-clips", "1").error
    )
    assert "No clip is left" in run("prepare", corpus, "-o", tmp_path / "x.corpus").error
    assert "no corpus" in run("prepare", tmp_path / "no", "-o", path).error
    assert not (tmp_path / "x.corpus").exists()


def test_align_uses_a_trained_aligner(run: Run, packed: Path, tmp_path: Path) -> None:
    config = AlignerConfig(channels=16, blocks=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_aligner(tmp_path / "aligner", Aligner(config))
    ran = run("align", packed, "--model", tmp_path / "aligner", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["aligned"] == 4
    assert report["out"] == [str(packed)]
    assert (packed / "00000.alignment.safetensors").is_file()
    assert "prepare" in run("align", tmp_path / "no.corpus").error
    assert "give 1/1" in run("align", packed, "--shard", "2/1").error
    assert "nowhere" in run("align", packed, "--model", tmp_path / "nowhere").error


def test_align_trains_only_when_told_to(run: Run, packed: Path, tmp_path: Path) -> None:
    ran = run("align", packed, "--json")
    assert ran.code == 0, ran.err
    assert Path(json.loads(ran.out)["model"]).name == "aligner"
    assert not packed.with_suffix(".aligner").exists()
    assert "--train" in run("align", packed, "--minutes", "1").error
    assert "--model" in run("align", packed, "--model", tmp_path, "--train").error
    ran = run("align", packed, "--train", "--minutes", "0.01", "--run", tmp_path / "a", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["aligned"] == 4
    assert report["model"] == str(tmp_path / "a" / "last")


def test_encode_writes_codes(run: Run, packed: Path, model: Path) -> None:
    argv = ("encode", packed, "--codec", model / "codec")
    assert "align" in run(*argv).error
    ran = run(*argv, "--all", "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert (said["encoded"], said["clips"]) == (4, 4)
    assert (packed / "00000.codes.safetensors").is_file()
    assert "twice" in run("encode", packed, f"{packed}:2", "--all").error


def test_eval_prints_tables_and_reports(
    run: Run, packed: Path, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tts"
    common = ("--data", packed, *MEASURES_OFF)
    short = (*common, "--limit", "1", "--pause-texts", "1")
    ran = run("eval", "tts", "--model", model, "-o", folder, *short, "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert list(report["summary"]) == ["recordings", "codec", "tts"]
    assert report["extra"]["pauses of tts"]["clips"] == 1
    assert report["settings"]["trained"] is False
    assert json.loads((folder / "report.json").read_text()) == report
    assert len(list(folder.rglob("*.wav"))) == 2 + 3 + 1
    again = run("eval", "manifest", folder / "manifest.jsonl", *MEASURES_OFF, "-o", tmp_path)
    assert again.out.startswith("system")
    assert len(json.loads((tmp_path / "report.json").read_text())["clips"]) == 3
    staged = run("eval", "tts", "--model", model, "-o", folder, *short, "--by-stage", "--json")
    rows = list(json.loads(staged.out)["summary"])
    assert (rows[0], rows[1], rows[-1]) == ("recordings", "true codes", "all generated")
    argv = ("--codec", model / "codec", "-o", tmp_path / "codec", *common, "--limit", "1")
    ran = run("eval", "codec", *argv, "--skip", "probes", "swaps", "baselines", "pictures")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("system")
    assert "usage" in ran.out
    missing = run("eval", "tts", "--model", model, "-o", folder, "--data", tmp_path / "none.tar")
    assert "--data" in missing.error


def test_bench_times_stages(run: Run, model: Path, prompt: Path) -> None:
    argv = ("--prompt", prompt, "--model", model, "--runs", "1", "--steps=1")
    ran = run("bench", *argv, "--compare", "bfloat16", "--json")
    assert ran.code == 0, ran.err
    bench = json.loads(ran.out)
    assert [length["name"] for length in bench["lengths"]] == ["2 s", "5 s", "14 s"]
    assert bench["trained"] is False
    assert 0 < bench["first_sound"]["lasts_seconds"] < bench["batch"]["seconds"]
    assert bench["compared"]["batch"]["texts"] == bench["batch"]["texts"] == 8
    assert set(bench["agreement"]["forced"]) == {"prosody", "content", "detail"}
    assert 0 < bench["agreement"]["forced"]["detail"] <= 1


def test_bench_times_encoding_and_decoding_apart(run: Run, model: Path, prompt: Path) -> None:
    codec = model / "codec"
    ran = run("bench", "codec", "--prompt", prompt, "--codec", codec, "--runs=1", "--json")
    bench = json.loads(ran.out)
    assert bench["trained"] is False
    for length in bench["lengths"]:
        stages = length["stages_seconds_p50"]
        assert set(stages) == {"encode", "decode"}
        assert sum(stages.values()) <= length["real_time_factor_p50"] * length["seconds"] * 1.01


@pytest.mark.parametrize("model", ["aligner", "codec", "generator"])
def test_train_says_what_it_needs(run: Run, model: str, tmp_path: Path) -> None:
    shown = run("train", model, "--help")
    assert shown.code == 0
    assert "--minutes" in shown.out
    phase = ["acoustic"] if model == "codec" else []
    assert "--data" in run("train", model, *phase, "--out", "x").error
    assert "MODEL" in run("train").error
    codec = ["--codec", tmp_path] if model == "generator" else []
    missing = ("--data", tmp_path / "no.corpus", "--out", tmp_path / "run", "--steps", "1")
    assert "no.corpus" in run("train", model, *phase, *codec, *missing).error
    assert not (tmp_path / "run").exists()


def test_train_codec_knows_every_phase(run: Run, packed: Path, tmp_path: Path) -> None:
    shown = run("train", "codec", "--help").out
    assert all(phase in shown for phase in PHASES)
    given = ("--data", packed, "--out", tmp_path / "run", "--steps", "1")
    assert "vocoder" in run("train", "codec", "vocodr", *given).error


def test_a_model_is_trained_and_released(run: Run, packed: Path, tmp_path: Path) -> None:
    given = ("--data", packed, "--out", tmp_path / "run", "--steps", "1", "--device", "cpu")
    small = ("--set", "model.channels=16", "--set", "model.blocks=1")
    ran = run("train", "aligner", *given, *small, "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert (report["step"], report["finished"]) == (1, True)
    ran = run("release", tmp_path / "run" / "last", tmp_path / "models" / "aligner")
    assert ran.code == 0, ran.err
    released = load_checkpoint(tmp_path / "models" / "aligner")
    assert released.config["training"]["step"] == 1
    assert {t.dtype for t in released.state.values() if t.is_floating_point()} == {torch.float16}
    ran = run(
        *("release", tmp_path / "run" / "last", tmp_path / "models" / "aligner"),
        *("--training", '{"hours": 2}'),
    )
    assert load_checkpoint(tmp_path / "models" / "aligner").config["training"] == {"hours": 2}
    assert "JSON" in run("release", tmp_path, tmp_path / "x", "--training", "2").error


@pytest.mark.slow
def test_train_runs_under_torchrun(packed: Path, tmp_path: Path) -> None:
    """Two processes train; one reports."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    given = ("--data", packed, "--out", tmp_path / "run", "--steps", "2", "--device", "cpu")
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "speechkit", "train", "aligner", *map(str, given)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Finished after 2 steps") == 1
    assert (tmp_path / "run" / "last").is_dir()
