"""From an encoder to a recogniser: CTC fine-tuning, decoding with language models, error rates."""
