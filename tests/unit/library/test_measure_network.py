"""`measure_network` and `GeometryRecorder`: what they measure, and that they leave the network as it was."""

import copy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from manifold_capacity import GeometryRecorder, measure_layers, measure_network
from manifold_capacity.activations.extract import extract
from manifold_capacity.activations.store import open_draw
from manifold_capacity.datasets.sampling import sample_manifolds
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.library.measure_layer import measure_layer
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.models.selection import select_layers

pytestmark = pytest.mark.filterwarnings("ignore::manifold_capacity.errors.CaveatWarning")
LABELS = np.arange(80) % 4
SECTION = {
    **{"input": True, "types": ["Conv2d", "Linear"], "names": ["body"]},
    "views": {"body": ["mean", {"positions": 3}]},
}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).amax((2, 3)))


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)


@pytest.mark.parametrize("max_gib", [2.0, 6e-5])
def test_numbers_are_those_of_the_pipelines_jobs(model, images, tmp_path: Path, max_gib):
    prepare = Preprocess((1, 8, 8), [0.5], [0.25])
    table = measure_network(
        model,
        prepare(to_batch(images, torch.device("cpu"))),
        LABELS,
        layers=SECTION,
        points_per_class=9,
        repeats=2,
        seed=3,
        max_gib=max_gib,
    )
    chosen = select_layers(find_layers(model, (1, 8, 8)), SECTION)
    sample = sample_manifolds(LABELS, range(4), 18, 3, "train")
    names = dict(enumerate("abcd"))
    extract(
        *(copy.deepcopy(model), chosen, images, sample, tmp_path),
        **{"preprocess": prepare, "classes": range(4), "class_names": "abcd"},
        **{"split": "train", "seed": 3, "device": "cpu"},
    )
    assert table["layer"].tolist() == [layer.label for layer in chosen]
    assert "3_body_position_1_4" in table["layer"].tolist()
    for layer, (_, row) in zip(chosen, table.iterrows(), strict=True):
        draws = [open_draw(tmp_path, layer.label, draw, 2) for draw in range(2)]
        expected = measure_layer({}, names, draws, seed=3, disjoint=True).row
        for quantity in ("capacity", "radius", "dimension", "center_correlation", "capacity_low"):
            assert row[quantity] == pytest.approx(expected[quantity], rel=1e-6)


def test_the_same_points_give_the_numbers_of_measure_layers(model):
    inputs = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    table = measure_network(model, inputs, LABELS, points_per_class=20, seed=0)
    with torch.no_grad():
        conv = model.eval().body[0](inputs)
    # All points of each class, so in any order; the Gaussian samples differ with the order.
    found = measure_layers({"conv": conv}, LABELS, n_gaussians=2000)
    mine = table[table["layer"] == "1_Conv2d"].iloc[0]
    assert mine["center_correlation"] == pytest.approx(found["center_correlation"][0], rel=1e-6)
    assert mine["signal_to_noise"] == pytest.approx(found["signal_to_noise"][0], rel=1e-5)
    assert mine["capacity"] == pytest.approx(found["capacity"][0], rel=0.05)


def test_the_network_stays_as_it_was(model):
    model.train()
    model.body[2].eval()  # one part in another mode
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    measure_network(model, torch.randn(80, 1, 8, 8), LABELS, points_per_class=5)
    torch.random.set_rng_state(state)
    expected = torch.randn(3)
    torch.random.set_rng_state(state)
    measure_network(model, torch.ones(80, 1, 8, 8).cumsum(0) / 80, LABELS, points_per_class=5)
    assert torch.equal(torch.randn(3), expected)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.body] == [True, True, False]
    assert not any(module._forward_hooks for module in model.modules())


def test_inputs_of_all_kinds_are_the_same(model):
    inputs = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    options = {"points_per_class": 10, "layers": "head"}
    expected = measure_network(model, inputs, LABELS, **options)["capacity"].tolist()
    dataset = TensorDataset(inputs, torch.from_numpy(LABELS))
    for given, labels in [
        (inputs.numpy().astype(np.float64), LABELS.tolist()),
        (DataLoader(dataset, batch_size=3, shuffle=True), None),
        ({"x": inputs}, torch.from_numpy(LABELS)),
    ]:
        assert measure_network(model, given, labels, **options)["capacity"].tolist() == expected


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states, _ = self.rnn(self.embedding(tokens) * mask[..., None])
        return states[:, -1]


def test_tokens_with_a_mask_and_views_of_a_tuple():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 20, (80, 5)) // (1 + LABELS[:, None])
    inputs = {"tokens": tokens, "mask": np.ones((80, 5), bool)}
    table = measure_network(
        Tokens(),
        inputs,
        LABELS,
        layers=["embedding", "rnn"],
        views=["mean", {"token": -1}, "positions"],
        points_per_class=10,
    )
    assert table["layer"].tolist()[:3] == [
        "1_Embedding_mean",
        "1_Embedding_token_minus_1",
        "1_Embedding_position_0",
    ]
    assert table["position"].dropna().tolist() == [*"01234"] * 2
    assert table.plot("positions").axes


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3), 0


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (DataLoader(Stream()), None, {}, "inputs: a DataLoader of an iterable dataset"),
        (torch.zeros(80, 1, 8, 8), None, {}, "labels: missing"),
        (
            torch.zeros(79, 1, 8, 8),
            LABELS,
            {},
            r"labels: they have shape \(80,\), but there are 79 samples",
        ),
        (["a"], LABELS, {}, "inputs: values of type"),
        (torch.zeros(80, 1, 8, 8), LABELS, {"points_per_class": 21}, "points_per_class"),
        (
            torch.zeros(80, 1, 8, 8),
            LABELS,
            {"max_gib": 1e-6, "points_per_class": 5},
            r"max_gib: 1e-06, but layer .* projection=5000",
        ),
        (
            torch.zeros(80, 1, 8, 8),
            LABELS,
            {"layers": "bdy", "points_per_class": 5},
            "no layer of Small matches bdy",
        ),
        (torch.zeros(80, 1, 8, 8), LABELS, {"measures": ["glue"]}, "measures is"),
    ],
)
def test_errors(model, inputs, labels, options, message):
    with pytest.raises(ValueError, match=message):
        measure_network(model, inputs, labels, **options)


def test_a_recorded_training_is_the_training(model):
    inputs = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def trained(record: bool) -> tuple[nn.Module, GeometryRecorder]:
        network = copy.deepcopy(model).train()
        recorder = GeometryRecorder(network, inputs, LABELS, every=2, points_per_class=10)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        torch.manual_seed(5)
        for epoch in range(5):
            if record:
                recorder(epoch)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), torch.from_numpy(LABELS)).backward()
            optimizer.step()
        return network, recorder

    with torch.random.fork_rng():
        (alone, _), (network, recorder) = trained(False), trained(True)
    for one, other in zip(alone.parameters(), network.parameters(), strict=True):
        assert torch.equal(one, other)
    table = recorder.table
    assert table.groupby("epoch")["layer"].size().tolist() == [3, 3, 3]
    assert table["checkpoint"].unique().tolist() == ["epoch-000", "epoch-002", "epoch-004"]
    assert recorder.plot().axes
    assert len(table.manifolds) == 9 * 4


def test_a_callback_of_lightning_calls_the_recorder(model, monkeypatch):
    lightning = SimpleNamespace(Callback=object)
    monkeypatch.setitem(sys.modules, "lightning", SimpleNamespace(pytorch=lightning))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", lightning)
    inputs = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    recorder = GeometryRecorder(model, inputs, LABELS, every=2, points_per_class=5, layers="head")
    callback = recorder.lightning_callback()
    callback.on_fit_start(SimpleNamespace(current_epoch=0), None)
    for epoch in range(3):
        callback.on_train_epoch_end(SimpleNamespace(current_epoch=epoch), None)
    assert recorder.table["epoch"].tolist() == [0, 2]


def test_a_network_in_half_precision(model):
    inputs = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    options = {"points_per_class": 20, "layers": "body", "views": "mean"}
    expected = measure_network(model, inputs, LABELS, **options)["capacity"][0]
    half = measure_network(model.bfloat16(), inputs, LABELS, **options)["capacity"][0]
    assert half == pytest.approx(expected, rel=0.1)


def test_a_recorder_that_was_never_called(model):
    recorder = GeometryRecorder(model, torch.zeros(80, 1, 8, 8), LABELS)
    with pytest.raises(ValueError, match="nothing has been recorded"):
        _ = recorder.table
    with pytest.raises(ValueError, match="every: 0"):
        GeometryRecorder(model, torch.zeros(80, 1, 8, 8), LABELS, every=0)


def test_caveats_are_warned_of_once(model):
    with pytest.warns(CaveatWarning, match="1_Conv2d|0_Input|Linear|body|input") as caught:
        measure_network(model, torch.randn(80, 1, 8, 8), LABELS, points_per_class=5)
    texts = [str(each.message) for each in caught]
    assert len(texts) == len({text.partition(":")[0] for text in texts})
