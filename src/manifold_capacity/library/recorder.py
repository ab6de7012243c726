"""Geometry over training, measured in the training loop: no checkpoints, no files."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import nn

from manifold_capacity.errors import CaveatWarning, UserError
from manifold_capacity.library.layer_table import LayerTable
from manifold_capacity.library.measure_layer import Measured
from manifold_capacity.library.measure_network import measure_samples
from manifold_capacity.library.samples import Samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GeometryRecorder:
    """Measures a network now and then while it is trained.

    Called with the epoch (or step) in the training loop, it measures at every multiple of `every`. Weights,
    gradients, training mode and random numbers are those before the call: the training is the same without it.

    Parameters
    ----------
    model : nn.Module
    inputs, labels
        As of :func:`measure_network`; the same samples are measured each time.
    every : int
        Epochs (or steps) between two measurements.
    **options
        Of :func:`measure_network`.

    Examples
    --------
    >>> import torch
    >>> points = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    >>> labels = torch.arange(60) % 3
    >>> with torch.random.fork_rng():
    ...     model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    >>> recorder = GeometryRecorder(model, points, labels, every=10, points_per_class=20)
    >>> for step in range(21):
    ...     recorder(step)
    ...     optimizer.zero_grad()
    ...     torch.nn.functional.cross_entropy(model(points), labels).backward()
    ...     optimizer.step()
    >>> recorder.table["epoch"].tolist()
    [0, 0, 0, 10, 10, 10, 20, 20, 20]
    """

    def __init__(
        self, model: nn.Module, inputs: Any, labels: Any = None, *, every: int = 1, **options: Any
    ) -> None:
        if every < 1:
            raise UserError(f"every: {every}; it must be at least 1")
        self.model, self.every = model, every
        self._samples = Samples(inputs, labels)
        self._options, self._name = options, options.pop("name", type(model).__name__)
        self._measured: dict[int, list[Measured]] = {}

    def __call__(self, epoch: int) -> None:
        """Measure if it is the turn of this epoch; one that was measured before is measured anew."""
        if epoch % self.every == 0:
            about = {"model": self._name, "epoch": epoch, "checkpoint": f"epoch-{epoch:03d}"}
            options = self._options
            self._measured[epoch] = measure_samples(
                self.model, self._samples, about=about, **options
            )

    @property
    def table(self) -> LayerTable:
        """A row per layer and measured epoch, as in ``layers.csv``; a UserError before the first."""
        if not self._measured:
            raise UserError(
                "nothing has been recorded: call the recorder in the training loop first"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaveatWarning)  # the table says them
            return LayerTable.of(
                each for epoch in sorted(self._measured) for each in self._measured[epoch]
            )

    def plot(self) -> Figure:
        """Layers against epochs, a map per quantity."""
        return self.table.plot("dynamics")

    def lightning_callback(self) -> Any:
        """A callback for PyTorch Lightning, which calls the recorder before training and after each epoch."""
        from lightning.pytorch import Callback  # type: ignore[import-not-found]

        recorder = self

        class Recording(Callback):
            def on_fit_start(self, trainer: Any, module: Any) -> None:
                recorder(trainer.current_epoch)

            def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
                recorder(trainer.current_epoch + 1)

        return Recording()
