"""Why a network said what it said, and what it has learned: attributions, features, and proof."""
