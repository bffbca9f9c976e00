"""What every test stands on: no network, no clock, the same random numbers in any order, and a browser where one is asked for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is first imported, so before any test
# Small tensors gain nothing from threads, and threads that wait for one another on a busy machine cost minutes.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
# What a shell starts in the background ignores Ctrl-C, and so does every process that it starts: tests send it on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOCAL = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def same_start() -> None:
    """Torch's global generator starts every test alike, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Connections leave the machine in no test; a server under test on this machine can be reached."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise AssertionError(f"A test reached for the network: {address}. Tests run offline.")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of Chromium. Without one the test is skipped; under CUTAWAY_REQUIRE_BROWSER=1, as in the gate, it fails."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path is not None:
            return path
    message = f"No browser is installed: none of {', '.join(BROWSERS)} is on the PATH."
    if os.environ.get("CUTAWAY_REQUIRE_BROWSER") == "1":
        pytest.fail(message)
    pytest.skip(message)
