"""Write the table of the layers of external activations."""

import math
from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.models.layers import Layer, write_layers
from manifold_capacity.provenance import write_stamp

with logs.log_to(snakemake.log[0]):
    step, (table, stamp) = SimpleNamespace(**snakemake.params.step), snakemake.output
    layers = [
        Layer(index, name, kind, tuple(shape), math.prod(shape))
        for index, name, kind, shape in step.layers
    ]
    write_layers(layers, Path(table))
    write_stamp(stamp, [table], step.keys)
