"""Images and labels: named datasets and your images, verified and written as arrays."""
