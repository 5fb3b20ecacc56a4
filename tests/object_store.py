"""A server of S3's protocol on the loopback, for tests."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from isr.io import places

SECRET = "kept-to-itself"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """A server of S3's protocol on the loopback, with the bucket `pictures`."""
    pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server, address = start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "AWS_ENDPOINT_URL": address,
                "AWS_ACCESS_KEY_ID": "a-key",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
            }.items():
                patch.setenv(name, value)
            places._filesystem.cache_clear()
            places._filesystem("s3").mkdir("pictures")
            yield "s3://pictures"
            places._filesystem.cache_clear()
    finally:
        server.kill()
        server.wait()


def start() -> tuple[subprocess.Popen[bytes], str]:
    """Start the server; again where it ends at once, as when another process took its port meanwhile."""
    for _ in range(5):
        # Not one that the system gives away: servers of other tests would answer there.
        port = random.SystemRandom().randrange(20_000, 30_000)
        address = f"http://127.0.0.1:{port}"
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 120
        while server.poll() is None and time.monotonic() < until:
            try:
                urllib.request.urlopen(address, timeout=1).close()
                return server, address
            except OSError:
                time.sleep(0.1)
        server.kill()
        server.wait()
    raise AssertionError("no server of S3's protocol starts")
