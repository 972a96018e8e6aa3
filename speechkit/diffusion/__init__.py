"""Factorised masked discrete diffusion: duration, prosody, content and detail from phones."""
