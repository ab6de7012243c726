"""Networks: building them, their layers, weights, devices and input."""
