# From images to the activations of a network's layers.


include: "dataset.smk"
include: "training.smk"
include: "layers.smk"
include: "activations.smk"
