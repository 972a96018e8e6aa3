"""The shipped codec: log-mel in, a source-filter vocoder out, nothing but two FFTs at sample
rate."""
