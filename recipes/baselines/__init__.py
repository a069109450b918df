"""Is deep learning needed: plain classifiers on fixed features, beside the network."""
