# With `activations.max_gib`: the leave to write one more temporary store. A run gets it once an earlier run's store is
# gone. A resource can't say so: it is held while a job runs, not while its output stands.


rule take_store_slot:
    input:
        # Everything made from the store of the run as many places ahead as there may be stores.
        lambda wildcards: runs.outputs_of_run(
            config,
            SLOTS.before(wildcards.run),
            measured_layers(RUNS[SLOTS.before(wildcards.run)].model),
        ),
    output:
        touch("<results>/store_slots/{run}"),
    wildcard_constraints:
        run="|".join(map(re.escape, SLOTS.waiting)) or "(?!)",
