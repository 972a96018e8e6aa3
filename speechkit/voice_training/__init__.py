"""A voice of one's own, from a folder of recordings with texts to a sentence: `train voice`."""

from speechkit.voice_training.program import VoiceTraining, train_voice

__all__ = ["VoiceTraining", "train_voice"]
