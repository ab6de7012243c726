# With `activations.max_gib`: a temporary store may be written once an earlier one has been deleted. A resource of Snakemake
# can't express this: it is held while a job runs, not while its output exists.
from manifold_capacity.workflow.store_slots import store_outputs


rule take_store_slot:
    input:
        # Everything computed from the store that is as many places ahead as there may be stores.
        lambda wildcards: store_outputs(
            config, SLOTS.before(wildcards.store), STORES, measured_layers
        ),
    output:
        touch("<results>/store_slots/{store}"),
    wildcard_constraints:
        store="|".join(map(re.escape, SLOTS.waiting)) or "(?!)",
