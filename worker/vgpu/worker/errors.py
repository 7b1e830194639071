"""Errors of the worker.

    WorkerError                 something the person who runs the worker can act on
    +-- ConfigError             the configuration is wrong or asks for what is not enforced yet
    +-- DriverError             no usable CUDA driver, or it failed
    +-- DeviceError             the devices asked for are not there
    +-- ExecutorError           an executor process could not be started or bound
    +-- KeyFileError            a key file is missing or malformed

Every message names the object and the next step: the command line prints it as it is.
"""


class WorkerError(Exception):
    """Something the person who runs the worker can act on."""


class ConfigError(WorkerError):
    """The configuration is wrong, or asks for something that is not enforced yet."""


class DriverError(WorkerError):
    """No usable CUDA driver library was found, or it failed to initialise."""


class DeviceError(WorkerError):
    """The devices that were asked for do not exist."""


class ExecutorError(WorkerError):
    """An executor process could not be started, or refused its session."""


class KeyFileError(WorkerError):
    """A key file is missing or malformed."""
