"""Archives in the layout of the originals: intact, damaged and hostile."""

import dataclasses
import gzip
import io
import os
import pickle
import struct
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from manifold_capacity.datasets import archives
from manifold_capacity.datasets.archives import read_cifar, read_idx
from manifold_capacity.datasets.catalog import NAMED
from manifold_capacity.errors import UserError

N_PIXELS = 18


def pixels(n_images, seed):
    return np.random.default_rng(seed).integers(0, 256, (n_images, N_PIXELS), dtype=np.uint8)


def as_images(data):
    """Rows of an archive as images of 2 x 3 pixels, channels last."""
    return data.reshape(-1, 3, 2, 3).transpose(0, 2, 3, 1)


# Member -> content, of a small archive.
CONTENT = {
    "cifar-100-python/meta": {"fine_label_names": ["apple", "bear"], "coarse_label_names": []},
    "cifar-100-python/test": {"data": pixels(2, 1), "fine_labels": [1, 0]},
    "cifar-100-python/train": {"data": pixels(4, 0), "fine_labels": [0, 1, 1, 0]},
}


def write_tar(path, members):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for info, content in members:
            member = tarfile.TarInfo(info) if isinstance(info, str) else info
            member.size = member.size or len(content)
            archive.addfile(member, io.BytesIO(content) if content else None)
    return path


def write_cifar100(tmp_path, *more, **changes):
    """A small archive; `train=bytes` replaces a member, `train=None` leaves it out."""
    members = list(more)
    for name, content in CONTENT.items():
        replacement = changes.get(Path(name).name, content)
        if isinstance(replacement, bytes):
            members.append((name, replacement))
        elif replacement is not None:
            members.append((name, pickle.dumps(replacement)))
    return write_tar(tmp_path / "cifar.tar.gz", members)


def read(path, block_length=3):
    """Split -> labels and all images."""
    changes = {"class_names": ("apple", "bear"), "sample_shape": (2, 3, 3)}
    dataset = dataclasses.replace(NAMED["cifar100"], **changes)
    splits = read_cifar(path, dataset, dataset.source, block_length)
    return {
        split: (labels, np.concatenate(list(blocks))) for split, (labels, blocks) in splits.items()
    }


@pytest.mark.parametrize("block_length", [1, 3, 100])
def test_cifar100(tmp_path, block_length):
    splits = read(write_cifar100(tmp_path), block_length=block_length)
    for split, (labels, images) in splits.items():
        expected = CONTENT[f"cifar-100-python/{split}"]
        np.testing.assert_array_equal(labels, expected["fine_labels"])
        np.testing.assert_array_equal(images, as_images(expected["data"]))
        assert (labels.dtype, images.dtype) == (np.int64, np.uint8)


def test_the_very_bytes_that_python_2_and_numpy_1_wrote(tmp_path):
    data = pixels(1, 5)
    stream = (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x0ftraining 1 of 1q\x03U\x0bfine_labelsq\x04]q\x05K\x01a"
        b"U\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b"
        b"\x87Rq\x09(K\x01K\x01K\x12\x86cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x12" + data.tobytes() + b"tbu."
    )
    labels, images = read(write_cifar100(tmp_path, train=stream))["train"]
    assert labels.tolist() == [1]
    np.testing.assert_array_equal(images, as_images(data))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_packed_again_by_python_3(tmp_path, protocol, as_bytes):
    members = []
    for name, content in CONTENT.items():
        keyed = {key.encode(): value for key, value in content.items()} if as_bytes else content
        if "meta" in name and as_bytes:
            keyed[b"fine_label_names"] = [b"apple", b"bear"]
        members.append((f"./{name}", pickle.dumps(keyed, protocol=protocol)))
    _, images = read(write_tar(tmp_path / "cifar.tar.gz", members))["train"]
    np.testing.assert_array_equal(images, as_images(pixels(4, 0)))


class Calls:
    """Pickles to a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_pickle_is_refused_and_nothing_is_called(tmp_path, protocol):
    trace = tmp_path / "was_here"
    content = {"data": Calls(os.mkdir, str(trace)), "fine_labels": []}
    hostile = pickle.dumps(content, protocol=protocol)
    pickle.loads(hostile)
    assert trace.exists()  # it does work
    trace.rmdir()
    message = r"cifar\.tar\.gz: cifar-100-python/train cannot be read: .*posix\.mkdir"
    with pytest.raises(UserError, match=message):
        read(write_cifar100(tmp_path, train=hostile))
    assert not trace.exists()


@pytest.mark.parametrize(
    "function",
    [eval, getattr, np.load, np.frombuffer, np.ndarray.__array__, io.open],
    ids=lambda function: getattr(function, "__qualname__", str(function)),
)
def test_other_functions_are_refused_too(tmp_path, function):
    path = write_cifar100(tmp_path, meta=pickle.dumps({"x": Calls(function, "1")}, protocol=4))
    with pytest.raises(UserError, match="which no image archive needs"):
        read(path)


def numpy_pickle(array):
    return pickle.dumps(array, protocol=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (numpy_pickle(np.array([{}])), "type 'O8'"),
        (numpy_pickle(np.zeros(3)), "type 'f8'"),
        (numpy_pickle(np.zeros((2, 3), np.uint8, order="F")), "not rows of unsigned bytes"),
        (numpy_pickle(np.zeros(3, np.uint8)).replace(b"K\x03\x85", b"K\x04\x85"), "reshape"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R.", "'rot13'"),
        (b"\x80\x02cnumpy\nndarray\nK\x0a\x85\x81.", ""),
        (b"", ""),
        (b"\x80\x02]q", ""),
        (b"not a pickle", ""),
        (b"cos\x07\nx\n.", "it asks for os .x, which no image archive needs"),
    ],
    ids=[
        "objects",
        "floats",
        "fortran",
        "shape",
        "codec",
        "ndarray",
        "empty",
        "truncated",
        "text",
        "unprintable",
    ],
)
def test_pickles_of_other_things_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"python/train cannot be read: .*{message}"):
        read(write_cifar100(tmp_path, train=content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "holds no cifar-100-python/train"),
        ({"train": [1, 2]}, "cifar-100-python/train holds no array 'data'"),
        ({"train": {"data": pixels(1, 0)}}, "holds no list 'fine_labels'"),
        ({"train": {"data": "pixels", "fine_labels": [0]}}, "holds no array 'data'"),
        ({"train": {"data": pixels(3, 0), "fine_labels": [0]}}, r"shape \(3, 18\), but \(1, 18\)"),
        ({"train": {"data": pixels(1, 0)[:, :9], "fine_labels": [0]}}, r"shape \(1, 9\)"),
        *(
            ({"train": {"data": pixels(1, 0), "fine_labels": [label]}}, "not integers from 0 to 1")
            for label in (0.5, True, 2, -1, 2**70)
        ),
        ({"meta": {"label_names": ["apple"]}}, "meta holds no list 'fine_label_names'"),
        (
            {"meta": {"fine_label_names": ["bear", 1]}},
            "has the classes bear, 1; .* are apple, bear",
        ),
    ],
)
def test_content_that_is_not_as_expected(tmp_path, changes, message):
    with pytest.raises(UserError, match=rf"cifar\.tar\.gz.*{message}"):
        read(write_cifar100(tmp_path, **changes))


def test_names_that_lead_elsewhere_write_nothing(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    link = tarfile.TarInfo("cifar-100-python")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    names = ("../evil", "../../cifar-100-python/train", str(tmp_path / "absolute"))
    splits = read(write_cifar100(folder, *((name, b"evil") for name in names), (link, b"")))
    np.testing.assert_array_equal(splits["train"][1], as_images(pixels(4, 0)))
    assert [path.name for path in folder.iterdir()] == ["cifar.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "DIRTYPE", "FIFOTYPE", "GNUTYPE_SPARSE"])
def test_member_that_is_not_a_file(tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_bytes(pickle.dumps({"data": pixels(1, 0), "fine_labels": [0]}))
    member = tarfile.TarInfo("cifar-100-python/train")
    member.type, member.linkname = getattr(tarfile, kind), str(secret)
    with pytest.raises(UserError, match="cifar-100-python/train is not a regular file"):
        read(write_cifar100(tmp_path, (member, b""), train=None))


def test_member_that_is_there_twice(tmp_path):
    with pytest.raises(UserError, match="holds cifar-100-python/meta twice"):
        read(write_cifar100(tmp_path, ("cifar-100-python/meta", pickle.dumps({}))))


def test_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    assert archives.LARGEST_ARCHIVE_BYTES > 2 * 60_000 * 32 * 32 * 3
    monkeypatch.setattr(archives, "LARGEST_ARCHIVE_BYTES", 10_000_000)
    bomb = write_tar(tmp_path / "bomb.tar.gz", [("zeros", bytes(20_000_000))])
    assert bomb.stat().st_size < 200_000
    with pytest.raises(UserError, match=r"bomb\.tar\.gz unpacks to more than 10000000 bytes"):
        read(bomb)


def test_pickle_that_asks_for_a_huge_memo(tmp_path):
    path = write_cifar100(tmp_path, meta=b"\x80\x02}r" + struct.pack("<I", 2**26) + b".")
    tracemalloc.start()
    with pytest.raises(UserError, match="meta holds no list 'fine_label_names'"):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**26


def test_damage_after_the_last_member_is_found(tmp_path):
    path = write_cifar100(tmp_path)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of gzip's checksum
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not an intact \.tar\.gz archive: CRC check failed"):
        read(path)


def test_class_names_that_are_no_text(tmp_path):
    meta = pickle.dumps({b"fine_label_names": [b"apple", b"be\xff\nr" * 10**5]}, protocol=2)
    with pytest.raises(
        UserError, match=r"has the classes apple, be\ufffd rbe.*; those of"
    ) as caught:
        read(write_cifar100(tmp_path, meta=meta))
    assert len(str(caught.value)) < 1000


def test_archive_of_too_many_members(tmp_path):
    crowd = [(f"file{i}", b"") for i in range(97)]
    read(write_cifar100(tmp_path, *crowd))
    with pytest.raises(UserError, match="more than 100 members"):
        read(write_cifar100(tmp_path, *crowd, ("one more", b"")))


def test_damaged_archives(tmp_path):
    intact = write_cifar100(tmp_path).read_bytes()
    flipped = bytearray(intact)
    flipped[len(intact) // 2] ^= 255
    damaged = tmp_path / "damaged.tar.gz"
    plain_text = gzip.compress(b"no tar" * 1000)
    for content in (intact[: len(intact) // 2], bytes(flipped), b"", b"plain text", plain_text):
        damaged.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged\.tar\.gz"):
            read(damaged)


IDX_IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5), dtype=np.uint8)


def idx(array, kind=8):
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), compresslevel=1)


@pytest.mark.parametrize("block_length", [1, 3, 7, 100])
def test_idx(tmp_path, block_length):
    path = tmp_path / "images.gz"
    path.write_bytes(idx(IDX_IMAGES))
    blocks = list(read_idx(path, (7, 4, 5), block_length))
    assert max(map(len, blocks)) == min(block_length, 7)
    np.testing.assert_array_equal(np.concatenate(blocks), IDX_IMAGES)


INTACT = idx(IDX_IMAGES)
UNPACKED = gzip.decompress(INTACT)
BOMB = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 28, 28) + bytes(20_000_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(IDX_IMAGES[:6]), r"shape \(6, 4, 5\), but \(7, 4, 5\) is expected; a mirror must"),
        (idx(IDX_IMAGES.swapaxes(1, 2)), r"shape \(7, 5, 4\), but \(7, 4, 5\)"),
        (idx(IDX_IMAGES[0]), "not an idx file of unsigned bytes with 3 axes"),
        (idx(IDX_IMAGES, kind=13), "not an idx file of unsigned bytes"),
        (gzip.compress(UNPACKED[:10]), "not an idx file"),
        (gzip.compress(UNPACKED[:-1]), "ends before"),
        (gzip.compress(UNPACKED + b"x"), "continues after"),
        (INTACT[:-20], "not an intact gzip file"),
        (INTACT[:-8] + bytes([INTACT[-8] ^ 255]) + INTACT[-7:], "not an intact gzip file"),
        (b"plain text", "not an intact gzip file"),
        # More than is expected: not unpacked.
        (gzip.compress(BOMB, compresslevel=1), r"shape \(2147483648, 28, 28\)"),
    ],
    ids=["few", "axes", "2 axes", "type", "header", "short", "long", "cut", "crc", "text", "bomb"],
)
def test_idx_of_other_things(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"images\.gz .*{message}"):
        list(read_idx(path, (7, 4, 5), 3))
