"""How much data: the figure of a recipe against the number of training patients."""
