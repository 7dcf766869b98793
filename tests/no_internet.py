"""Run a command that the kernel kills if it, or a process that it starts, opens an internet socket.

    python tests/no_internet.py COMMAND ...

A filter of system calls (seccomp) is set before the command takes over the process, and every
child inherits it. It needs Linux and no rights. An IPv4 socket ends its process with SIGSYS; an
IPv6 socket fails as on a machine without IPv6, because urllib3 tries one when it is imported to
find out if there is any. Whoever wants to reach another machine then has IPv4 left.
"""

import ctypes
import os
import platform
import socket
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine())  # number of the system call
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EAFNOSUPPORT = 97
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_CALL, _FIRST_ARGUMENT = 0, 16  # offsets into what the filter sees


class _Step(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step)))


def available() -> bool:
    """Whether the filter can be set here; tries it in a process of its own."""
    if sys.platform != "linux" or _SOCKET is None:
        return False
    child = os.fork()
    if not child:
        try:
            forbid()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def forbid() -> None:
    """Set the filter for this process and all that it starts, for good; OSError if refused."""
    steps = (
        _Step(_LOAD, 0, 0, _CALL),
        _Step(_JUMP_IF_EQUAL, 0, 3, _SOCKET),  # another call: allow
        _Step(_LOAD, 0, 0, _FIRST_ARGUMENT),
        _Step(_JUMP_IF_EQUAL, 2, 0, socket.AF_INET),  # kill
        _Step(_JUMP_IF_EQUAL, 2, 0, socket.AF_INET6),  # fail
        _Step(_RETURN, 0, 0, _ALLOW),
        _Step(_RETURN, 0, 0, _KILL),
        _Step(_RETURN, 0, 0, _ERRNO | _EAFNOSUPPORT),
    )
    array = (_Step * len(steps))(*steps)
    program = _Program(len(steps), array)
    libc = ctypes.CDLL(None, use_errno=True)
    calls = (
        lambda: libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        lambda: libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0),
    )
    for call in calls:
        if call() != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


if __name__ == "__main__":
    forbid()
    os.execvp(sys.argv[1], sys.argv[1:])
