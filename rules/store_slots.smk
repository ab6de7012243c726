# With `activations.max_gib`: a run may write its temporary store once an earlier run's store has been deleted. A resource of
# Snakemake can't express this: it is held while a job runs, not while its output exists.


rule take_store_slot:
    input:
        # Everything computed from the store of the run that is as many places ahead as there may be stores.
        lambda wildcards: runs.outputs_of_run(
            config,
            SLOTS.before(wildcards.run),
            measured_layers(RUNS[SLOTS.before(wildcards.run)].model),
        ),
    output:
        touch("<results>/store_slots/{run}"),
    wildcard_constraints:
        run="|".join(map(re.escape, SLOTS.waiting)) or "(?!)",
