"""Archives in the layout of the originals: intact, damaged and hostile."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from manifold_capacity.datasets import archives, catalog
from manifold_capacity.datasets.archives import read_cifar, read_idx
from manifold_capacity.datasets.catalog import CIFAR10, CIFAR100

SHAPE = (2, 3, 3)  # height, width, channels
N_PIXELS = 18


PurePythonPickler: Any = vars(pickle)["_Pickler"]


class Python2Pickler(PurePythonPickler):
    """Writes text and bytes as Python 2 strings, as the originals hold them."""

    dispatch = PurePythonPickler.dispatch.copy()

    def save_string(self, text: str | bytes) -> None:
        content = text.encode("latin1") if isinstance(text, str) else text
        if len(content) < 256:
            self.write(pickle.SHORT_BINSTRING + struct.pack("<B", len(content)) + content)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(content: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")


def pixels(n_images: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n_images, N_PIXELS), dtype=np.uint8)


def cifar100_content() -> dict[str, Any]:
    """Member -> content, of a small archive."""
    return {
        "cifar-100-python/meta": {"fine_label_names": ["apple", "bear"], "coarse_label_names": []},
        "cifar-100-python/test": {"data": pixels(2, 1), "fine_labels": [1, 0]},
        "cifar-100-python/train": {"data": pixels(4, 0), "fine_labels": [0, 1, 1, 0]},
    }


def write_tar(path: Path, members: list[tuple[tarfile.TarInfo | str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for info, content in members:
            member = tarfile.TarInfo(info) if isinstance(info, str) else info
            member.size = member.size or len(content)
            archive.addfile(member, io.BytesIO(content) if content else None)
    return path


def write_cifar100(tmp_path: Path, **changes: object) -> Path:
    """A small archive; `train=bytes` replaces a member, `train=None` leaves it out."""
    members: list[tuple[tarfile.TarInfo | str, bytes]] = []
    for name, content in cifar100_content().items():
        replacement = changes.get(Path(name).name, content)
        if isinstance(replacement, bytes):
            members.append((name, replacement))
        elif replacement is not None:
            members.append((name, python2_pickle(replacement)))
    return write_tar(tmp_path / "cifar.tar.gz", members)


def read(path: Path) -> tuple[tuple[str, ...], dict[str, catalog.CifarSplit]]:
    return read_cifar(path, CIFAR100, SHAPE)


def test_cifar100(tmp_path: Path) -> None:
    names, splits = read(write_cifar100(tmp_path))
    assert names == ("apple", "bear")
    np.testing.assert_array_equal(splits["train"].labels, [0, 1, 1, 0])
    np.testing.assert_array_equal(splits["test"].labels, [1, 0])
    (train,), (test,) = splits["train"].images, splits["test"].images
    np.testing.assert_array_equal(train, pixels(4, 0).reshape(4, 3, 2, 3))
    np.testing.assert_array_equal(test, pixels(2, 1).reshape(2, 3, 2, 3))
    assert train.dtype == np.uint8
    assert splits["train"].labels.dtype == np.int64


def test_cifar10_in_order_of_the_batches_not_of_the_members(tmp_path: Path) -> None:
    folder = "cifar-10-batches-py"
    members: list[tuple[tarfile.TarInfo | str, bytes]] = [
        (
            f"{folder}/data_batch_{batch}",
            python2_pickle({"data": pixels(3, batch), "labels": [batch] * 3}),
        )
        for batch in (4, 3, 2, 5, 1)
    ]
    members.insert(1, (f"{folder}/readme.html", b"<html></html>"))
    members.insert(
        3, (f"{folder}/test_batch", python2_pickle({"data": pixels(1, 9), "labels": [9]}))
    )
    members.append((f"{folder}/batches.meta", python2_pickle({"label_names": list("abcdefghij")})))
    path = write_tar(tmp_path / "cifar.tar.gz", members)
    names, splits = read_cifar(path, CIFAR10, SHAPE)
    assert names == tuple("abcdefghij")
    assert splits["train"].labels.tolist() == [b for b in range(1, 6) for _ in range(3)]
    images = np.concatenate(splits["train"].images)
    expected = np.concatenate([pixels(3, batch) for batch in range(1, 6)])
    np.testing.assert_array_equal(images.reshape(15, -1), expected)
    assert splits["test"].labels.tolist() == [9]


def test_the_very_bytes_that_python_2_and_numpy_1_wrote(tmp_path: Path) -> None:
    data = pixels(1, 5)
    stream = (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x0ftraining 1 of 1q\x03U\x0bfine_labelsq\x04]q\x05K\x01a"
        b"U\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b"
        b"\x87Rq\x09(K\x01K\x01K\x12\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x12" + data.tobytes() + b"tbu."
    )
    _, splits = read(write_cifar100(tmp_path, train=stream))
    assert splits["train"].labels.tolist() == [1]
    np.testing.assert_array_equal(splits["train"].images[0].ravel(), data.ravel())


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_packed_anew_by_python_3(tmp_path: Path, protocol: int, as_bytes: bool) -> None:
    members: list[tuple[tarfile.TarInfo | str, bytes]] = []
    for name, content in cifar100_content().items():
        keyed = {key.encode(): value for key, value in content.items()} if as_bytes else content
        if "meta" in name and as_bytes:
            keyed[b"fine_label_names"] = [b"apple", b"bear"]
        members.append((f"./{name}", pickle.dumps(keyed, protocol=protocol)))
    names, splits = read(write_tar(tmp_path / "cifar.tar.gz", members))
    assert names == ("apple", "bear")
    np.testing.assert_array_equal(splits["train"].images[0].reshape(4, -1), pixels(4, 0))


class Calls:
    """Pickles to a call of anything."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_pickle_is_refused_and_nothing_is_called(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "was_here"
    hostile = pickle.dumps(
        {"data": Calls(os.mkdir, str(trace)), "fine_labels": []}, protocol=protocol
    )
    pickle.loads(hostile)
    assert trace.exists()  # it does work
    trace.rmdir()
    path = write_cifar100(tmp_path, train=hostile)
    with pytest.raises(
        ValueError, match=r"cifar\.tar\.gz: cifar-100-python/train cannot be read: .*posix\.mkdir"
    ):
        read(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "function",
    [eval, getattr, np.load, np.frombuffer, np.ndarray.__array__, io.open],
    ids=lambda function: getattr(function, "__qualname__", str(function)),
)
def test_other_functions_are_refused_too(tmp_path: Path, function: Any) -> None:
    path = write_cifar100(tmp_path, meta=pickle.dumps({"x": Calls(function, "1")}, protocol=4))
    with pytest.raises(ValueError, match="which no image archive needs"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(np.array([{}]), protocol=2), "type 'O8'"),
        (pickle.dumps(np.zeros(3), protocol=2), "type 'f8'"),
        (
            pickle.dumps(np.zeros((2, 3), np.uint8, order="F"), protocol=2),
            "not rows of unsigned bytes",
        ),
        (
            pickle.dumps(np.zeros(3, np.uint8), protocol=2).replace(b"K\x03\x85", b"K\x04\x85"),
            "reshape",
        ),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R.", "'rot13'"),
        (b"\x80\x02cnumpy\nndarray\nK\x0a\x85\x81.", "cannot be read"),
        (b"", "cannot be read"),
        (b"\x80\x02]q", "cannot be read"),
        (b"not a pickle", "cannot be read"),
    ],
    ids=["objects", "floats", "fortran", "shape", "codec", "ndarray", "empty", "truncated", "text"],
)
def test_pickles_of_other_things_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    members = [
        (name, content if name.endswith("train") else python2_pickle(rest))
        for name, rest in cifar100_content().items()
    ]
    with pytest.raises(ValueError, match=message) as caught:
        read(write_tar(tmp_path / "cifar.tar.gz", list(members)))
    assert "cifar-100-python/train cannot be read" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "holds no cifar-100-python/train"),
        ({"train": [1, 2]}, "cifar-100-python/train holds no array 'data'"),
        ({"train": {"data": pixels(1, 0)}}, "holds no list 'fine_labels'"),
        ({"train": {"data": "pixels", "fine_labels": [0]}}, "holds no array 'data'"),
        ({"train": {"data": pixels(3, 0), "fine_labels": [0]}}, r"shape \(3, 18\), but \(1, 18\)"),
        ({"train": {"data": pixels(1, 0)[:, :9], "fine_labels": [0]}}, r"shape \(1, 9\)"),
        ({"train": {"data": pixels(1, 0), "fine_labels": [0.5]}}, "not integers"),
        ({"train": {"data": pixels(1, 0), "fine_labels": [True]}}, "not integers"),
        ({"train": {"data": pixels(1, 0), "fine_labels": [2]}}, "not integers from 0 to 1"),
        ({"train": {"data": pixels(1, 0), "fine_labels": [-1]}}, "not integers from 0 to 1"),
        ({"train": {"data": pixels(1, 0), "fine_labels": [2**70]}}, "not integers from 0 to 1"),
        ({"meta": {"label_names": ["apple"]}}, "meta holds no list 'fine_label_names'"),
    ],
)
def test_content_that_is_not_as_expected(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(write_cifar100(tmp_path, **changes))
    assert "cifar.tar.gz" in str(caught.value)


def test_names_that_lead_elsewhere_write_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    members: list[tuple[tarfile.TarInfo | str, bytes]] = [
        ("../evil", b"evil"),
        ("../../cifar-100-python/train", b"evil"),
        (str(tmp_path / "absolute"), b"evil"),
    ]
    link = tarfile.TarInfo("cifar-100-python")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    members.append((link, b""))
    members += [(name, python2_pickle(content)) for name, content in cifar100_content().items()]
    _, splits = read(write_tar(folder / "cifar.tar.gz", members))
    np.testing.assert_array_equal(splits["train"].images[0].reshape(4, -1), pixels(4, 0))
    assert [path.name for path in folder.iterdir()] == ["cifar.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_member_that_is_not_a_file(tmp_path: Path, kind: bytes) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(python2_pickle({"data": pixels(1, 0), "fine_labels": [0]}))
    member = tarfile.TarInfo("cifar-100-python/train")
    member.type, member.linkname = kind, str(secret)
    rest = [
        (n, python2_pickle(c)) for n, c in cifar100_content().items() if not n.endswith("train")
    ]
    with pytest.raises(ValueError, match="cifar-100-python/train is not a regular file"):
        read(write_tar(tmp_path / "cifar.tar.gz", [(member, b""), *rest]))


def test_member_that_is_there_twice(tmp_path: Path) -> None:
    members = [(name, python2_pickle(content)) for name, content in cifar100_content().items()]
    with pytest.raises(ValueError, match="holds cifar-100-python/meta twice"):
        read(write_tar(tmp_path / "cifar.tar.gz", [*members, members[0]]))


def test_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_ARCHIVE_BYTES", 10_000_000)
    bomb = write_tar(tmp_path / "bomb.tar.gz", [("zeros", bytes(20_000_000))])
    assert bomb.stat().st_size < 200_000
    with pytest.raises(ValueError, match=r"bomb\.tar\.gz unpacks to more than 10000000 bytes"):
        read(bomb)


def test_the_largest_original_fits() -> None:
    assert archives.LARGEST_ARCHIVE_BYTES > 2 * 60_000 * 32 * 32 * 3


def test_archive_of_too_many_members(tmp_path: Path) -> None:
    crowd: list[tuple[tarfile.TarInfo | str, bytes]] = [(f"file{i}", b"") for i in range(101)]
    with pytest.raises(ValueError, match="more than 100 members"):
        read(write_tar(tmp_path / "crowd.tar.gz", crowd))


def test_damaged_archives(tmp_path: Path) -> None:
    intact = write_cifar100(tmp_path).read_bytes()
    flipped = bytearray(intact)
    flipped[len(intact) // 2] ^= 255
    damaged = tmp_path / "damaged.tar.gz"
    plain_text = gzip.compress(b"no tar" * 1000)
    for content in (intact[: len(intact) // 2], bytes(flipped), b"", b"plain text", plain_text):
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged\.tar\.gz"):
            read(damaged)


def write_idx(path: Path, array: NDArray[Any], kind: int = 8) -> Path:
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), compresslevel=1))
    return path


@pytest.mark.parametrize("block_length", [1, 3, 7, 100])
def test_idx(tmp_path: Path, block_length: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 5), dtype=np.uint8)
    blocks = list(read_idx(write_idx(tmp_path / "images.gz", images), (7, 4, 5), block_length))
    assert max(map(len, blocks)) == min(block_length, 7)
    np.testing.assert_array_equal(np.concatenate(blocks), images)


def test_idx_of_other_things(tmp_path: Path) -> None:
    images = np.zeros((7, 4, 5), dtype=np.uint8)
    cases: list[tuple[Path, str]] = [
        (
            write_idx(tmp_path / "a.gz", images[:6]),
            r"shape \(6, 4, 5\), but \(7, 4, 5\) is expected",
        ),
        (
            write_idx(tmp_path / "b.gz", images.swapaxes(1, 2)),
            r"shape \(7, 5, 4\), but \(7, 4, 5\)",
        ),
        (write_idx(tmp_path / "c.gz", images[0]), "not an idx file of unsigned bytes with 3 axes"),
        (write_idx(tmp_path / "d.gz", images, kind=13), "not an idx file of unsigned bytes"),
    ]
    for path, message in cases:
        with pytest.raises(ValueError, match=rf"{path.name} .*{message}"):
            list(read_idx(path, (7, 4, 5), 100))


def test_damaged_idx(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 5), dtype=np.uint8)
    path = write_idx(tmp_path / "images.gz", images)
    intact = path.read_bytes()
    unpacked = gzip.decompress(intact)
    wrong_crc = intact[:-8] + bytes([intact[-8] ^ 255]) + intact[-7:]
    for content, message in (
        (gzip.compress(unpacked[:-1]), "ends before"),
        (gzip.compress(unpacked + b"x"), "goes on after"),
        (gzip.compress(unpacked[:10]), "not an idx file"),
        (intact[:-20], "not an intact gzip file"),
        (wrong_crc, "not an intact gzip file"),
        (b"plain text", "not an intact gzip file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"images\.gz .*{message}"):
            list(read_idx(path, (7, 4, 5), 100))


def test_idx_that_claims_more_than_is_expected_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 28, 28)
    path.write_bytes(gzip.compress(header + bytes(20_000_000)))
    with pytest.raises(ValueError, match=r"shape \(2147483648, 28, 28\)"):
        next(read_idx(path, (60_000, 28, 28), 60_000))
