"""Write the table of a network's layers; needs no weights."""

from pathlib import Path

from manifold_capacity import logs
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.models.layers import write_layers
from manifold_capacity.models.weights import network_options

with logs.log_to(snakemake.log[0]) as log:
    params = snakemake.params
    layers = list_layers(**network_options(params.model, **params.images))
    write_layers(layers, Path(snakemake.output[0]))
    log.info("%d layers that run", len(layers))
