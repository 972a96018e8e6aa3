"""Weights from and for transformers, torchaudio, fairseq and fairseq2.

The four libraries build the same network of the same tensors under different names
(`interop.names`), so conversion renames and changes no value. Nothing here imports any of them.
"""
