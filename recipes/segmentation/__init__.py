"""Segmentation of pictures and volumes: plan, fit, evaluate, predict."""
