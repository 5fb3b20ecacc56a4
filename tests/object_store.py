"""A server of S3's protocol on the loopback, for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from isr.io import places

SECRET = "kept-to-itself"

SERVE = """
import os, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)

def follow():
    # Nothing comes but the end: that of the tests, also where they are killed.
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=follow, daemon=True).start()
server.serve_forever()
"""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """A server of S3's protocol on the loopback, with the bucket `pictures`."""
    pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
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
            # It keeps its instances, and the server of an earlier file of tests is gone.
            s3fs.S3FileSystem.clear_instance_cache()
            places._filesystem.cache_clear()
            places._filesystem("s3").mkdir("pictures")
            yield "s3://pictures"
            places._filesystem.cache_clear()
    finally:
        server.kill()
        server.communicate()


def start() -> tuple[subprocess.Popen[str], str]:
    """Start the server on a port that the system gives it, which it tells before it serves."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    if not port:
        server.wait()
        raise AssertionError("no server of S3's protocol starts")
    return server, f"http://127.0.0.1:{port}"
