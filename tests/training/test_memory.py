import platform
import subprocess
import sys

import pytest

from keras_seq.training import keep_freed_memory

# Counts the page faults of filling a 64 MiB block again and again, in a process of its own: the setting lasts.
PROGRAM = """
import ctypes, resource, sys
sys.modules["keras_seq.training"] = sys  # the package's __init__ would load TensorFlow
import importlib.util
spec = importlib.util.spec_from_file_location("memory", sys.argv[1])
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)
if sys.argv[2] == "keep":
    assert memory.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for turn in range(6):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 * 2**20)
    ctypes.memset(block, 1, 64 * 2**20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_freed_memory_is_used_again():
    path = sys.modules[keep_freed_memory.__module__].__file__
    faults = {}
    for setting in ("keep", "default"):
        command = [sys.executable, "-c", PROGRAM, path, setting]
        faults[setting] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults["keep"] * 10 < faults["default"]


def test_without_glibc_it_says_so(monkeypatch):
    def absent(_):
        raise OSError("no such library")

    monkeypatch.setattr("ctypes.CDLL", absent)
    assert keep_freed_memory() is False
