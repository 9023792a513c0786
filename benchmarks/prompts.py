"""Real voices for the benchmarks of sound: Debian's telephone prompts at 16 kHz, fetched with apt-get; nothing of them is kept."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from peers import NoPeer, Peer

RATE = 16_000
NO_SPEECH = ("silence", "beep", "tone", "ring", "moh", "confbridge-join", "confbridge-leave")
DECODER = """
import av, numpy as np
from pathlib import Path
def run(data):
    found = {}
    for path in sorted(Path(str(data["folder"])).rglob("*.g722")):
        if path.stat().st_size < 4000:
            continue
        with av.open(str(path), format="g722") as box:
            x = np.concatenate([f.to_ndarray()[0] for f in box.decode(audio=0)]).astype(np.float32) / 32768
        found[path.relative_to(str(data["folder"])).as_posix().replace("/", "+")] = x
    np.savez(str(data["out"]), **found)
    return len(found)
"""


def recordings(languages: Sequence[str]) -> dict[str, np.ndarray]:
    """All prompts of at least half a second, by ``language/name``: float32 ``[T]`` at 16 kHz.

    Raises:
        NoPeer: if they or their decoder (PyAV) cannot be had.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for language in languages:
            package = f"asterisk-core-sounds-{language}-g722"
            try:
                subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise NoPeer(f"{package} cannot be fetched with apt-get: {error}") from error
            (archive,) = folder.glob(f"{package}_*.deb")
            (folder / "all").mkdir(exist_ok=True)
            subprocess.run(["dpkg-deb", "-x", archive, folder / "all" / language], check=True)
            archive.unlink()
        with Peer("av", DECODER) as decoder:
            decoder({"folder": np.array(str(folder / "all")), "out": np.array(str(folder / "all.npz"))})
        with np.load(folder / "all.npz") as file:
            found = {_short(name): file[name] for name in file.files}
    return {name: x for name, x in found.items() if not any(word in name for word in NO_SPEECH)}


def _short(name: str) -> str:
    """``en/digits/7`` of ``en+usr+share+asterisk+sounds+en_US_f_Allison+digits+7.g722``."""
    language, *rest = name.removesuffix(".g722").split("+")
    return "/".join([language, *rest[5:]])
