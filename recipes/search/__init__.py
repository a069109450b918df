"""Search for a recipe's settings: random by default, on the validation part alone."""
