"""The cases of wrong_input.py: each builds a small folder, and says what a command must make of it."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from wrong_setup import SKIPS, Sign, Wanted, augment, case, coded, finished, folder, holds, picture, put, start, tree

from augmint.core import rng
from augmint.core.run import read_jsonl

FAST = ("--steps", "10", "--seeds", "3", "--probe-steps", "20", "--workers", "1")
RESTORE = "restore the file from where it came from"
PERMISSIONS = "choose another --out, or mend its permissions"

# -- files that cannot be used, and files that only look odd ---------------------------------------------------------


def forged_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises very many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b""))
    sealed = [struct.pack(">I", len(body)) + k + body + struct.pack(">I", zlib.crc32(k + body)) for k, body in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


def with_hole(jpeg: bytes, where: float, filling: bytes) -> bytes:
    """The same JPEG with a part of its pixels overwritten, ``where`` in [0, 1] of the way; its end stays."""
    start_of_scan = b"\xff\xda"  # a thumbnail may have one before the picture's own
    first = (jpeg.index(start_of_scan) if b"\xff\xc2" in jpeg else jpeg.rindex(start_of_scan)) + 16
    at = first + int(where * (len(jpeg) - 2 - len(filling) - first))
    return jpeg[:at] + filling + jpeg[at + len(filling) :]


def _jpeg() -> bytes:
    return coded(picture("jpeg", height=96, width=128), "JPEG", quality=90)


def _flipped() -> bytes:
    png = bytearray(coded(picture("bit")))
    png[png.index(b"IDAT") + 60] ^= 4
    return bytes(png)


BAD_FILES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "text named .png": ("note.png", lambda: b"cats like fish\n", "convert it to PNG or JPEG"),
    "a file of zero bytes": ("empty.png", lambda: b"", RESTORE),
    "a JPEG cut short": ("cut.jpg", lambda: _jpeg()[:-700], RESTORE),
    "a PNG with one bit changed": ("bit.png", _flipped, RESTORE),
    "a PNG header of 60,000 x 60,000": ("huge.png", lambda: forged_png(60_000, 60_000), "make the picture smaller"),
    "a JPEG damaged in the middle": ("hole.jpg", lambda: with_hole(_jpeg(), 0.5, bytes(512)), RESTORE),
}


def _enter_bad(title: str, name: str, data: Callable[[], bytes], mend: str) -> None:
    @case(title)
    def build(home: Path) -> Wanted:
        put(folder(home / "in") / "cat" / name, data())
        return Wanted(augment(home / "in"), SKIPS, f"cat/{name}", mend, holds("", 16))


for _title, _bad in BAD_FILES.items():
    _enter_bad(_title, *_bad)


def _deep() -> bytes:
    return coded(Image.fromarray(np.linspace(0, 65535, 576).astype(np.uint16).reshape(24, 24)))


def _film() -> bytes:
    return coded(picture("first"), save_all=True, append_images=[picture("second")])


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    return coded(picture("exif", height=20, width=40), "JPEG", exif=exif)


GOOD_FILES: dict[str, tuple[str, Callable[[], bytes], str, tuple[int, int]]] = {
    "a picture of 1 x 5,000": ("thin.png", lambda: coded(picture("thin", height=5000, width=1)), "RGB", (1, 5000)),
    "a 16-bit PNG": ("deep.png", _deep, "L", (24, 24)),
    "a CMYK JPEG": ("ink.jpg", lambda: coded(picture("ink").convert("CMYK"), "JPEG"), "RGB", (24, 24)),
    "a PNG with a palette and a transparent colour": (
        "few.png",
        lambda: coded(picture("few").convert("P"), transparency=3),
        "RGBA",
        (24, 24),
    ),
    "an animated PNG": ("film.png", _film, "RGB", (24, 24)),
    "a JPEG turned by its EXIF tag": ("turned.jpg", _turned, "RGB", (20, 40)),
}


def _enter_good(title: str, name: str, data: Callable[[], bytes], mode: str, size: tuple[int, int]) -> None:
    def check(home: Path) -> str:
        copied = home / "out" / "cat" / name
        with Image.open(copied.with_stem(copied.stem + ".aug0")) as made:
            found = (made.mode, made.size, getattr(made, "n_frames", 1))
            contrast = np.array(made).std()
        return "" if found == (mode, size, 1) and contrast > 5 and copied.read_bytes() == data() else f"{found}"

    @case(title)
    def build(home: Path) -> Wanted:
        put(folder(home / "in") / "cat" / name, data())
        return Wanted(augment(home / "in"), check=check)


for _title, _good in GOOD_FILES.items():
    _enter_good(_title, *_good)


# -- folders ---------------------------------------------------------------------------------------------------------


@case("an empty folder")
def _empty(home: Path) -> Wanted:
    (home / "in").mkdir()
    return Wanted(augment(home / "in"), 2, f"{home / 'in'}: ", "put samples into it")


@case("one picture")
def _one(home: Path) -> Wanted:
    put(home / "in" / "only.png", coded(picture("only")))
    return Wanted(("boost", home / "in", "--out", home / "out", *FAST, "--variants", "2"), check=holds("only", 3))


@case("a class of 2 pictures")
def _two(home: Path) -> Wanted:
    data = folder(home / "in", {"cat": 8, "dog": 8, "owl": 2}, side=8)
    args = ("boost", data, "--out", home / "out", *FAST, "--folds", "2")
    return Wanted(
        args, check=lambda h: "" if len(list((h / "out" / "owl").glob("0?.png"))) == 2 else "owls are missing"
    )


@case("a JPEG cut short, with --strict")
def _strict(home: Path) -> Wanted:
    put(folder(home / "in") / "cat" / "cut.jpg", _jpeg()[:-700])
    return Wanted(augment(home / "in", "--strict"), 3, "cat/cut.jpg", RESTORE)


@case("a JPEG cut short in the test part")
def _cut_test(home: Path) -> Wanted:
    folder(home / "in" / "train")
    put(folder(home / "in" / "test") / "cat" / "cut.jpg", _jpeg()[:-700])
    return Wanted(augment(home / "in"), SKIPS, "test/cat/cut.jpg", RESTORE, holds("", 24))


@case("nothing but broken files")
def _all_broken(home: Path) -> Wanted:
    put(home / "in" / "cat" / "cut.jpg", _jpeg()[:-700])
    return Wanted(augment(home / "in"), 2, f"{home / 'in'}: ", RESTORE)


@case("six broken files, inspected")
def _inspected(home: Path) -> Wanted:
    folder(home / "in")
    for name, data, _ in BAD_FILES.values():
        put(home / "in" / "dog" / name, data())
    return Wanted(("inspect", home / "in"), SKIPS, "dog/hole.jpg", RESTORE)


@case("class names with odd characters")
def _odd_names(home: Path) -> Wanted:
    names = ["Größe & <b>'x'<b> %s {y}", "what? a:b*", "--out", "a 50 % ", "con"]

    def check(home: Path) -> str:
        rows = read_jsonl(home / "out" / "metadata.jsonl")
        astray = [r["file_name"] for r in rows if Path(r["file_name"]).parts[:-1] != (r["label"],)]
        labels = {r["label"] for r in rows} ^ set(names)
        return (f"in another folder: {astray[:2]}; " if astray else "") + (f"labels {labels}" if labels else "")

    return Wanted(augment(folder(home / "in", dict.fromkeys(names, 3))), check=check)


@case("file names that differ in case only")
def _cases(home: Path) -> Wanted:
    for name in ("a.png", "A.png", "a.PNG"):
        put(folder(home / "in") / "cat" / name, coded(picture(name)))
    return Wanted(augment(home / "in"), check=lambda h: holds("a.", 4)(h) + holds("A.", 2)(h))


@case("a symlink that leads out")
def _link(home: Path) -> Wanted:
    put(home / "secret.png", coded(picture("secret")))
    (folder(home / "in") / "cat" / "link.png").symlink_to(home / "secret.png")
    mend = "put the file itself into the folder"
    return Wanted(augment(home / "in"), SKIPS, "cat/link.png", mend, holds("link", 0))


@case("a file that may not be read")
def _unreadable(home: Path) -> Wanted:
    (folder(home / "in") / "cat" / "00.png").chmod(0)
    return Wanted(augment(home / "in"), SKIPS, "cat/00.png", "mend its permissions", holds("", 14), as_anybody=True)


# -- metadata and feature tables -------------------------------------------------------------------------------------


def _enter_metadata(table: str, title: str, name: str) -> None:
    @case(f"{table}: {title}")
    def build(home: Path) -> Wanted:
        data = home / "a" / "in"
        put(home / "x.png", coded(picture("x")))
        named = name.format(home=home)
        for i in range(3):
            put(data / f"{i}.png", coded(picture(i)))
        mend = "write the path relative to the metadata file"
        if name == "link.png":
            (data / name).symlink_to(home / "x.png")
            mend = "put the file itself into the folder"
        names = ["0.png", "1.png", "2.png", named]
        lines = [f'{{"file_name": "{n}", "label": "cat"}}' for n in names]
        if table.endswith(".csv"):
            lines = ["file_name,label", *(f"{n},cat" for n in names)]
        put(data / table, "\n".join(lines) + "\n")
        return Wanted(augment(data), SKIPS, named, mend, holds("", 6, "a/out"))


for _table in ("metadata.csv", "metadata.jsonl"):
    _enter_metadata(_table, "file_name is ../../x.png", "../../x.png")
    _enter_metadata(_table, "file_name is an absolute path", "{home}/x.png")
    _enter_metadata(_table, "file_name is a symlink that leads out", "link.png")


def _enter_table(value: str, suffix: str) -> None:
    @case(f"a feature table ({suffix}) with {value}")
    def build(home: Path) -> Wanted:
        x = rng.uniform(rng.key("table"), np.arange(80)).reshape(20, 4)
        y = ["cat", "dog"] * 10
        x[6, 2] = float(value)
        table = home / f"real.{suffix}"
        if suffix == "npz":
            np.savez(table, x=x, y=np.array(y))
        else:
            rows = [",".join([*map(str, row), label]) for row, label in zip(x.tolist(), y, strict=True)]
            put(table, "\n".join(["x0,x1,x2,x3,label", *rows]) + "\n")
        return Wanted(
            ("prove", table, table), 2, f"real.{suffix}, row 7 of the data", "fill the cell or leave the row out"
        )


for _value, _suffix in (("nan", "csv"), ("inf", "csv"), ("nan", "npz"), ("-inf", "npz")):
    _enter_table(_value, _suffix)


# -- outputs ---------------------------------------------------------------------------------------------------------


@case("an output that holds something else")
def _not_ours(home: Path) -> Wanted:
    put(home / "out" / "holiday.txt", "not yours")
    return Wanted(augment(folder(home / "in")), 4, f"{home / 'out'}: ", "give another --out")


@case("an output that is a file")
def _out_is_file(home: Path) -> Wanted:
    put(home / "out", "not yours")
    return Wanted(augment(folder(home / "in")), 4, f"{home / 'out'}: ", "give a folder that does not exist yet")


@case("an output inside the input")
def _out_inside(home: Path) -> Wanted:
    data = folder(home / "in")
    return Wanted(("augment", data, "--out", data / "more"), 4, f"{data / 'more'}: ", "give a folder outside of it")


@case("an output below a file")
def _out_below_file(home: Path) -> Wanted:
    out = put(home / "file.txt", "not yours") / "out"
    return Wanted(("boost", folder(home / "in"), "--out", out, *FAST), 2, f"{home / 'file.txt'}: ", PERMISSIONS)


@case("an output in /proc")
def _out_in_proc(home: Path) -> Wanted:
    args = ("augment", folder(home / "in"), "--out", "/proc/augmint-out")
    return Wanted(args, 2, "/proc", "choose another --out")


def _enter_read_only(verb: str, *more: str) -> None:
    @case(f"{verb} into a read-only folder")
    def build(home: Path) -> Wanted:
        (home / "locked").mkdir(mode=0o555)
        args = (verb, folder(home / "in"), "--out", home / "locked" / "out", *more)
        return Wanted(args, 2, f"{home / 'locked'}", PERMISSIONS, as_anybody=True)


_enter_read_only("augment")
_enter_read_only("train", "--steps", "5")
_enter_read_only("boost", *FAST)


# -- settings, and files that would run code -------------------------------------------------------------------------


@case("an unknown key in a settings file")
def _unknown_key(home: Path) -> Wanted:
    config = put(home / "mine.yaml", "sed: 3\n")
    args = augment(folder(home / "in"), "--config", config)
    return Wanted(args, 2, "mine.yaml: unknown setting 'sed'", "did you mean 'seed'?")


def _armed(load: Callable[[], object], marker: Path) -> None:
    """Fails unless a careless reader runs the code that a file holds: without that the case would test nothing."""
    load()
    marker.rmdir()


def _enter_yaml(title: str, option: str, text: str) -> None:
    @case(title)
    def build(home: Path) -> Wanted:
        path = put(home / "evil.yaml", text.format(marker=home / "ran"))
        _armed(lambda: yaml.unsafe_load(path.read_text()), home / "ran")
        return Wanted(augment(folder(home / "in"), option, path), 2, "evil.yaml, line ", "no tags")


_enter_yaml("code in a settings file", "--config", "seed: !!python/object/apply:os.mkdir ['{marker}']\n")
_enter_yaml("code in a recipe", "--recipe", "ops:\n- Rotate: !!python/object/apply:os.mkdir ['{marker}']\n")


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@case("a pickle in the place of weights")
def _pickle(home: Path) -> Wanted:
    data = folder(home / "in", {"cat": 8, "dog": 8}, side=8)
    finished(("train", data, "--out", home / "run", "--steps", "2"), home / "log.txt")
    weights = home / "run" / "gan" / "generator.safetensors"
    torch.save({"w": _Bomb(home / "ran")}, weights)
    _armed(lambda: torch.load(BytesIO(weights.read_bytes()), weights_only=False), home / "ran")
    args = ("generate", home / "run", "-n", "4", "--out", home / "out")
    return Wanted(args, 2, "gan/generator.safetensors: ", "use the weights as augmint wrote them")


@case("a folder that is no run")
def _no_run(home: Path) -> Wanted:
    args = ("generate", folder(home / "in"), "-n", "4", "--out", home / "out")
    return Wanted(args, 2, f"{home / 'in'}: ", "give the folder of a run")


# -- kill -9, and the same command again -----------------------------------------------------------------------------


def _enter_killed(verb: str, more: tuple[str, ...], each: int, side: int, signs: Mapping[str, Sign]) -> None:
    @case(f"{verb}, kill -9 " + " and ".join(signs))
    def build(home: Path) -> Wanted:
        for part in ("train", "test"):
            folder(home / "in" / part, {"cat": each, "dog": each}, side=side)
        finished((verb, home / "in", "--out", home / "twin" / "out", *more), home / "log.txt")
        return Wanted((verb, home / "in", "--out", home / "out", *more), check=_like_twin, kills=tuple(signs.values()))


def _like_twin(home: Path) -> str:
    """The files must be those of a run that nobody killed; only the report has paths and times in it."""
    found, twin = (tree(place) for place in (home / "out", home / "twin" / "out"))
    differ = {k for k in found.keys() | twin.keys() if found.get(k) != twin.get(k)} - {"report.html"}
    return f"not like the run that nobody killed: {sorted(differ)[:3]}" if differ else ""


def _written(name: str, count: int) -> Sign:
    return lambda home: len(list((home / "out").rglob(name))) >= count


@case("augment, kill -9 and then other settings")
def _other_settings(home: Path) -> Wanted:
    data, out = folder(home / "in", {"cat": 40}), ("--out", home / "out", "--workers", "1")
    process, begun = start(("augment", data, *out), home / "log.txt"), _written("*.aug?.png", 20)
    while process.poll() is None and not begun(home):
        time.sleep(0.002)
    process.kill()
    process.wait()
    return Wanted(("augment", data, *out, "--seed", "5"), 4, "seed was 0, now 5", "repeat the first command")


def _trained(home: Path) -> bool:
    return len(read_jsonl(home / "out.run" / "metrics.jsonl")) >= 2


_enter_killed(
    "augment",
    ("--variants", "6", "--workers", "2"),
    12,
    64,
    {"after 20 files": _written("*.aug?.png", 20), "after 80": _written("*.aug?.png", 80)},
)
_enter_killed(
    "boost",
    (*FAST, "--include-synthetic"),
    10,
    8,
    {"in training": _trained, "while writing": _written("0?.png", 5)},
)
