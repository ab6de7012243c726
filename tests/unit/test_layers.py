from pathlib import Path

import pytest

from manifold_capacity.layers import Layer, read_layers, select_layers, write_layers

TABLE = [
    Layer(0, "input", "Input", (3, 32, 32), 3072),
    Layer(1, "features.0", "Conv2d", (64, 32, 32), 65536),
    Layer(2, "features.1", "ReLU", (64, 32, 32), 65536),
    Layer(4, "features.3", "Conv2d", (8, 4, 4), 128),
    Layer(9, "classifier.0", "Linear", (10,), 10),
]


def select(*, input: bool = False, types: tuple = (), names: tuple = ()) -> list[str]:
    selection = {"input": input, "types": types, "names": names}
    return [layer.label for layer in select_layers(TABLE, selection, model="net")]


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_layers(TABLE, tmp_path / "net.csv")
    assert read_layers(tmp_path / "net.csv") == TABLE
    lines = (tmp_path / "net.csv").read_text().splitlines()
    assert lines[0] == "index,name,type,output_shape,n_features"
    assert lines[2] == "1,features.0,Conv2d,64x32x32,65536"
    assert lines[5] == "9,classifier.0,Linear,10,10"
    assert [path.name for path in tmp_path.iterdir()] == ["net.csv"]


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text("index,name\n0,input\n")
    with pytest.raises(ValueError, match=r"header reads \['index', 'name'\].*delete the file"):
        read_layers(tmp_path / "net.csv")


def test_layers_are_the_union_of_types_and_names_in_order() -> None:
    assert select(types=("Linear", "Conv2d")) == ["1_Conv2d", "4_Conv2d", "9_Linear"]
    assert select(names=("classifier.0", "features.[01]")) == ["1_Conv2d", "2_ReLU", "9_Linear"]
    assert select(types=("Conv2d",), names=("features.*",)) == ["1_Conv2d", "2_ReLU", "4_Conv2d"]


def test_the_input_is_chosen_by_its_own_key_only() -> None:
    assert select(input=True) == ["0_Input"]
    assert "0_Input" not in select(names=("*",))
    assert len(select(names=("*",))) == 4
    assert select(input=True, names=("*",))[0] == "0_Input"


def test_a_pattern_that_matches_nothing_names_the_nearest_layer() -> None:
    with pytest.raises(
        ValueError, match=r"layers\.names: 'feature.3' is not in net; nearest: features\.3"
    ):
        select(names=("features.0", "feature.3"))


def test_a_type_that_matches_nothing_names_the_nearest_type() -> None:
    with pytest.raises(ValueError, match=r"layers\.types: 'conv2d' is not in net; nearest: Conv2d"):
        select(types=("conv2d",))


def test_choosing_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"nothing of net is chosen; set layers\.input: true"):
        select()
