"""Write the table of a network's layers; needs no weights."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.models.layers import write_layers
from manifold_capacity.models.weights import network_options
from manifold_capacity.provenance import write_stamp

with logs.log_to(snakemake.log[0]) as log:
    step, (table, stamp) = SimpleNamespace(**snakemake.params.step), snakemake.output
    trained = step.model["weights"] == "trained"
    layers = list_layers(**network_options(step.model, **step.images), to_train=trained)
    write_layers(layers, Path(table))
    write_stamp(stamp, [table], step.keys)
    log.info("%d layers that run", len(layers))
