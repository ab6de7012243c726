"""Damaged files of weights give finite weights of the right shapes, or are a UserError."""

import io
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from manifold_capacity.errors import UserError
from manifold_capacity.models import networks
from manifold_capacity.models.weights import pretrained_state

# torch warns of odd files, which a job's log shows; here, only what comes out counts.
pytestmark = pytest.mark.filterwarnings("ignore")
fuzz = settings(settings.get_profile("fuzz"))


class Small(nn.Sequential):
    """A network with few weights, in place of the small one: damage hits also what is said of them."""

    def __init__(self, n_channels, n_classes):
        super().__init__(nn.Conv2d(n_channels, 8, 3), nn.BatchNorm2d(8), nn.Linear(64, n_classes))


with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    STATE = Small(1, 3).state_dict()


def torch_file(**options):
    file = io.BytesIO()
    torch.save(STATE, file, **options)
    return file.getvalue()


FILES = {
    "safetensors": save(dict(STATE)),
    "pt": torch_file(),
    "pth": torch_file(_use_new_zipfile_serialization=False),
}


def weights(path):
    """The weights in a file, or None for a UserError of one line."""
    try:
        return pretrained_state("small_cnn", path, image_shape=(1, 2, 2))
    except UserError as error:
        message = str(error)
    assert message.isprintable(), message
    assert len(message) < 1000, message
    return None


def assert_good(state):
    """A network may get another number of classes."""
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    n_classes = len(state["2.bias"])
    expected = {
        key: tuple(tensor.shape) for key, tensor in Small(1, n_classes).state_dict().items()
    }
    assert shapes == expected
    for key, tensor in state.items():
        assert tensor.dtype == STATE[key].dtype
        assert tensor.isfinite().all()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(networks, "SmallCNN", Small)


@pytest.mark.parametrize("suffix", FILES)
@fuzz
@given(data=st.data())
def test_files_of_weights(tmp_path, damaged, data, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(data.draw(damaged(FILES[suffix])))
    state = weights(path)
    if state is not None:
        assert_good(state)
        if suffix == "pt":  # it has checksums
            assert all(torch.equal(state[key], STATE[key]) for key in STATE)


@fuzz
@given(data=st.data())
def test_a_file_of_torchs_written_with_other_content(tmp_path, damaged, data):
    """The checksums are those of the damaged members."""
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(io.BytesIO(FILES["pt"])) as good, zipfile.ZipFile(path, "w") as archive:
        names = good.namelist()
        chosen = data.draw(st.sampled_from([names[0], names[0], *names]))  # mostly the pickle
        for name in names:
            content = good.read(name)
            archive.writestr(name, data.draw(damaged(content)) if name == chosen else content)
    state = weights(path)
    if state is not None:
        assert_good(state)
