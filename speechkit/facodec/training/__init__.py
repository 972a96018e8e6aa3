"""What trains a codec: segments of a corpus, losses, discriminators, one task for each phase."""
