"""Names the system packages that a venv cannot bring and this machine lacks; it installs nothing.

The Makefile runs it before it makes ``.venv``, so it is plain standard library and readable by any
Python 3: a system Python that is too old must get the message below and not a syntax error.
"""

import ctypes
import glob
import importlib.util
import os
import shutil
import sys
import sysconfig

OLDEST, NEWEST = (3, 10), (3, 13)

# (Debian package, what shows that it is there): files where a "/" is in it, a shared library where
# ".so" is, else a command. opencv-python links those of RUN, and its window plug-in those of
# WINDOW too.
RUN = [("libgl1", "libGL.so.1"), ("libglib2.0-0", "libgthread-2.0.so.0")]
WINDOW = [("libsm6", "libSM.so.6"), ("libice6", "libICE.so.6")]
TEST = [
    ("xvfb", "Xvfb"),  # a screen for the window sink
    ("xdotool", "xdotool"),  # the key pressed in it
    ("imagemagick", "import"),  # a picture of it
    ("g++", "g++"),  # the driver that CUDA code is tested on
    ("libfaketime", "/usr/lib/*/faketime/libfaketimeMT.so.1"),  # a wall clock that is stepped
    ("systemd", "systemd-analyze"),  # units are tested under one that is booted for them
    ("dbus", "dbus-daemon"),  # how systemctl speaks to it
    ("openssl", "openssl"),  # certificates for the page
]
# Of slow tests, which make test leaves out; they skip where it is not there.
CI = [
    ("chromium", "chromium"),  # what looks at the page
    ("prometheus", "prometheus"),  # what asks for the metrics, and promtool
]
# Pipelines of GStreamer. Its bindings are compiled for the system's own Python and help no other;
# with another one those tests skip.
SYSTEM_PYTHON = "/usr/bin/python3"
GSTREAMER = [
    ("python3-gi", "/usr/lib*/python3*/*-packages/gi/_gi.*.so"),
    ("gir1.2-gstreamer-1.0", "/usr/lib*/**/girepository-1.0/Gst-1.0.typelib"),
    ("gir1.2-gst-plugins-base-1.0", "/usr/lib*/**/girepository-1.0/GstApp-1.0.typelib"),
    ("gstreamer1.0-plugins-base", "/usr/lib*/**/gstreamer-1.0/libgstvideotestsrc.so"),
    ("gstreamer1.0-plugins-good", "/usr/lib*/**/gstreamer-1.0/libgstrtp.so"),
    # the camera of tests/field: a server and an encoder of H.264
    ("gir1.2-gst-rtsp-server-1.0", "/usr/lib*/**/girepository-1.0/GstRtspServer-1.0.typelib"),
    ("gstreamer1.0-plugins-ugly", "/usr/lib*/**/gstreamer-1.0/libgstx264.so"),
]


def present(sign):
    """Whether the library or command ``sign`` is on this machine."""
    if "/" in sign:
        # "**" without recursive=True is one folder (Debian's architecture); Fedora has none there.
        return bool(glob.glob(sign) or glob.glob(sign.replace("/**", "")))
    if ".so" not in sign:
        return shutil.which(sign) is not None
    try:
        ctypes.CDLL(sign)
    except OSError:
        return False
    return True


def has_cuda_toolkit():
    """Whether the tests can build PyCUDA, as tests/cuda_host/build.py looks for what it needs."""
    places = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    headers = [os.path.exists(os.path.join(place, "include", "cuda.h")) for place in places]
    return any(headers) or shutil.which("nvcc") is not None


def is_system_python():
    """Whether this Python is of the system's version, so that the system's modules fit it."""
    return os.path.basename(os.path.realpath(SYSTEM_PYTHON)) == "python%d.%d" % sys.version_info[:2]


def missing(goal, window):
    """Debian packages that ``goal`` ('run', 'test' or 'ci') needs and this machine lacks."""
    packages = []
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        packages.append("python%d.%d-venv" % sys.version_info[:2])
    tests = goal in ("test", "ci")
    wanted = RUN + (WINDOW if window or tests else []) + (TEST if tests else [])
    if goal == "ci":
        wanted += CI
    if tests and is_system_python():
        wanted += GSTREAMER
    if tests and has_cuda_toolkit():
        headers = os.path.join(sysconfig.get_paths()["include"], "Python.h")
        wanted += [("python%d.%d-dev" % sys.version_info[:2], headers)]
    return packages + [package for package, sign in wanted if not present(sign)]


def main(arguments):
    """Print the one apt line for what is missing, or with ``--names`` only the packages' names."""
    goal = arguments[0]
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = "%s is Python %d.%d" % ((sys.executable,) + sys.version_info[:2])
        print(found + ", wanted 3.10 to 3.13: make %s PYTHON=python3.12" % goal, file=sys.stderr)
        return 1
    packages = missing(goal, window=bool(os.environ.get("DISPLAY")))
    if "--names" in arguments:
        print(" ".join(packages))
        return 0
    if packages:
        print(
            "Missing on this machine. Install it, then run make %s again:" % goal, file=sys.stderr
        )
        print("    sudo apt install -y " + " ".join(packages), file=sys.stderr)
    return 1 if packages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
