"""Learning with few labels: unlabelled cases, pretraining on them, and which to label next."""
