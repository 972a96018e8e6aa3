"""The paper's codec: convolutions at sample rate, numerically equal to the public code."""
