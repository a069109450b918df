"""The thin training engine that the tasks share: losses, loop, checkpoints."""
