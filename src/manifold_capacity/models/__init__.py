"""Networks: their layers, weights, devices, and what they take as input."""
