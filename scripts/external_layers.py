"""Write the table of the layers of external activations."""

import math
from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.models.layers import Layer, write_layers

with logs.log_to(snakemake.log[0]):
    layers = [
        Layer(index, name, kind, tuple(shape), math.prod(shape))
        for index, name, kind, shape in snakemake.params.layers
    ]
    write_layers(layers, Path(snakemake.output[0]))
