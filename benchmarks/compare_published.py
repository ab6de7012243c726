"""Our table of VGG16 on CIFAR-100 beside the published one, layer by layer.

    snakemake --configfile configs/cifar100_vgg16.yaml --cores 16
    python benchmarks/compare_published.py results/cifar100_vgg16/summary/layers.csv

Published are one training of one network; how far two trainings are apart, several `seeds` show.
Differences are relative: ours / published - 1. The trained network is compared, unless --epoch says
otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

PUBLISHED = Path(__file__).with_name("published_vgg16_cifar100.csv")
QUANTITIES = ("capacity", "radius", "dimension", "center_correlation")


def side_by_side(layers: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """A row per published layer: what was published, ours, and the relative difference.

    Parameters
    ----------
    layers : DataFrame
        One run's part of ``layers.csv``.
    published : DataFrame
        layer_index, layer_type, and the quantities.

    Raises
    ------
    ValueError
        If the run lacks a published layer.
    """
    key = ["layer_index", "layer_type"]
    both = published.merge(layers, on=key, how="left", suffixes=(" published", " here"))
    missing = both[both["capacity here"].isna()]
    if len(missing):
        names = ", ".join(f"{r.layer_index}_{r.layer_type}" for r in missing.itertuples())
        raise ValueError(f"the run has no geometry of {names}; is it VGG16 on 32 x 32 images?")
    table = both[key].copy()
    for name in QUANTITIES:
        table[f"{name} published"] = both[f"{name} published"]
        table[f"{name} here"] = both[f"{name} here"]
        table[f"{name} difference"] = both[f"{name} here"] / both[f"{name} published"] - 1
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layers", type=Path, help="summary/layers.csv of a run")
    parser.add_argument("--epoch", type=int, help="by default the last that was measured")
    arguments = parser.parse_args()
    layers = pd.read_csv(arguments.layers)
    epoch = layers["epoch"].max() if arguments.epoch is None else arguments.epoch
    layers = layers[(layers["epoch"] == epoch) & (layers["split"] == "train")]
    if layers.empty:
        parser.error(f"{arguments.layers} has no training images measured at epoch {epoch}")
    published = pd.read_csv(PUBLISHED, comment="#")
    for (model, seed), run in layers.groupby(["model", "seed"]):
        try:
            table = side_by_side(run, published)
        except ValueError as error:
            parser.error(f"{arguments.layers}: {model}, seed {seed}: {error}")
        print(f"\n{model}, seed {seed}, epoch {epoch:.0f}: published / here (difference)\n")
        print("| layer | " + " | ".join(QUANTITIES).replace("_", " ") + " |")
        print("|---" * (len(QUANTITIES) + 1) + "|")
        for _, row in table.iterrows():
            cells = [
                f"{row[f'{name} published']:.4g} / {row[f'{name} here']:.4g} "
                f"({row[f'{name} difference']:+.1%})"
                for name in QUANTITIES
            ]
            print(f"| {row['layer_index']} {row['layer_type']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
