"""The page of the configuration's keys follows from the schema."""

from pathlib import Path

from manifold_capacity.config.document import document

PAGE = Path(__file__).parents[3] / "docs" / "config.md"


def test_documentation_is_up_to_date(schema):
    assert PAGE.read_text(encoding="utf-8") == document(schema), "run `make docs`"


def test_rows_of_the_table(schema):
    text = document(schema)
    for row in (
        "| `epochs` | integer ≥ 1 | `20` | Passes over the training images. |\n",
        "| **`dataset`** | see [dataset](#dataset) |  | The images.",
        "| **`normalize.std`** | list of at least 1, of: number > 0 |  | Standard",
        "| `augment` | mapping |  | Data augmentation",
        "| `augment.rotation_degrees` | number ≥ 0, ≤ 180 | `0` |",
    ):
        assert row in text
