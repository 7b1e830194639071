"""Host threads at work at the same time: contexts, per-thread streams, allocation under load."""

import ctypes
import random
import struct
import threading

from harness import kernels

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
PER_THREAD = 2  # CU_STREAM_PER_THREAD
WORDS = 2048
GRID, BLOCK = (WORDS // 256, 1, 1), (256, 1, 1)


def together(*bodies):
    """Runs the bodies in threads of their own, from one starting line; raises what one raised."""
    barrier, failures = threading.Barrier(len(bodies)), []

    def run(body):
        try:
            barrier.wait(30)
            body()
        except BaseException as error:  # reported by the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def fill(cuda, function, address, value, stream):
    arguments = U64(address), U32(value), U32(WORDS)
    assert cuda.launch(function, GRID, BLOCK, *arguments, stream=stream) == 0


def same(value):
    return struct.pack("<I", value) * WORDS


def test_threads_with_contexts_of_their_own(cuda):
    cuda.cuInit(0)

    def body(seed):
        context = cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
        function = cuda.function(cuda.module(kernels.ALL), "fill")
        memory, copy = cuda.alloc(4 * WORDS), cuda.alloc(4 * WORDS)
        for round_ in range(10):
            value = seed * 1000 + round_
            fill(cuda, function, memory, value, PER_THREAD)
            cuda.cuMemcpyDtoDAsync_v2(copy, memory, 4 * WORDS, PER_THREAD)
            cuda.cuStreamSynchronize(PER_THREAD)
            assert cuda.download(copy, 4 * WORDS) == same(value)
        assert cuda.out("cuCtxGetCurrent", HANDLE) == context
        cuda.cuCtxDestroy_v2(context)

    together(lambda: body(1), lambda: body(2))


def test_per_thread_streams_do_not_wait_for_each_other(cuda):
    context = cuda.start()
    module = cuda.module(kernels.ALL)
    spin, function = cuda.function(module, "spin"), cuda.function(module, "fill")
    flag, memory = cuda.upload(bytes(8)), cuda.alloc(4 * WORDS)
    launched = threading.Event()

    def waits():
        cuda.cuCtxSetCurrent(context)
        assert cuda.launch(spin, (1, 1, 1), (1, 1, 1), U64(flag), stream=PER_THREAD) == 0
        launched.set()
        cuda.cuStreamSynchronize(PER_THREAD)

    def goes_on():
        cuda.cuCtxSetCurrent(context)
        launched.wait(30)
        fill(cuda, function, memory, 5, PER_THREAD)
        cuda.cuStreamSynchronize(PER_THREAD)  # although the other thread's kernel still spins
        cuda.cuMemsetD32Async(flag, 1, 1, PER_THREAD)
        cuda.cuStreamSynchronize(PER_THREAD)

    together(waits, goes_on)
    assert cuda.download(memory, 4 * WORDS) == same(5)


def test_allocation_and_work_on_many_streams(cuda):
    """Buffers from all allocators are filled, copied and freed at random; nothing is mixed up."""
    context = cuda.start()
    function = cuda.function(cuda.module(kernels.ALL), "fill")

    def body(seed):
        cuda.cuCtxSetCurrent(context)
        choose = random.Random(seed)
        streams = [cuda.stream() for _ in range(3)]
        size = 4 * WORDS
        alive = []
        for step in range(60):
            stream = choose.choice(streams)
            if alive and choose.random() < 0.45:
                address, value, owner, pooled = alive.pop(choose.randrange(len(alive)))
                cuda.cuStreamSynchronize(owner)
                assert cuda.download(address, size) == same(value)
                if pooled:
                    cuda.cuMemFreeAsync(address, stream)
                else:
                    cuda.cuMemFree_v2(address)
                continue
            pooled = choose.random() < 0.6
            address = cuda.out("cuMemAllocAsync", U64, size, stream) if pooled else cuda.alloc(size)
            value = seed << 16 | step
            if choose.random() < 0.5:
                fill(cuda, function, address, value, stream)
            else:
                cuda.cuMemsetD32Async(address, value, WORDS, stream)
            alive.append((address, value, stream, pooled))
        for address, value, owner, _ in alive:
            cuda.cuStreamSynchronize(owner)
            assert cuda.download(address, size) == same(value)

    together(*[lambda seed=seed: body(seed) for seed in (1, 2, 3)])


def test_modules_come_and_go_while_others_launch(cuda):
    context = cuda.start()
    counter = cuda.upload(bytes(4))

    def body():
        cuda.cuCtxSetCurrent(context)
        stream = cuda.stream()
        for _ in range(8):
            module = cuda.module(kernels.ALL)
            increment = cuda.function(module, "increment")
            arguments = (U64(counter),)
            assert cuda.launch(increment, (2, 1, 1), (32, 1, 1), *arguments, stream=stream) == 0
            cuda.cuStreamSynchronize(stream)
            cuda.cuModuleUnload(module)

    together(body, body, body)
    assert int.from_bytes(cuda.download(counter, 4), "little") == 3 * 8 * 64
