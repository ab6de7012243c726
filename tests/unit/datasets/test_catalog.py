"""What the catalog says of the named datasets, and what the documentation makes of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from manifold_capacity.datasets import catalog
from manifold_capacity.datasets.__main__ import BEGIN, with_table
from manifold_capacity.datasets.catalog import NAMED, SPLITS, addresses, needs_network, remote_files

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"
DOWNLOADED = [name for name in NAMED if needs_network(name)]


def test_numbers_of_images_are_the_published_ones():
    totals = {name: tuple(sum(NAMED[name].counts[s]) for s in SPLITS) for name in NAMED}
    assert totals["digits"] == (1_352, 445)
    assert totals["cifar10"] == totals["cifar100"] == (50_000, 10_000)
    assert totals["mnist"] == totals["fashion_mnist"] == (60_000, 10_000)
    cifar100 = NAMED["cifar100"].class_names
    assert len(cifar100) == 100
    assert list(cifar100) == sorted(cifar100)


@pytest.mark.parametrize("name", NAMED)
def test_an_entry_fits_together(name):
    dataset = NAMED[name]
    assert dataset.name == name
    assert dataset.counts.keys() == set(SPLITS)
    assert {len(counts) for counts in dataset.counts.values()} == {len(dataset.class_names)}
    assert len(set(dataset.class_names)) == len(dataset.class_names)
    assert min(map(min, dataset.counts.values())) > 0
    if isinstance(dataset.source, catalog.IdxFiles):
        used = {file for pair in dataset.source.files.values() for file in pair}
        assert used == dataset.source.sha256.keys()
    for file in remote_files({"name": name}):
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.urls
        assert all(re.match(rf"https?://.*/{re.escape(file.name)}$", url) for url in file.urls)


def test_the_size_of_a_download_has_a_limit():
    url = "https://example.org/x.tgz"
    (official,) = remote_files({"name": "cifar100", "url": url})
    (packed_again,) = remote_files({"name": "cifar100", "url": url, "sha256": "0" * 64})
    assert official.most_bytes == 170 * 10**6
    assert packed_again.most_bytes == catalog.LARGEST_DOWNLOAD_BYTES


def test_no_two_files_have_the_same_checksum():
    files = [file for name in DOWNLOADED for file in remote_files({"name": name})]
    assert len({file.sha256 for file in files}) == len(files) >= 10


def test_the_page_has_a_row_for_every_dataset():
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert with_table(page) == page, "run `make docs`"
    assert "| `cifar100` | 32 x 32, color | 100 | 50,000 | 10,000 | 1 file, 169 MB |" in page


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("cifar100", None, "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"),
        ("cifar100", "http://a/packed.tgz", "http://a/packed.tgz"),
        ("cifar100", "http://a/data/", "http://a/data/cifar-100-python.tar.gz"),
        ("mnist", "https://a/data", "https://a/data/t10k-images-idx3-ubyte.gz"),
        ("mnist", "HTTPS://a/data/", "HTTPS://a/data/t10k-images-idx3-ubyte.gz"),
    ],
)
def test_addresses(name, url, expected):
    config = {"name": name, "url": url}
    found = addresses(config)
    assert expected in found
    assert len(found) == len(set(found)) == (1 if name == "cifar100" else 4)
    if url is not None:
        assert {file.urls for file in remote_files(config)} == {(address,) for address in found}


def test_nothing_is_downloaded_of_what_is_here():
    assert addresses({"name": "digits"}) == addresses({"name": "arrays", "path": "a.npz"}) == []
    assert not needs_network("digits")
    assert not needs_network("recording.npz")


def test_checksums_of_a_mirror():
    official = {file.name: file.sha256 for file in remote_files({"name": "mnist"})}
    given = {"train-labels-idx1-ubyte.gz": "AB" * 32}
    found = {f.name: f.sha256 for f in remote_files({"name": "mnist", "sha256": given})}
    assert found == official | {"train-labels-idx1-ubyte.gz": "ab" * 32}
    (file,) = remote_files({"name": "cifar10", "sha256": "0" * 64})
    assert file.sha256 == "0" * 64


def test_describing_imports_and_downloads_nothing(tmp_path):
    code = """
import sys
from manifold_capacity.datasets.catalog import NAMED
from manifold_capacity.datasets.prepare import describe
for name in NAMED:
    assert describe({"name": name}) is NAMED[name]
heavy = {"torch", "sklearn", "requests", "PIL", "tqdm", "matplotlib", "zarr", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
