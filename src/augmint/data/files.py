"""Opening the files of a data set: what is wrong with one is told by name, whatever kind of data it holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from augmint.core.errors import BadSample


@contextmanager
def filled(path: Path) -> Iterator[os.stat_result]:
    """`regular`, and not empty.

    Raises:
        BadSample: as `regular`, or there is nothing in it.
    """
    with regular(path) as found:
        if found.st_size == 0:
            raise BadSample("the file is empty", where=path, mend="restore the file, or delete it")
        yield found


@contextmanager
def regular(path: Path) -> Iterator[os.stat_result]:
    """The file's status, for a block that reads it; pipes and devices are refused before they are opened.

    Raises:
        BadSample: it is no regular file, gone, may not be read, or reading fails within the block.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadSample("not a regular file", where=path, mend="take it out of the folder")
        yield found
    except FileNotFoundError:
        raise BadSample("the file is gone", where=path, mend="restore it, or scan the folder again") from None
    except PermissionError:
        raise BadSample(
            "the file may not be read", where=path, mend="mend its permissions, for example chmod u+r"
        ) from None
    except OSError as error:
        raise BadSample(f"reading failed: {error.strerror}", where=path, mend="check the disk and the path") from None
