"""Readers of published data set layouts, one file each."""
