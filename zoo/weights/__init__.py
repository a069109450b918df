"""Pretrained weights: where they lie, how foreign files are read, how they are cached."""
