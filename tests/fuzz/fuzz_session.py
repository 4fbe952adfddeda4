"""Atheris on a whole session: each line of the input is a message, or, after a byte 0, raw bytes.

    python tests/fuzz/fuzz_session.py CORPUS_DIRECTORY -max_total_time=60
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["supervisor"], enable_loader_override=False):
    import fuzz_kit
    import server_kit


def one(data: bytes) -> None:
    pieces = data.split(b"\n")[:20]
    fuzz_kit.check_bytes(
        piece[1:] if piece[:1] == b"\0" else server_kit.frame(piece)
        for piece in pieces
        if piece not in (b"", b"\0")
    )


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
