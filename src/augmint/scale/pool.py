"""An ordered map over processes: the same results, in the same order, with any number of workers."""

from __future__ import annotations

import multiprocessing as mp
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from augmint.core.errors import Interrupted, UserError
from augmint.core.machine import cores

A = TypeVar("A")
B = TypeVar("B")


def quiet_worker() -> None:
    """One thread a worker: the pool is the parallelism. Signals are the parent's business, and its end is theirs."""
    import signal
    from threading import Thread

    Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Libraries that are loaded later read these; those that are loaded already are told.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[name] = "1"
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with_parent() -> None:
    """A worker waits for work at a pipe that it holds open itself: nothing else tells it that its parent was killed."""
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def ordered_map(
    fn: Callable[[A], B],
    items: Iterable[A],
    *,
    workers: int = 0,
    name: Callable[[A], str] = str,
    stop: object = False,
) -> Generator[B, None, None]:
    """``fn`` of every item, lazily and in order; at most four items a worker are in flight.

    Close it (`contextlib.closing`) where an error may end the loop over it: that ends the workers too, and what they are at.

    Args:
        fn: a picklable function of one item.
        workers: processes; 0 = one a core, 1 = in this process.
        name: what to call an item when its worker fails.
        stop: becomes true when somebody asks to stop; looked at while waiting for a worker.

    Raises:
        Interrupted: when ``stop`` has become true.
    """
    workers = workers or cores()
    if workers == 1:
        yield from map(fn, items)
        return
    with ProcessPoolExecutor(workers, mp_context=mp.get_context("spawn"), initializer=quiet_worker) as pool:
        waiting: deque[tuple[str, Future[B]]] = deque()
        try:
            for item in items:
                with _main_hidden(fn):
                    waiting.append((name(item), pool.submit(fn, item)))
                if len(waiting) >= 4 * workers:
                    yield _result(*waiting.popleft(), stop)
            while waiting:
                yield _result(*waiting.popleft(), stop)
        except BaseException:
            _end(pool)
            raise


def _end(pool: ProcessPoolExecutor) -> None:
    """End the workers now: nobody will ask for what they are at. They write files under a temporary name, so nothing is half done."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


@contextmanager
def _main_hidden(fn: Callable[..., object]) -> Iterator[None]:
    """Start workers without running the user's script again, so that it needs no ``if __name__ == "__main__"``.

    A spawned process re-imports the main module because what it is sent might be defined there; ``fn`` is not.
    """
    inner = fn.func if isinstance(fn, partial) else fn
    main = sys.modules["__main__"]
    if inner.__module__ == "__main__":
        yield
        return
    saved = {k: getattr(main, k, None) for k in ("__file__", "__spec__")}
    for k in saved:
        setattr(main, k, None)
    try:
        yield
    finally:
        for k, value in saved.items():
            setattr(main, k, value)


def _result(name: str, future: Future[B], stop: object) -> B:
    try:
        while not wait((future,), timeout=0.2).done:
            if stop:
                raise Interrupted("stopped; what was finished is kept", mend="run the same command to go on")
        return future.result()
    except UserError:
        raise
    except BrokenProcessPool:
        raise UserError(
            "a worker failed: its process ended (killed, or out of memory)",
            where=name,
            mend="run again with one worker",
        ) from None
    except Exception as error:
        raise UserError(
            f"a worker failed with {type(error).__name__}: {error}",
            where=name,
            mend="run again with --workers 1 --debug",
        ) from error
