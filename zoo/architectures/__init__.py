"""Architectures that are built here, in Keras layers, because Keras does not ship them."""
