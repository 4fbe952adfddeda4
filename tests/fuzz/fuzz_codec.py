"""Atheris on the codec: whatever the bytes, an event, and it comes back as it was.

    python tests/fuzz/fuzz_codec.py CORPUS_DIRECTORY -max_total_time=60
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["supervisor"], enable_loader_override=False):
    import fuzz_kit


def one(data: bytes) -> None:
    fuzz_kit.check_codec(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
