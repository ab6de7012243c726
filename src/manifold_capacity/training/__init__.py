"""Training a network by a recipe, to the same weights whatever interrupts it."""
