"""Steps of gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class Descent:
    """What torch.optim.SGD does, by its function: the class loads torch's compiler first, for seconds.

    `momentum` holds the momentum of every parameter that has had a gradient, by its name. `fused`
    updates all parameters in one kernel.
    """

    def __init__(self, model: nn.Module, recipe: Mapping[str, Any], *, fused: bool) -> None:
        self.parameters = dict(model.named_parameters())
        self.momentum: dict[str, Tensor] = {}
        self._options = {key: recipe[key] for key in ("momentum", "weight_decay")}
        self._options |= {"dampening": 0, "nesterov": False, "maximize": False, "fused": fused}

    def step(self, learning_rate: float) -> None:
        """Change the parameters against their gradients."""
        moved = {name: each for name, each in self.parameters.items() if each.grad is not None}
        has_momentum = self._options["momentum"] != 0
        # Those that are not there yet are None, and are filled in.
        momentum: list[Any] = [self.momentum.get(name) for name in moved] if has_momentum else []
        gradients: list[Any] = [each.grad for each in moved.values()]
        with torch.no_grad():
            sgd([*moved.values()], gradients, momentum, lr=learning_rate, **self._options)
        if has_momentum:
            self.momentum = dict(zip(moved, momentum, strict=True))

    def restore(self, momentum: Mapping[str, Tensor]) -> None:
        """Continue with a saved momentum, in the layout of the weights, which a fused step requires."""
        self.momentum = {
            name: torch.empty_like(self.parameters[name], requires_grad=False).copy_(saved)
            for name, saved in momentum.items()
        }
