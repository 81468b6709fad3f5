"""The first lines that run in a pod: put the code in its place and begin.

    python -c THIS PARTS TARGET SHA256 [words for launch.on_host.pod ...]

PARTS holds an archive in pieces, because one object of Kubernetes holds a megabyte; TARGET/launcher
gets this package, and TARGET/code the user's snapshot, if one was sent. This text travels in the
manifest, so it is short and needs nothing but Python.
"""

import hashlib
import io
import os
import runpy
import signal
import sys
import tarfile
from pathlib import Path

# The first process of a container ignores every signal that it does not handle.
signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
parts, target, digest = sys.argv[1:4]
content = b"".join(path.read_bytes() for path in sorted(Path(parts).glob("part-*")))
if hashlib.sha256(content).hexdigest() != digest:
    sys.exit("error: the code that arrived in the pod is not the code that was sent")
with tarfile.open(fileobj=io.BytesIO(content)) as archive:
    archive.extractall(target, filter="tar")
sys.path[0] = f"{target}/launcher"
sys.argv[1:4] = []
runpy.run_module("launch.on_host.pod", run_name="__main__", alter_sys=True)
