"""Phone alignment learned from speech and transcripts alone: when is each phone spoken?

Gaussians fitted with Baum-Welch (`start`) teach a small network (`model`, `train`), whose
posteriors give the best path through the phones of each text (`graph`, `viterbi`, `align`).
"""
