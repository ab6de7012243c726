"""Calls, outputs and views of chosen layers."""

import pytest
import torch

from manifold_capacity.models.layers import Layer
from manifold_capacity.models.selection import select_layers, unmatched
from manifold_capacity.models.views import array_label, arrays_of, layers_of, points_of

CONV = Layer(1, "conv", "Conv2d", (3, 4, 5), 60, channel_axis=0)
TABLE = [
    Layer(0, "input", "Input", (1, 4, 5), 20, channel_axis=0),
    CONV,
    Layer(2, "relu", "ReLU", (3, 4, 5), 60, channel_axis=0),
    Layer(2, "relu", "ReLU", (3, 2, 2), 12, channel_axis=0, call=2),
    Layer(3, "blocks.0.attn", "MultiheadAttention", (6, 8), 48, channel_axis=1),
    Layer(3, "blocks.0.attn", "MultiheadAttention", (6, 8), 48, channel_axis=1, output="0"),
    Layer(3, "blocks.0.attn", "MultiheadAttention", (6, 6), 36, channel_axis=1, output="1"),
    Layer(3, "blocks.0", "Block", (6, 8), 48, is_block=True, channel_axis=1),
    Layer(4, "head", "Linear", (10,), 10),
]


def labels(**selection):
    given = {"input": False, "types": [], "names": []} | selection
    return [layer.label for layer in select_layers(TABLE, given)]


def test_blocks_are_chosen_by_their_names_and_types_but_not_by_patterns_of_their_leaves():
    assert labels(names=["blocks.0"]) == ["3_blocks_0"]
    assert labels(names=["blocks.?"]) == ["3_blocks_0"]
    assert labels(types=["Block"]) == ["3_blocks_0"]
    assert labels(names=["blocks.*"]) == ["3_MultiheadAttention"]
    assert "3_blocks_0" not in labels(names=["*"])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("first", ["2_ReLU"]),
        ("last", ["2_ReLU_call_2"]),
        ("all", ["2_ReLU", "2_ReLU_call_2"]),
        (2, ["2_ReLU_call_2"]),
    ],
)
def test_calls(call, expected):
    assert labels(names=["relu"], calls={"*": call}) == expected


def test_an_output_by_its_key():
    assert labels(names=["*attn"], outputs={"*.attn": 1}) == ["3_MultiheadAttention_output_1"]


def test_the_last_pattern_that_matches_counts_and_a_list_gives_several_views():
    views = {"*": "mean", "blocks.*": ["first", {"token": -2}, "flatten"]}
    assert labels(types=["Block", "ReLU"], views=views) == [
        *("2_ReLU_mean", "3_blocks_0_first"),
        *("3_blocks_0_token_minus_2", "3_blocks_0"),
    ]


def test_every_position_is_a_layer_and_all_are_stored_in_one_array():
    chosen = select_layers(
        TABLE, {"input": True, "types": [], "names": [], "views": {"input": {"positions": 2}}}
    )
    assert [layer.position for layer in chosen] == [(0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4)]
    assert chosen[1].label == "0_Input_position_0_2"
    (array,) = arrays_of(chosen)
    assert (array.label, array.output_shape) == ("0_Input_positions", (6, 1))
    assert layers_of([array]) == chosen
    assert {array_label(layer.label) for layer in chosen} == {array.label}


X = torch.arange(2 * 60, dtype=torch.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("flatten", X.reshape(2, 60)),
        ("mean", X.mean((2, 3))),
        ("max", X.amax((2, 3))),
        ("center", X[:, :, 2, 2]),
        ({"positions": 3}, X[:, :, [0, 3]][..., [0, 3]].permute(0, 2, 3, 1).reshape(2, 12)),
    ],
)
def test_points_of_images(view, expected):
    chosen = select_layers(
        TABLE, {"input": False, "types": [], "names": ["conv"], "views": {"*": view}}
    )
    (array,) = arrays_of(chosen)
    assert torch.equal(points_of(X, array), expected)


@pytest.mark.parametrize(
    ("view", "place"),
    [("first", 0), ("last", 3), ({"token": 1}, 1), ({"token": -3}, 1), ("center", 2)],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_points_of_tokens(view, place, axis):
    tokens = X[:, 0]  # 4 x 5
    layer = Layer(1, "x", "Odd", (4, 5), 20, channel_axis=1 - axis)
    chosen = select_layers(
        [layer],
        {
            **{"input": False, "types": [], "names": ["x"]},
            **{"views": {"x": view}, "channel_axis": {"x": axis}},
        },
    )
    steps = tokens.transpose(1, 2) if axis == 0 else tokens
    place = place if axis == 1 or place < 2 else {2: 2, 3: 4}[place]
    if view == {"token": -3} and axis == 0:
        place = 2
    assert torch.equal(points_of(tokens, chosen[0]), steps[:, place])


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (
            {"names": ["head"], "views": {"*": "mean"}},
            r"layers\.views\['\*'\]: 'mean' needs channels at several",
        ),
        (
            {"names": ["conv"], "views": {"conv": "last"}},
            r"'last' is of tokens or timesteps.*\(4, 5\).*center",
        ),
        (
            {"names": ["blocks.0"], "views": {"*": {"token": 6}}},
            r"token 6, but blocks\.0 has 6; allowed: -6 to 5",
        ),
        (
            {"names": ["conv"], "views": {"*": "middle"}},
            r"'middle' is not a view; allowed: flatten, mean",
        ),
        ({"names": ["conv"], "views": {"*": {"positions": 0}}}, r"is not a view"),
        (
            {"names": ["relu"], "calls": {"*": 3}},
            r"layers\.calls\['\*'\]: 3, but relu of .* called 2 times",
        ),
        (
            {"names": ["*attn"], "outputs": {"*": "x"}},
            r"'x' is not an output of blocks.*its outputs are 0, 1",
        ),
        ({"names": ["conv"], "outputs": {"*": 0}}, r"its output is one tensor"),
        (
            {"names": ["conv"], "channel_axis": {"*": 3}},
            r"layers\.channel_axis\['\*'\]: 3, but conv",
        ),
        (
            {"names": ["conv"], "views": {"*": ["mean", "mean"]}},
            r"two layers .* the label 1_Conv2d_mean",
        ),
    ],
)
def test_errors_name_the_pattern(selection, message):
    with pytest.raises(ValueError, match=message):
        labels(**selection)


def test_too_many_positions_propose_every_so_many():
    wide = [Layer(1, "wide", "Conv2d", (3, 64, 64), 3 * 64 * 64, channel_axis=0)]
    selection = {"input": False, "types": [], "names": ["wide"], "views": {"*": "positions"}}
    with pytest.raises(
        ValueError, match=r"4,096 layers of net are more than 2,000.*\{positions: k\}"
    ):
        select_layers(wide, selection, model="net")


def test_patterns_that_match_no_chosen_layer():
    selection = {"input": False, "types": [], "names": ["conv"], "views": {"cnv": "mean"}}
    assert unmatched({"net": TABLE}, selection) == [
        "layers.views: 'cnv' matches no chosen layer of net; nearest: conv"
    ]
