"""Metrics on logits, in ``keras.ops``: Dice and intersection over union, hard and soft."""

from zoo.metrics.overlap import DiceScore, IoUScore, overlap_scores

__all__ = ["DiceScore", "IoUScore", "overlap_scores"]
