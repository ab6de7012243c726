# From a network's weights and sampled images to the activations of its layers.
from manifold_capacity.workflow.store_slots import slot_files, store_slots, stores_of

STORES = stores_of(config, SETUP.parts)

# Decided once, in the process that starts jobs, since files appear while they run. Nothing documented says which process
# that is, hence the attribute; in a job's own process no run waits.
SLOTS = store_slots(
    config, STORES, SETUP.stores_at_once if workflow.is_main_process else None
)
if config["activations"]["max_gib"] is not None:

    include: "store_slots.smk"


# Not <run>{part}: constraints do not reach the wildcards of a path variable.
STORE = directory("<results>/activations/<network>/{checkpoint}/{split}{part}")
# Stores that are deleted after use are not kept in a cache either.
STORE_SHARED = SHARED and config["activations"]["keep"]


rule extract_activations:
    input:
        dataset="<dataset>/dataset.json",
        samples="<dataset>/{split}_<samples>.npy",
        labels="<dataset>/{split}_labels.npy",
        weights="<results>/training/<network>/{checkpoint}.safetensors",
        layers="<results>/layers/{model}.csv",
        stamp="<results>/layers/{model}.json",
        slot=lambda wildcards: slot_files(
            config, SLOTS, RUN.format(**wildcards) + wildcards.part
        ),
    output:
        STORE if config["activations"]["keep"] else temp(STORE),
    log:
        "<logs>/extract_activations/<network>/{checkpoint}/{split}{part}.log",
    benchmark:
        "<benchmarks>/extract_activations/<network>/{checkpoint}/{split}{part}.tsv"
    cache: STORE_SHARED
    conda:
        "../envs/torch.yaml"
    threads: lambda wildcards: STEPS.torch_threads(wildcards.model)
    resources:
        mem_mb=rising(4000),
        runtime=rising(60),
        device=config["device"],
    params:
        step=lambda wildcards: STEPS.activations(**wildcards),
        software=software("activations"),
    script:
        "../scripts/extract_activations.py"
