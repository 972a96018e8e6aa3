"""BEST-RQ pre-training (Chiu et al. 2022): name the random code of each masked frame.

A random projection and a random codebook, which never learn, give each frame of normalised log-mel
a code; no k-means pass is needed before. Here as there, both vectors are brought to length one and
the nearest entry is the code. Unlike there, what is hidden becomes the mask vector behind the
convolutions, as in HuBERT, and not noise before them.

Shapes: B batch, T samples, G mel frames (100/s), M mel bands, F frames, S stacked bands of a frame,
D width of a code, V codebook entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechkit.core.mel import LogMel, MelConfig
from speechkit.core.rng import derive, generator, seeded
from speechkit.ssl.batch import PretrainBatch
from speechkit.ssl.config import MEL_HOP_SAMPLES, BestRqConfig
from speechkit.ssl.encoder import SslEncoder, build_encoder
from speechkit.ssl.frontend import normalise
from speechkit.ssl.hubert import naming_losses


class RandomProjectionQuantizer(nn.Module):
    """Log-mel to codes by a projection and a codebook that are drawn once (section 3.1).

    Both are buffers: saved with the model, never trained.
    """

    projection_SD: Tensor
    codebook_VD: Tensor

    def __init__(self, config: BestRqConfig, seed: int) -> None:
        super().__init__()
        self.hop_frames = config.encoder.hop_samples // MEL_HOP_SAMPLES
        self.log_mel = LogMel(MelConfig(hop_length=MEL_HOP_SAMPLES))
        stacked = self.hop_frames * self.log_mel.config.n_mels
        rng = generator(derive(seed, "bestrq codebook"))
        # Xavier's initialisation, and entries of length one.
        bound = (6.0 / (stacked + config.code_dim)) ** 0.5
        projection_SD = torch.empty(stacked, config.code_dim).uniform_(-bound, bound, generator=rng)
        entries_VD = torch.empty(config.codebook_size, config.code_dim).normal_(generator=rng)
        self.register_buffer("projection_SD", projection_SD)
        self.register_buffer("codebook_VD", functional.normalize(entries_VD, dim=-1))

    @torch.no_grad()
    def forward(self, wave_BT: Tensor, frames: int) -> Tensor:
        """Return codes_BF int64 of the first ``frames`` hops of waves that nothing is padded in."""
        with torch.autocast(wave_BT.device.type, enabled=False):
            mel_BMG = self.log_mel(wave_BT.float())
            mel_BMG = normalise(mel_BMG, [mel_BMG.shape[-1]] * len(mel_BMG))
            # The last hop may end behind the wave: what is missing is the mean of its band, 0.
            missing = max(frames * self.hop_frames - mel_BMG.shape[-1], 0)
            mel_BMG = functional.pad(mel_BMG, (0, missing))[..., : frames * self.hop_frames]
            stacked_BFS = mel_BMG.transpose(1, 2).reshape(len(mel_BMG), frames, -1)
            code_BFD = functional.normalize(stacked_BFS @ self.projection_SD, dim=-1)
            # Of vectors of length one, the nearest is that of the largest cosine.
            return (code_BFD @ self.codebook_VD.T).argmax(dim=-1)


class BestRqPretrainer(nn.Module):
    """Encoder, the random quantiser, and a linear layer that names codes."""

    def __init__(self, config: BestRqConfig, encoder: SslEncoder, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.quantizer = RandomProjectionQuantizer(config, seed)
        self.final_proj = nn.Linear(config.encoder.model_dim, config.codebook_size)

    def forward(self, batch: PretrainBatch) -> dict[str, Tensor]:
        """Return the losses of a batch, see `counted`.

        Where the batch has a clean wave, the codes are those of it.
        """
        config = self.config
        features = self.encoder.features(batch.wave_BT)
        x_BFD = self.encoder.project(features, batch.masked_BF)
        x_BFD = self.encoder.transform(x_BFD, features.frames_B)
        clean_BT = batch.wave_BT if batch.clean_BT is None else batch.clean_BT
        codes_BF = self.quantizer(clean_BT, batch.masked_BF.shape[1])
        result = naming_losses(
            self.final_proj(x_BFD).float(),
            codes_BF,
            batch.masked_BF,
            {"masked": 1.0, "seen": config.seen_weight},
        )
        return {**result, "figure/codebook_use": _used_share(codes_BF, config.codebook_size)}


def _used_share(codes_BF: Tensor, size: int) -> Tensor:
    """Return the entries that occur in a batch, as a share of the most that could.

    That is all entries, or as many as there are frames where those are fewer.
    """
    codes_N = codes_BF.flatten()
    use_V = torch.zeros(size, device=codes_N.device).scatter(0, codes_N, 1.0)
    return use_V.sum() / min(size, len(codes_N))


def build_bestrq(config: BestRqConfig, seed: int = 0) -> BestRqPretrainer:
    """Return a model with random weights, the same for the same seed."""
    encoder = build_encoder(config.encoder, seed)
    with seeded(derive(seed, "bestrq")):
        return BestRqPretrainer(config, encoder, seed)
