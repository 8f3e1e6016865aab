"""Every random draw comes from a name: (seed, epoch, utterance id) and the like, never from a shared stream."""

import hashlib

import numpy as np


def integer(*keys: int | str) -> int:
    """A whole number in [0, 2**63) that depends on all keys and their order, the same on every machine.

    Other keys than int and str raise TypeError: floats and objects have no stable text.

    >>> integer(0, 1, "a")
    786116968842308246
    """
    return _digest(keys) >> 1


def generator(*keys: int | str) -> np.random.Generator:
    """A NumPy generator of its own for these keys."""
    return np.random.Generator(np.random.PCG64(_digest(keys)))


def seed_torch(*keys: int | str) -> None:
    """Seeds torch's global generators (CPU and CUDA) from these keys."""
    import torch

    torch.manual_seed(integer(*keys))


def _digest(keys: tuple) -> int:
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, (int, str, np.integer)):
            raise TypeError(f"seed key {key!r}: found {type(key).__name__}, expected int or str")
    text = "\x1f".join(f"s{key}" if isinstance(key, str) else f"i{int(key)}" for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")
