"""Damage to the content of files, for tests that read what may be anything."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = os.environ.get("MANIFOLD_CAPACITY_FUZZ_EXAMPLES")
# The same examples each time, so that a failure can be had again; new ones where a number is asked for.
settings.register_profile(
    "fuzz",
    max_examples=int(EXAMPLES or 150),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# Bytes that lengths, signs, NaN and infinite numbers are made of.
_ODD = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"-", b"9"]
_ODD += [b"\xff\xff\xff\x7f", b"\xff\xff\x80\xff", b"\0\0\x80\x7f"]
# Most damage leaves the file's structure as it is.
_KINDS = [["flip"], ["write"], ["flip", "write", "insert", "remove", "copy", "cut"]]


@st.composite
def _damaged(draw, content):
    content = bytearray(content)
    kinds = draw(st.sampled_from(_KINDS))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(kinds))
        if kind == "flip" and begin < len(content):
            content[begin] ^= 1 << draw(st.integers(0, 7))
        elif kind in ("write", "insert"):
            new = draw(st.sampled_from(_ODD) | st.binary(min_size=1, max_size=8))
            content[begin : begin if kind == "insert" else begin + len(new)] = new
        elif kind == "cut":
            del content[begin:]
        else:
            part = content[begin : begin + draw(st.integers(0, 40))]
            to = begin if kind == "remove" else draw(st.integers(0, len(content)))
            content[to : to + len(part)] = b"" if kind == "remove" else part
    return bytes(content)


@pytest.fixture(scope="session")
def damaged():
    """A strategy, content -> content with bits flipped, and bytes written, inserted, removed or cut off."""
    return _damaged
