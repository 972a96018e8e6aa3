"""Everything on one device: what runs on CUDA where there is one, and on the meta device here.

A tensor that is made on the CPU in the middle meets one of the meta device, and torch raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from speechkit.conversion import VoiceConverter
from speechkit.core.rng import generator
from speechkit.diffusion.denoiser import DenoiserInputs
from speechkit.facodec.small.base import Acoustics
from speechkit.facodec.small.codec import Analysis
from speechkit.facodec.stream import decode_stream, encode_long
from speechkit.swap import swap_recording
from speechkit.tts import ZeroShotTTS
from tests.diffusion.builders import live_generator, random_voice
from tests.facodec.builders import babble
from tests.facodec.paper import builders as paper
from tests.facodec.test_stream import INVERSE_STFT, built, random_codes
from tests.tiny import TINY_CODEC

META = torch.device("meta")
TEXTS = ("Hello there, world.", "No.", "We went to the sea and came home again.", "Yes!")


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=META)


def small_decoder(stft: bool) -> Tensor:
    codec = built(INVERSE_STFT if stft else TINY_CODEC).to(META)
    lengths_B, keep_BF1 = zeros(2, dtype=torch.long) + 20, zeros(2, 20, 1) > 0
    mel_BMG = codec.decode_mel(zeros(2, 20, 16), zeros(2, 12), keep_BF1)
    driven = codec.excite(zeros(2, 40) + 100, zeros(2, 40), generator(0))
    heard = Acoustics(
        mel_BMG=mel_BMG, f0_BG=zeros(2, 40), voiced_BG=zeros(2, 40), lengths_B=2 * lengths_B
    )
    return codec.speak(heard, driven)


def small_encoder() -> Tensor:
    codec = built(TINY_CODEC).to(META)
    analysis = Analysis(
        mel_BMG=codec.mel(zeros(2, 6_400)),
        contour_BG=zeros(2, 40),
        voiced_BG=zeros(2, 40),
        median_B=zeros(2),
    )
    assert codec.timbre(analysis).device == META
    return codec.quantize(analysis).codes()


def paper_codec(version: Literal["v1", "v2"]) -> Tensor:
    codec = paper.codec(replace(paper.TINY, version=version)).to(META)
    lengths_B, wave_BT = zeros(2, dtype=torch.long) + 5, zeros(2, 400)
    hidden_BDF = codec.encoder(wave_BT, 40 * lengths_B)
    mel_BMF = None if codec.prosody_mel is None else codec.prosody_mel(wave_BT)
    keep_BF = zeros(2, 10) > 0
    parts = codec.quantize(hidden_BDF, mel_BMF, keep_BF=keep_BF, each_alone=True)
    timbre_BD = codec.timbre(hidden_BDF, keep_BF=keep_BF, each_alone=True)
    return codec.generate(codec.embed(parts.codes()), timbre_BD, lengths_B)


def denoiser() -> Tensor:
    network = live_generator().frame.to(META)
    whole, flags = zeros(2, 30, dtype=torch.long), zeros(2, 30) > 0
    hidden_BLE = network(
        DenoiserInputs(
            phones_BL=whole,
            position_BL2=zeros(2, 30, 2),
            codes_BKL=zeros(2, 6, 30, dtype=torch.long),
            stage_B=zeros(2, dtype=torch.long),
            time_B=zeros(2),
            prompt_BL=flags,
            keep_BL=flags,
            timbre_BD=zeros(2, 12),
        )
    )
    return network.logits(hidden_BLE[0], zeros(6, 30, dtype=torch.long), 2, 1)


NETWORKS: dict[str, Callable[[], Tensor]] = {
    "source-filter decoder": lambda: small_decoder(stft=False),
    "inverse-STFT decoder": lambda: small_decoder(stft=True),
    "small encoder": small_encoder,
    "V1": lambda: paper_codec("v1"),
    "V2": lambda: paper_codec("v2"),
    "denoiser": denoiser,
}


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_stay_on_their_device(network: str) -> None:
    with torch.no_grad():
        assert NETWORKS[network]().device == META


def test_torch_refuses_to_mix_devices() -> None:
    with pytest.raises(RuntimeError, match="device"):
        zeros(3) + torch.zeros(3, device="cpu")


@pytest.fixture
def pair() -> tuple[ZeroShotTTS, ZeroShotTTS]:
    """The same model on the CPU and on CUDA, both exact."""
    cpu, cuda = (ZeroShotTTS(built(TINY_CODEC), live_generator()) for _ in range(2))
    return cpu, cuda.to("cuda", "float32")


@pytest.mark.gpu
def test_cuda_speaks_batches_as_single_texts(pair: tuple[ZeroShotTTS, ZeroShotTTS]) -> None:
    cuda, voices = pair[1], [random_voice(n) for n in range(4)]
    together = cuda.synthesize_batch(TEXTS, voices, seeds=range(4), steps=2, watermark=None)
    for n, speech in enumerate(together):
        alone = cuda.synthesize(TEXTS[n], voices[n], seed=n, steps=2, watermark=None)
        assert (speech.frames, speech.wave_T.device.type) == (alone.frames, "cpu")
        torch.testing.assert_close(speech.wave_T, alone.wave_T, atol=1e-3, rtol=0)


@pytest.mark.gpu
def test_cuda_codes_and_decodes_as_the_cpu(pair: tuple[ZeroShotTTS, ZeroShotTTS]) -> None:
    cpu, cuda = (tts.codec for tts in pair)
    wave_T = torch.from_numpy(babble(2.0))
    codes, timbre_D = cpu.encode(wave_T)
    found, found_D = cuda.encode(wave_T)
    assert float((found.to("cpu").stacked() == codes.stacked()).float().mean()) > 0.98
    torch.testing.assert_close(found_D.cpu(), timbre_D, atol=1e-3, rtol=0)
    # Draws from a generator on the CPU are the same for both.
    made = cuda.decode(codes, timbre_D, generator(0)).cpu()
    torch.testing.assert_close(made, cpu.decode(codes, timbre_D, generator(0)), atol=1e-2, rtol=0)
    long = decode_stream(
        cuda, random_codes(1_600), timbre_D, generator(0), whole_seconds=0, block_seconds=5
    )
    assert {wave_T.device.type for wave_T in long} == {"cpu"}
    assert encode_long(cuda, wave_T, whole_seconds=0, block_seconds=1)[0].frames == codes.frames


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_cuda_streams_swaps_and_converts(
    pair: tuple[ZeroShotTTS, ZeroShotTTS], dtype: str, tmp_path: Path
) -> None:
    cuda, wave_T = pair[1].to(dtype=dtype), torch.from_numpy(babble(2.0))
    voice = cuda.voice(wave_T)
    assert voice.timbre_D.device.type == "cpu"
    waves = list(cuda.stream(" ".join(TEXTS) * 3, voice, steps=1))
    assert bool(torch.cat(waves).isfinite().all())
    swap_recording(cuda, wave_T, prosody=random_voice(0), steps=1).save(tmp_path / "swap.wav")
    converter = VoiceConverter(cuda.codec)
    converter.convert(wave_T, wave_T, pitch_shift_semitones=1).save(tmp_path / "convert.wav")
