from __future__ import annotations

import contextlib

import torch

from twofold.threads import torch_threads


def test_torch_has_its_cores_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(RuntimeError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before
    with torch_threads(None):
        assert torch.get_num_threads() == before
