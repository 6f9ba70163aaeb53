"""Names the system packages that a venv cannot bring and this machine lacks; it installs nothing.

The Makefile runs it before it makes ``.venv``, so it is plain standard library and readable by any
Python 3: a system Python that is too old must get the message below and not a syntax error.
"""

import ctypes
import importlib.util
import os
import shutil
import sys

OLDEST, NEWEST = (3, 10), (3, 13)

# (Debian package, what shows that it is there): a shared library where ".so" is in it, else a
# command. opencv-python's wheel links those of RUN, and its window plug-in those of WINDOW too.
RUN = [("libgl1", "libGL.so.1"), ("libglib2.0-0", "libgthread-2.0.so.0")]
WINDOW = [("libsm6", "libSM.so.6"), ("libice6", "libICE.so.6")]
TEST = [
    ("xvfb", "Xvfb"),  # a screen for the window sink
    ("xdotool", "xdotool"),  # the key pressed in it
    ("imagemagick", "import"),  # a picture of it
]


def present(sign):
    """Whether the library or command ``sign`` is on this machine."""
    if ".so" not in sign:
        return shutil.which(sign) is not None
    try:
        ctypes.CDLL(sign)
    except OSError:
        return False
    return True


def missing(goal, window):
    """Debian packages that ``goal`` ('run' or 'test') needs and this machine lacks."""
    packages = []
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        packages.append("python%d.%d-venv" % sys.version_info[:2])
    wanted = RUN + (WINDOW if window or goal == "test" else []) + (TEST if goal == "test" else [])
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
