"""What makes networks cheap to build in tests."""

import pytest
from torch import nn


@pytest.fixture
def fast_init(monkeypatch):
    """Without truncated normal distributions, whose inverse error function takes seconds."""
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **_: tensor)
