"""Certificates for tests, made by the openssl command: an authority, a machine, a viewer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def certificates(folder: Path) -> Path:
    """``NAME.pem`` and ``NAME.key`` of 'ca', of 'car' at 127.0.0.1 and of 'viewer', both signed."""
    if shutil.which("openssl") is None:
        text = "needs openssl (apt install openssl)"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "car", "viewer"):
        command = ["openssl", "req", "-x509", *key, "-days", "2", "-subj", f"/CN={name}"]
        command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        if name != "ca":
            command += ["-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key")]
            command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)
        (folder / f"{name}.key").chmod(0o600)
    return folder
