"""Recognisers against transformers' `…ForCTC`: logits, loss, greedy text.

Shapes: B batch, T samples, L letters, F frames, V classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from speechkit.ssl.ctc.characters import Characters
from speechkit.ssl.ctc.decoding import greedy_labels
from speechkit.ssl.ctc.model import CtcConfig, CtcModel, build_ctc, ctc_loss_sum
from speechkit.ssl.interop.transformers import Family
from tests.ssl.parity.references import difference, encoder_config, in_transformers, noise, stir


def recogniser() -> CtcModel:
    """A recogniser of English letters, LayerNorm in its convolutions."""
    model = build_ctc(CtcConfig(encoder=encoder_config("mixed")), Characters.english())
    stir(model)
    return model.eval()


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_loss_and_text_agree(family: Family, tmp_path: Path) -> None:
    import transformers

    model = recogniser()
    there = in_transformers(model, tmp_path, family=family)
    lengths = [32_000, 20_000]
    wave_BT = noise() * (torch.arange(32_000) < torch.tensor(lengths)[:, None])
    texts = ["HELLO THERE", "A BOOK'S END"]
    labels = [torch.tensor(model.characters.encode(text)) for text in texts]
    label_lengths_B = [len(row) for row in labels]
    labels_BL = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    attention = (torch.arange(32_000) < torch.tensor(lengths)[:, None]).long()
    with torch.no_grad():
        heard = model.posteriors(wave_BT, lengths)
        ours = ctc_loss_sum(heard, labels_BL.clamp(min=0), label_lengths_B)
        theirs = there(wave_BT, attention_mask=attention, labels=labels_BL)
    assert difference(ours, theirs.loss) <= 1e-6 * float(ours)
    by_hand = [
        functional.ctc_loss(
            heard.log_probability_BFV[row, :frames],
            labels[row],
            torch.tensor(frames),
            torch.tensor(label_lengths_B[row]),
            reduction="sum",
        )
        for row, frames in enumerate(heard.frames_B)
    ]
    assert difference(ours, torch.stack(by_hand).sum()) <= 1e-5 * float(ours)
    for row, frames in enumerate(heard.frames_B):
        log_FV = theirs.logits[row, :frames].log_softmax(dim=-1)
        assert difference(heard.log_probability_BFV[row, :frames], log_FV) <= 1e-4

    reader: Any = transformers.Wav2Vec2Processor
    processor = reader.from_pretrained(tmp_path)
    path_F = theirs.logits[0].argmax(dim=-1)
    best = greedy_labels(heard.log_probability_BFV[0])
    text = model.characters.decode(best)
    assert len(text) > 3
    # Theirs keeps the spaces of repeated word ends.
    assert " ".join(processor.decode(path_F).split()) == text
    assert (
        processor.tokenizer("HELLO THERE").input_ids == model.characters.encode("HELLO THERE")[:-1]
    )
    inputs = processor(wave_BT[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    assert torch.equal(inputs.input_values[0], wave_BT[0])
