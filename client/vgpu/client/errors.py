"""Errors of the client's commands.

    ClientError                 something the person at the command line can act on
    +-- InstallationError       native files are missing
    +-- ConnectionFailedError   the worker cannot be reached, or is not one
    +-- WorkerRefusedError      the worker answered with an error
    +-- PrivateWorkerError      the private worker of `vgpu run` did not start

Every message names the object and the next step: the command line prints it as it is.
"""


class ClientError(Exception):
    """Something the person at the command line can act on."""


class InstallationError(ClientError):
    """Native files of this installation are missing."""


class ConnectionFailedError(ClientError):
    """The worker cannot be reached, is not a vgpu worker, or does not accept our key."""


class WorkerRefusedError(ClientError):
    """The worker answered with an error."""


class PrivateWorkerError(ClientError):
    """The private worker of `vgpu run` did not start."""
