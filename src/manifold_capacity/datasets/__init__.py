"""Images and labels: named datasets and a user's own, verified and laid out as arrays."""
