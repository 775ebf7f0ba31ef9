"""A word list flows in; a genuine CLIPTokenizer flows out, in which every listed word is one token."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from benchmarks.shapes_world import CLASSES
from training.settings import POSITIONS

WORDS = (
    *("a", "an", "photo", "picture", "drawing", "image", "of", "and", "the", "with", "no", "background"),
    *("shape", "on", "in", *CLASSES, ",", "."),
)
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_symbols() -> list[str]:
    """The printable characters that stand for the 256 bytes in GPT-2's and CLIP's vocabularies, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letter = {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [letter[byte] for byte in range(256)]


def learn_merges(words: tuple[str, ...] = WORDS) -> list[tuple[str, str]]:
    """Merges that make every word one piece, in order of priority; a word that is finished stays finished."""
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = apply_merges([*word[:-1], word[-1] + "</w>"], merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = apply_merges([*word[:-1], word[-1] + "</w>"], merges)
    return merges


def apply_merges(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding: again and again the neighbouring pair with the highest priority becomes one piece."""
    rank = {pair: place for place, pair in enumerate(merges)}
    while True:
        pairs = [pair for pair in pairwise(pieces) if pair in rank]
        if not pairs:
            return pieces
        best = min(pairs, key=rank.__getitem__)
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == best:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Writes vocab.json and merges.txt into the folder and returns the tokenizer; the end mark also pads, as in SD."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges()
    alphabet = byte_symbols()
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges), START, END]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=POSITIONS)
