"""Reading a prompt: its codes, its timbre, and which phone each frame is.

Shapes: T samples, F frames, P phones, V phone classes, C aligner classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechkit.core.errors import PromptError
from speechkit.core.results import Attribute, Rhythm, Voice
from speechkit.diffusion.duration import merge_repeats, regulate_length
from speechkit.facodec.recognition import recognise_phones
from speechkit.facodec.small.codec import FACodec
from speechkit.text.frames import FrameClasses
from speechkit.text.vocab import WORD_BOUNDARY, PhoneVocabulary


def read_voice(
    codec: FACodec,
    vocabulary: PhoneVocabulary,
    wave_T: Tensor,
    phones: tuple[str, ...] | None = None,
) -> Voice:
    """A voice with all attributes from one recording.

    Without `phones` they are read off the content codes by the codec's phone predictor; with them
    their times are found by forced alignment on the same posteriors. Raises PromptError when the
    recording cannot hold the phones, or holds no speech.
    """
    encoded, timbre_D = codec.encode(wave_T)
    logits_FV = codec.phone_logits(encoded.content_KF[None])[0].cpu()
    codes, timbre_D = encoded.to("cpu"), timbre_D.cpu()
    if phones is None:
        rhythm = recognise(logits_FV, codec.config.phone_symbols, vocabulary)
    else:
        rhythm = force(logits_FV, codec.config.phone_symbols, vocabulary, phones)
    pause = vocabulary.ids([WORD_BOUNDARY])[0]
    if bool((rhythm.phones_P == pause).all()):
        raise PromptError("No speech was found in the prompt: give a clear recording of a voice.")
    attribute = Attribute(
        codes_KF=codes.stacked(), phone_F=regulate_length(rhythm.phones_P, rhythm.frames_P)
    )
    return Voice(
        timbre_D=timbre_D, duration=rhythm, prosody=attribute, content=attribute, detail=attribute
    )


def recognise(logits_FV: Tensor, symbols: tuple[str, ...], vocabulary: PhoneVocabulary) -> Rhythm:
    """Phones and durations from frame posteriors; every pause is a word boundary."""
    phones_P, frames_P = merge_repeats(recognise_phones(logits_FV, symbols, vocabulary))
    return Rhythm(phones_P=phones_P, frames_P=frames_P)


def force(
    logits_FV: Tensor,
    symbols: tuple[str, ...],
    vocabulary: PhoneVocabulary,
    phones: tuple[str, ...],
) -> Rhythm:
    """Durations of given phones by forced alignment; raises PromptError if they do not fit."""
    # Here, because a voice without a transcript needs nothing of the aligner.
    from speechkit.data.align.graph import batch_graphs, build_graph, phone_classes
    from speechkit.data.align.viterbi import best_path, durations

    classes = phone_classes(vocabulary.symbols)
    frame_symbols = FrameClasses(vocabulary).symbols
    assert symbols == frame_symbols
    tied_V = torch.tensor([0, *(classes.index[s] for s in symbols[1:])])
    share_FC = torch.zeros(len(logits_FV), len(classes)).index_add_(
        1, tied_V, torch.softmax(logits_FV, dim=-1)
    )
    graph = build_graph(phones, classes)
    if graph.min_frames > len(logits_FV):
        raise PromptError(
            "The transcript is too long for the prompt: check that it says what was spoken."
        )
    scores_1FC = torch.log(share_FC + 1e-6)[None]
    path = best_path(scores_1FC, batch_graphs([graph]), torch.tensor([len(logits_FV)]))
    return Rhythm(
        phones_P=torch.tensor(vocabulary.ids(phones)),
        frames_P=durations(path.states_BF[0], graph),
    )
