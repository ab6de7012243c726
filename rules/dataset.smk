# Prepare the dataset: images, or other inputs, and labels, verified and written as arrays.
from manifold_capacity.datasets.catalog import needs_network


rule prepare_dataset:
    output:
        train_samples="<dataset>/train_<samples>.npy",
        train_labels="<dataset>/train_labels.npy",
        train_checksums="<dataset>/train_<samples>.crc32",
        test_samples="<dataset>/test_<samples>.npy",
        test_labels="<dataset>/test_labels.npy",
        test_checksums="<dataset>/test_<samples>.crc32",
        dataset="<dataset>/dataset.json",
    log:
        "<logs>/prepare_dataset.log",
    benchmark:
        "<benchmarks>/prepare_dataset.tsv"
    cache: SHARED
    # Compute nodes of a cluster often have no network: downloads run where Snakemake runs.
    localrule: needs_network(DATASET.name)
    conda:
        # A user's function may need torch.
        f"../envs/{'torch' if config['dataset'].get('factory') else 'dataset'}.yaml"
    threads: 4
    resources:
        mem_mb=rising(2000),
        runtime=rising(60),
    params:
        step=STEPS.dataset(),
        software=software("dataset"),
    script:
        "../scripts/prepare_dataset.py"
