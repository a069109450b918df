"""Tests of ``recipes.segmentation.inference``."""
