"""FACodec: speech as timbre, prosody, content and detail."""
