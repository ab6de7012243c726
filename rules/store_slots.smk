# With `activations.max_gib`: a temporary store may be written once an earlier one has been deleted. A resource of Snakemake
# can't express this: it is held while a job runs, not while its output exists.
from manifold_capacity.activations.parts import layers_of_part
from manifold_capacity.models.views import arrays_of


def outputs_before(wildcards):
    """Everything computed from the store that is as many places ahead as there may be stores."""
    store = STORES[SLOTS.before(wildcards.store)]
    layers = layers_of_part(
        arrays_of(measured_layers(store.run.model)), store.part.suffix
    )
    return runs.outputs_of_run(config, store.run.path, layers)


rule take_store_slot:
    input:
        outputs_before,
    output:
        touch("<results>/store_slots/{store}"),
    wildcard_constraints:
        store="|".join(map(re.escape, SLOTS.waiting)) or "(?!)",
