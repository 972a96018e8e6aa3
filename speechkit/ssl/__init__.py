"""Self-supervised speech pre-training: wav2vec 2.0 and HuBERT, from audio to words.

`pretrain` learns an encoder from audio alone, `units` clusters features into HuBERT's targets,
`ctc` turns an encoder into a recogniser, `probes` measure what it knows, `interop` exchanges
weights with transformers and torchaudio.
"""
