"""Forks, exits and faults."""

import ctypes
import os
import threading

from harness import driver as d
from harness import kernels
from softgpu import child


def test_fork_before_use_works_in_both():
    def body(cuda):
        pid = os.fork()
        cuda.start()
        assert cuda.download(cuda.upload(b"abc"), 3) == b"abc"
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    child.run(body)


def test_a_child_of_a_user_is_told():
    def body(cuda):
        cuda.start()
        address = cuda.upload(b"abc")
        pid = os.fork()
        if pid == 0:
            codes = {
                cuda.code("cuInit", 0),
                cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 4),
                cuda.code("cuCtxSynchronize"),
            }
            ctypes.CDLL(None).exit(0 if codes == {d.NOT_INITIALIZED} else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert cuda.download(address, 3) == b"abc"

    child.run(body)


def test_exit_while_a_kernel_runs():
    def body(cuda):
        cuda.start()
        spin = cuda.function(cuda.module(kernels.ALL), "spin")
        flag = cuda.upload(bytes(8))
        assert cuda.launch(spin, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(flag)) == 0

    child.run(body)


def test_exit_from_a_second_thread_with_queued_work():
    def body(cuda):
        cuda.start()
        burn = cuda.function(cuda.module(kernels.ALL), "burn")
        out = cuda.alloc(4)
        for _ in range(50):
            rounds = ctypes.c_uint32(100_000)
            cuda.launch(burn, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(out), rounds, stream=2)
        thread = threading.Thread(target=lambda: ctypes.CDLL(None).exit(0))
        thread.start()
        thread.join()

    child.run(body)


def test_a_fault_names_the_kernel_and_spares_other_contexts():
    def body(cuda):
        cuda.cuInit(0)
        good = cuda.out("cuCtxCreate_v2", ctypes.c_void_p, 0, 0)
        address = cuda.upload(b"good")
        cuda.out("cuCtxCreate_v2", ctypes.c_void_p, 0, 0)
        wild = cuda.function(cuda.module(kernels.ALL), "wild")
        assert cuda.launch(wild, (1, 1, 1), (1, 1, 1)) == 0
        assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS
        assert cuda.code("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 4) == d.ILLEGAL_ADDRESS
        cuda.cuCtxSetCurrent(good)
        assert cuda.download(address, 4) == b"good"

    assert "wild" in child.run(body).errors


def test_use_after_free_is_a_fault():
    def body(cuda):
        cuda.start()
        fill = cuda.function(cuda.module(kernels.ALL), "fill")
        address = cuda.alloc(4096)
        cuda.cuMemFree_v2(address)
        arguments = ctypes.c_uint64(address), ctypes.c_uint32(1), ctypes.c_uint32(32)
        assert cuda.launch(fill, (1, 1, 1), (32, 1, 1), *arguments) == 0
        assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS

    child.run(body)


def test_one_word_too_far_is_a_fault():
    def body(cuda):
        cuda.start()
        fill = cuda.function(cuda.module(kernels.ALL), "fill")
        address = cuda.alloc(100 * 4)
        arguments = ctypes.c_uint64(address), ctypes.c_uint32(1)
        assert cuda.launch(fill, (1, 1, 1), (128, 1, 1), *arguments, ctypes.c_uint32(100)) == 0
        cuda.cuCtxSynchronize()
        assert cuda.launch(fill, (1, 1, 1), (128, 1, 1), *arguments, ctypes.c_uint32(101)) == 0
        assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS

    child.run(body)


def test_launch_blocking_reports_at_the_launch():
    def body(cuda):
        cuda.start()
        wild = cuda.function(cuda.module(kernels.ALL), "wild")
        assert cuda.launch(wild, (1, 1, 1), (1, 1, 1)) == d.ILLEGAL_ADDRESS

    child.run(body, CUDA_LAUNCH_BLOCKING="1")


def test_kernels_take_the_configured_time():
    def body(cuda):
        cuda.start()
        increment = cuda.function(cuda.module(kernels.ALL), "increment")
        counter, begin, end = cuda.upload(bytes(4)), cuda.event(), cuda.event()
        cuda.cuEventRecord(begin, 0)
        for _ in range(3):
            cuda.launch(increment, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(counter))
        cuda.cuEventRecord(end, 0)
        cuda.cuEventSynchronize(end)
        assert cuda.out("cuEventElapsedTime", ctypes.c_float, begin, end) >= 60

    child.run(body, VGPU_SOFT_KERNEL_TIME_US="20000")


def test_peers_reach_each_other_only_when_allowed():
    def body(cuda):
        cuda.cuInit(0)
        first = cuda.out("cuDevicePrimaryCtxRetain", ctypes.c_void_p, 0)
        second = cuda.out("cuDevicePrimaryCtxRetain", ctypes.c_void_p, 1)
        cuda.cuCtxSetCurrent(second)
        far = cuda.upload(bytes(4))
        cuda.cuCtxSetCurrent(first)
        assert cuda.out("cuDeviceCanAccessPeer", ctypes.c_int, 0, 1) == 1
        fill = cuda.function(cuda.module(kernels.ALL), "fill")
        arguments = ctypes.c_uint64(far), ctypes.c_uint32(9), ctypes.c_uint32(1)
        cuda.cuCtxEnablePeerAccess(second, 0)
        assert cuda.code("cuCtxEnablePeerAccess", second, 0) == 704
        assert cuda.launch(fill, (1, 1, 1), (1, 1, 1), *arguments) == 0
        cuda.cuCtxSynchronize()
        assert cuda.download(far, 4) == b"\x09\0\0\0"
        cuda.cuCtxDisablePeerAccess(second)
        assert cuda.launch(fill, (1, 1, 1), (1, 1, 1), *arguments) == 0
        assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS

    child.run(body, VGPU_SOFT_DEVICES="2")
