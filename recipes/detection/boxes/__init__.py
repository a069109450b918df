"""Direct regression of boxes: a first stage without maps."""
