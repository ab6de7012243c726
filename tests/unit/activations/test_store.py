"""Reading the store: every format version for ever, and never a damaged or missing chunk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from manifold_capacity.activations import writer
from manifold_capacity.activations.store import StoreError, open_draw, open_layer
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.preprocess import Preprocess

STORE_V1 = Path(__file__).parent / "store_v1"


def test_plain_zarr_reads_the_store(store, model, layers, tmp_path):
    opened = store(model, layers[:2])
    array = zarr.open_array(tmp_path / "activations.zarr" / "1_Conv2d", mode="r")
    np.testing.assert_array_equal(array[...], opened("1_Conv2d")[...])


def test_draws_are_consecutive_points_of_a_layer(store, model, layers, tmp_path):
    opened = store(model, layers[:1], np.arange(24).reshape(4, 6))
    whole = opened("0_Input")
    for draw in range(3):
        part = open_draw(tmp_path, "0_Input", draw, 3)
        assert part.shape == (4, 2, 64)
        expected = whole[:, 2 * draw : 2 * draw + 2]
        np.testing.assert_array_equal(part[:, :, :], expected)
        np.testing.assert_array_equal(part[1:3, 1:, 5:9], expected[1:3, 1:, 5:9])
    assert open_draw(tmp_path, "0_Input", 0, 1).shape == whole.shape
    for draw, n_draws in ((0, 4), (3, 3)):
        with pytest.raises(StoreError, match=rf"6 points .* not {n_draws} draws .* draw {draw}"):
            open_draw(tmp_path, "0_Input", draw, n_draws)


COUNTING = np.array(
    [  # pixels (0, 1, 2, 3) + 4 k for image k, times the weights below
        [[6, -2, -6], [22, -2, -14], [38, -2, -22]],
        [[54, -2, -30], [70, -2, -38], [86, -2, -46]],
    ],
    dtype=np.float32,
)


def test_a_store_of_format_version_1_is_readable_for_ever(store, tmp_path):
    """store_v1 was written in 2026 as below, and is never to be written again."""
    # Small whole numbers, exact in any arithmetic: sums and alternating sums of the pixels
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.ReLU()).eval()
    weights = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [0, 0, 0, -2]])
    model[1].weight = nn.Parameter(weights, requires_grad=False)
    store(
        model,
        find_layers(model, (1, 2, 2)),
        np.arange(6).reshape(2, 3),
        images=np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1),
        preprocess=Preprocess((1, 2, 2), [0.0], [1 / 255]),
        batch_size=2,
        attributes={"model": "counting"},
    )
    for folder in (STORE_V1, tmp_path):
        pixels = open_layer(folder, "0_Input")
        np.testing.assert_allclose(pixels[...], np.arange(24).reshape(2, 3, 4), rtol=1e-6)
        sums = open_layer(folder, "2_Linear")
        np.testing.assert_allclose(sums[...], COUNTING, rtol=1e-6)
        relu = open_layer(folder, "3_ReLU")
        np.testing.assert_allclose(relu[:, :, 0], COUNTING[:, :, 0], rtol=1e-6)
        assert (relu[:, :, 1:] == 0).all()
        assert relu.attributes["layer_name"] == "2"
        assert relu.attributes["model"] == "counting"
        assert relu.attributes["format_version"] == (1 if folder == STORE_V1 else 2)


# Damage


@pytest.fixture
def damaged(store, wide, tmp_path):
    """A store whose layer 2 has three chunks per shard and two shards per manifold."""
    store(wide, batch_size=3)
    return tmp_path / "activations.zarr/2_Linear"


def change(path, changed):
    """Change a file's content."""
    path.write_bytes(changed(bytearray(path.read_bytes())))


def flip(place, bit):
    def flipped(content):
        content[place] ^= bit
        return content

    return flipped


@pytest.mark.parametrize(
    ("shard", "changed", "message"),
    [
        ("3/1/0", None, r"manifold 3, points 3 to 4 was never written: .*c/3/1/0; delete"),
        ("1/0/0", lambda content: content[:-10], "manifold 1, points 0 to 2 is"),
        ("1/0/0", lambda content: content[100:], "manifold 1, points 0 to 2 is truncated:"),
        ("1/0/0", lambda content: content[:20], r"manifold 1, .* is truncated \(20 bytes\)"),
        ("1/0/0", lambda content: b"", r"manifold 1, .* is truncated \(0 bytes\)"),
        # Where the first chunk begins
        ("0/1/0", flip(-4 - 3 * 16, 4), r"0, points 3 to 4 is damaged \(checksum of its index\)"),
    ],
)
def test_a_missing_or_damaged_shard_is_named_not_filled_in(damaged, shard, changed, message):
    path = damaged / "c" / shard
    if changed is None:
        path.unlink()
    else:
        change(path, changed)
    with pytest.raises(StoreError, match=f"layer 2_Linear: the chunk of .*{message}"):
        open_layer(damaged.parents[1], "2_Linear")
    open_layer(damaged.parents[1], "1_Flatten")


def test_a_chunk_missing_within_its_shard_is_named(damaged):
    # Written by a writer that leaves out chunks that hold nothing but the fill value
    zarr.open_array(damaged, mode="r+")[2, 0:3, 3334:6668] = np.nan
    with pytest.raises(StoreError, match="manifold 2, points 0 to 2 was never written completely"):
        open_layer(damaged.parents[1], "2_Linear")


def test_a_damaged_chunk_is_named_when_it_is_read(damaged):
    change(damaged / "c/2/1/0", flip(3 * 3334 * 4 + 1000, 1))  # in the second chunk of the shard
    array = open_layer(damaged.parents[1], "2_Linear")
    assert np.isfinite(array[:, :, :3000]).all()
    with pytest.raises(
        StoreError,
        match=r"layer 2_Linear: the chunk of manifold 2, points 3 to 4 is damaged in features 3334 to "
        r"6667 .*checksum.*c/2/1/0; delete .* and run again",
    ):
        array[:, :, 3000:4000]


def test_reading_what_is_not_there_stays_the_caller_s_error(damaged):
    with pytest.raises(IndexError):
        open_layer(damaged.parents[1], "2_Linear")[7, 0, 0]


def test_an_interrupted_extraction_is_refused_and_then_replaced(store, model, layers, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "complete", lambda self: None)
        opened = store(model, layers[:2])
    with pytest.raises(StoreError, match="is incomplete: its extraction was interrupted; delete"):
        opened("1_Conv2d")
    opened = store(model, layers[:2], store.indices[:3])
    assert opened("1_Conv2d").shape[0] == 3


def test_what_cannot_be_opened_says_why(store, model, layers, tmp_path):
    with pytest.raises(StoreError, match=r"there is no store of activations at .*run the extrac"):
        open_layer(tmp_path, "1_Conv2d")
    opened = store(model, layers[:3])
    with pytest.raises(StoreError, match="no layer '3_Conv2d'; it has 0_Input, 1_Conv2d, 2_ReLU"):
        opened("3_Conv2d")
    metadata = tmp_path / "activations.zarr/zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["format_version"] = 3
    (tmp_path / "checksums.json").unlink()
    with pytest.raises(
        StoreError, match=r"there is no .*checksums\.json, the checksums of .*delete"
    ):
        opened("1_Conv2d")
    for text, message in (
        (
            json.dumps(content),
            "has format version 3, but this release reads 1 and 2; use the release",
        ),
        ("{", r"zarr\.json cannot be read .*delete"),
    ):
        metadata.write_text(text)
        with pytest.raises(StoreError, match=message):
            opened("1_Conv2d")
