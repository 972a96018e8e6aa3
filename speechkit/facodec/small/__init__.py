"""The shipped codec: log-mel in, a source-filter head out, nothing but two FFTs at sample rate."""
