"""Networks for inputs (batch, channel, time)."""

from torch import nn


def convolutional(n_classes, input_shape, width=16):
    """Two convolutions along time, and a readout of the mean over time."""
    n_channels, _ = input_shape
    return nn.Sequential(
        nn.Conv1d(n_channels, width, kernel_size=9, padding=4),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(width, 2 * width, kernel_size=9, padding=4),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(2 * width, n_classes),
    )


class Recurrent(nn.Module):
    """A recurrent layer that sees some values at each step, and a readout of its last state."""

    def __init__(self, n_classes, n_values, width):
        super().__init__()
        self.n_values = n_values
        self.recurrent = nn.GRU(n_values, width, batch_first=True)
        self.readout = nn.Linear(width, n_classes)

    def forward(self, waves):
        states, _ = self.recurrent(waves.reshape(len(waves), -1, self.n_values))
        return self.readout(states[:, -1])


def recurrent(n_classes, input_shape, width=32, n_values=8):
    return Recurrent(n_classes, n_values * input_shape[0], width)
