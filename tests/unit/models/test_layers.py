"""The table of a network's layers, and the choice from it."""

import pytest

from manifold_capacity.models.layers import Layer, is_readable, read_layers, write_layers
from manifold_capacity.models.selection import select_layers, unmatched

TABLE = [
    Layer(0, "input", "Input", (3, 32, 32), 3072),
    Layer(1, "features.0", "Conv2d", (64, 32, 32), 65536),
    Layer(2, "features.1", "ReLU", (64, 32, 32), 65536),
    Layer(4, "features.3", "Conv2d", (8, 4, 4), 128),
    Layer(9, "classifier.0", "Linear", (10,), 10),
]


def select(*, input=False, types=(), names=()):
    selection = {"input": input, "types": types, "names": names}
    return [layer.label for layer in select_layers(TABLE, selection, model="net")]


def test_a_table_comes_back_as_it_was_written(tmp_path):
    write_layers(TABLE, tmp_path / "net.csv")
    assert read_layers(tmp_path / "net.csv") == TABLE
    lines = (tmp_path / "net.csv").read_text().splitlines()
    assert lines[0] == "index,name,type,is_block,call,output,output_shape,channel_axis,n_features"
    assert lines[2] == "1,features.0,Conv2d,,1,,64x32x32,,65536"
    assert lines[5] == "9,classifier.0,Linear,,1,,10,,10"
    assert [path.name for path in tmp_path.iterdir()] == ["net.csv"]


def test_a_table_of_an_earlier_version_is_told_from_a_present_one(tmp_path):
    path = tmp_path / "net.csv"
    assert not is_readable(path)
    path.write_text("index,name,type,output_shape,n_features\n1,a,Linear,10,10\n")
    assert not is_readable(path)
    write_layers(TABLE, path)
    assert is_readable(path)


def test_another_table_is_refused(tmp_path):
    (tmp_path / "net.csv").write_text("index,name\n0,input\n")
    with pytest.raises(ValueError, match=r"header is \['index', 'name'\].*delete the file"):
        read_layers(tmp_path / "net.csv")


def test_layers_are_the_union_of_types_and_names_in_order():
    assert select(types=("Linear", "Conv2d")) == ["1_Conv2d", "4_Conv2d", "9_Linear"]
    assert select(names=("classifier.0", "features.[01]")) == ["1_Conv2d", "2_ReLU", "9_Linear"]
    assert select(types=("Conv2d",), names=("features.*",)) == ["1_Conv2d", "2_ReLU", "4_Conv2d"]


def test_the_input_is_chosen_by_its_own_key_only():
    assert select(input=True) == ["0_Input"]
    assert "0_Input" not in select(names=("*",))
    assert len(select(names=("*",))) == 4
    assert select(input=True, names=("*",))[0] == "0_Input"


def sentences(*tables, types=(), names=()):
    found = {f"net{i}": table for i, table in enumerate(tables)}
    return unmatched(found, {"input": True, "types": types, "names": names})


def test_a_pattern_that_matches_nothing_names_the_nearest_layer():
    assert sentences(TABLE, names=("features.0", "feature.3")) == [
        "layers.names: 'feature.3' is not in net0; nearest: features.3"
    ]
    assert sentences(TABLE, names=("zzz*",)) == [
        "layers.names: 'zzz*' is not in net0; there are features.0, features.1, features.3, "
        "classifier.0"
    ]


def test_a_type_that_matches_nothing_names_the_nearest_type():
    assert sentences(TABLE, types=("conv2d",)) == [
        "layers.types: 'conv2d' is not in net0; nearest: Conv2d"
    ]


def test_a_pattern_must_match_in_one_of_several_models():
    other = [TABLE[0], Layer(1, "blocks.0", "Linear", (5,), 5)]
    assert sentences(TABLE, other, names=("features.*", "blocks.*")) == []
    (sentence,) = sentences(TABLE, other, names=("features.*", "block.0"))
    assert "is not in any model (net0, net1); nearest: blocks.0" in sentence


def test_a_network_may_lack_one_of_the_default_types():
    assert sentences(TABLE[:2], types=("Conv2d", "Linear")) == []


def test_nothing_but_the_input_is_an_error_where_more_was_asked_for():
    with pytest.raises(ValueError, match=r"no layer of net matches blocks\.\*; its types: Conv2d"):
        select(input=True, names=("blocks.*",))


def test_choosing_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"no layer of net is chosen; set layers\.input: true"):
        select()
