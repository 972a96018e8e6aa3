"""Speech over HTTP: an API that OpenAI's clients speak, for one machine or a small network.

One thread has the model; requests wait for it in a bounded queue. Nothing that a client sends is
taken for a path or an address.
"""
