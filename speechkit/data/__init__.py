"""Corpora, shards, sidecars and alignments.

Nothing is imported here, so that a training program can import `speechkit.data.packed` with torch,
numpy and safetensors alone.
"""
