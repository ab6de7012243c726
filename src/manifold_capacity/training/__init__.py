"""Training a network by a recipe, to the same weights after any interruption."""
