"""Small networks for images of 32 x 32 pixels, which two CPU cores can train in an hour or two.

Their blocks are named alike, ``blocks.0`` to ``blocks.5``, so that one pattern selects them in both.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

WIDTHS = (32, 64, 64, 128, 128, 256)
HALVED = (False, True, False, True, False, True)  # the image, at the start of each block


def conv(n_in: int, n_out: int, stride: int = 1) -> list[nn.Module]:
    """A convolution of 3 x 3 pixels and its batch normalization."""
    return [nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out)]


class PlainBlock(nn.Sequential):
    """Convolution, normalization, ReLU; the image is halved by maximum pooling before."""

    def __init__(self, n_in: int, n_out: int, halved: bool) -> None:
        pool = [nn.MaxPool2d(2)] if halved else []
        super().__init__(*pool, *conv(n_in, n_out), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the image is halved by the first one's stride."""

    def __init__(self, n_in: int, n_out: int, halved: bool) -> None:
        super().__init__()
        stride = 2 if halved else 1
        self.body = nn.Sequential(*conv(n_in, n_out, stride), nn.ReLU(), *conv(n_out, n_out))
        same = n_in == n_out and not halved
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.body(images) + self.shortcut(images))


class Network(nn.Module):
    """Six blocks and a linear classifier of the last one's 4 x 4 pixels, or of their mean."""

    def __init__(
        self, block: type[PlainBlock | ResidualBlock], n_channels: int, n_classes: int, pooled: bool
    ) -> None:
        super().__init__()
        sizes = zip((n_channels, *WIDTHS), WIDTHS, HALVED, strict=False)
        self.blocks = nn.Sequential(*(block(*size) for size in sizes))
        pool = nn.AdaptiveAvgPool2d(1 if pooled else 4)
        n_features = WIDTHS[-1] * (1 if pooled else 16)
        hidden = [] if pooled else [nn.Linear(n_features, 256), nn.ReLU(), nn.Dropout(0.5)]
        self.classifier = nn.Sequential(
            pool, nn.Flatten(), *hidden, nn.Linear(n_features if pooled else 256, n_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.blocks(images))


def convolutional(n_classes: int, input_shape: Sequence[int]) -> nn.Module:
    """Six convolutions and two linear layers; 1.6 million weights."""
    return Network(PlainBlock, input_shape[0], n_classes, pooled=False)


def residual(n_classes: int, input_shape: Sequence[int]) -> nn.Module:
    """Six residual blocks of two convolutions and a linear layer; 1.6 million weights."""
    return Network(ResidualBlock, input_shape[0], n_classes, pooled=True)
