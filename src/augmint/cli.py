"""The command line: parse, call a verb, print. ``--help`` and ``--version`` are answered from the tables below."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from inspect import get_annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from augmint.core.errors import Interrupted, UserError, did_you_mean

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from augmint.core.config import Section

ABOUT = "From a few real samples to a training set you can trust."
EXIT_CODES = {
    0: "done",
    1: "doctor found something broken, replay a file that is not as its manifest tells, or augmint itself failed",
    2: "the command, a setting or the data set cannot be used as given",
    3: "a sample cannot be read, and --strict was given",
    4: "refused: going on would overwrite or mix something",
    130: "interrupted by Ctrl-C or SIGTERM; the same command goes on from there",
}
UNSET: Any = object()


@dataclass(frozen=True)
class Option:
    """One argument of a verb: positional when its name is in capitals."""

    name: str
    kind: type
    text: str
    default: Any = UNSET
    short: str = ""


@dataclass(frozen=True)
class Verb:
    """A row of ``augmint --help``; ``model`` names its settings in `augmint.core.config`."""

    usage: str
    text: str
    options: tuple[Option, ...] = ()
    model: str = ""
    is_long: bool = False


_DATA = Option(
    "DATA", Path, "Folder with the real samples: class folders, one flat folder, or files with a metadata table."
)
_POOL = Option("unlabelled", Path, "Folder with further real samples that have no labels.", None)
_INIT = Option(
    "init",
    Path,
    "Folder of another run, or of an exported GAN, whose weights to start from (with --vocoder: whose grid to train for).",
    None,
)
_RUN_OUT = Option("out", Path, "Folder of the run (default: beside the data).", None)

VERBS: dict[str, Verb] = {
    "boost": Verb(
        "DATA --out OUT",
        "the main job: augment, train, generate, curate, prove, report",
        (_DATA, Option("out", Path, "Folder for the larger data set; the run goes to OUT.run."), _POOL),
        "BoostConfig",
        True,
    ),
    "augment": Verb(
        "DATA --out OUT",
        "classic transforms alone: turned, shifted, scaled, lit otherwise",
        (_DATA, Option("out", Path, "Folder for the larger data set.")),
        "AugmentVerb",
        True,
    ),
    "train": Verb(
        "DATA [--out RUN]", "train the generator and its verifier", (_DATA, _RUN_OUT, _POOL, _INIT), "TrainVerb", True
    ),
    "generate": Verb(
        "RUN -n N --out OUT",
        "make new samples with a trained run, and judge each one",
        (
            Option("RUN", Path, "Folder of a run, as train or boost leaves it."),
            Option("num", int, "Samples to make.", short="-n"),
            Option("out", Path, "Folder for the new samples."),
            Option("label", str, "Make this class only (default: all classes, evenly).", None),
        ),
        "GenerateVerb",
        True,
    ),
    "prove": Verb(
        "REAL SYNTHETIC",
        "find out by experiment whether synthetic samples train a better model",
        (
            Option("REAL", Path, "Folder with the real samples, or a feature table: CSV, Parquet or npz."),
            Option("SYNTHETIC", Path, "Folder or table with the synthetic samples, or the folder of a run."),
            Option("out", Path, "Folder for the proof and its report (default: only the verdicts are printed).", None),
            _POOL,
        ),
        "ProveVerb",
        True,
    ),
    "report": Verb("RUN", "write the report of a run again", (Option("RUN", Path, "Folder of a run."),)),
    "export": Verb(
        "RUN --out OUT",
        "a trained GAN for use elsewhere: weights, model card, ONNX",
        (
            Option("RUN", Path, "Folder of a run."),
            Option("out", Path, "Folder to write to."),
            Option(
                "onnx", bool, "Write generator.onnx and verifier.onnx too; needs pip install 'augmint[onnx]'.", False
            ),
        ),
    ),
    "inspect": Verb(
        "DATA|RECIPE [--fix OUT]",
        "describe a data set (classes, sizes, duplicates, broken files), or a recipe (what is fused, what it costs)",
        (
            Option(
                "DATA",
                Path,
                "Folder with samples; or the name of a preset recipe, or a recipe in YAML, to see what of it is computed together "
                "and what each op costs on this machine.",
            ),
            Option(
                "fix",
                Path,
                "Write a clean copy here: broken files and duplicates left out, given parts kept, a split column added.",
                None,
            ),
            Option("out", Path, "Write the page with tables and pictures here.", None),
        ),
    ),
    "preview": Verb(
        "DATA [--recipe RECIPE]",
        "a picture of what a recipe does: each op from low to high, and the recipe on your samples",
        (
            _DATA,
            Option(
                "out",
                Path,
                "Picture to write, or a page (NAME.html) on which sounds can be heard.",
                Path("preview.png"),
            ),
            Option("recipe", str, "Name of a preset recipe, or the path of a recipe in YAML.", "medium"),
            Option("every_op", bool, "Show every op that there is, not only those of the recipe.", False),
            Option(
                "cell",
                int,
                "Pixels of each picture's longer side (on a page: its width), 64 to 1024; about 600 shows a page of text. Spectrograms in "
                "a .png keep their size.",
                160,
            ),
            Option("seed", int, "Every random number follows from this one.", 0),
        ),
    ),
    "replay": Verb(
        "MANIFEST [--out OUT]",
        "hold a manifest against its files, and make the augmented ones again: byte for byte?",
        (
            Option("MANIFEST", Path, "manifest.jsonl of an augmented data set, with the real samples beside it."),
            Option("out", Path, "Folder to write the files to (default: they are only compared).", None),
        ),
        is_long=True,
    ),
    "doctor": Verb("", "check this machine and its packages"),
    "demo": Verb(
        "[--closed]",
        "the main job on real handwriting, in a few minutes",
        (
            Option(
                "closed",
                bool,
                "Without the pool of unlabelled samples: the case where synthetic data does not help.",
                False,
            ),
            Option("out", Path, "Folder for the demo (default: demo, or demo-closed).", None),
        ),
        is_long=True,
    ),
}
_EVERYWHERE = (
    Option("json", bool, "Print one JSON object instead of text.", False),
    Option("debug", bool, "Show the traceback of an error.", False),
)
_WITH_SETTINGS = (
    Option("config", Path, "Settings file in YAML; flags override it, it overrides the preset.", None),
    Option(
        "dry_run",
        bool,
        "Print what would be done (with the choices, time and memory where something is trained), and stop there.",
        False,
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, see `EXIT_CODES`."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answer(args)
    except UserError as error:
        return _fail(args, error)
    except KeyboardInterrupt:
        return _fail(args, Interrupted("stopped", mend="the same command goes on from what was saved"))
    except BrokenPipeError:  # `augmint ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        fault = _Fault(
            f"augmint failed: {type(error).__name__}: {error}", mend="run it again with --debug, and report it"
        )
        return _fail(args, fault, error)


class _Fault(UserError):
    exit_code = 1


def _answer(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(overview())
        return 0
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"augmint {version('augmint')}")
        return 0
    if args[0] not in VERBS:
        is_data = Path(args[0]).is_dir()
        raise UserError(
            f"'{args[0]}' is a folder, not a command"
            if is_data
            else f"there is no command '{args[0]}'{did_you_mean(args[0], VERBS)}",
            mend=f"augmint boost {args[0]} --out OUT" if is_data else "augmint --help lists them",
        )
    return _call(args[0], *parse(args[0], args[1:]))


def overview() -> str:
    """The text of ``augmint --help``."""
    wide = max(len(f"{n} {v.usage}") for n, v in VERBS.items())
    rows = [f"  {f'{n} {v.usage}':{wide}}   {v.text}" for n, v in VERBS.items()]
    return "\n".join(
        [
            f"usage: augmint COMMAND ...\n\n{ABOUT}\n",
            *rows,
            "",
            "  augmint COMMAND --help   what a command takes;  --version   which augmint this is",
            "  first steps: augmint demo, then augmint boost photos/ --out photos-boosted/ --time 10m",
        ]
    )


# -- parsing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parsed:
    """What the user wrote: positional values, named ones, and those settings that were really given."""

    places: tuple[Any, ...]
    named: Mapping[str, Any]
    settings: Mapping[str, Any]


def parse(name: str, argv: Sequence[str]) -> tuple[Verb, Parsed]:
    """Parse the arguments of a verb. Exits with code 2 and a suggestion at an unknown flag, as ``--help`` does with 0."""
    import tyro

    verb = VERBS[name]
    model = settings_model(verb)
    found: Any = tyro.cli(
        _form(verb, model),
        prog=f"augmint {name}",
        description=verb.text[0].upper() + verb.text[1:] + ".",
        args=list(argv),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    own = {o.name: getattr(found, o.name) for o in own_options(verb)}
    written = {a.split("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_") for a in argv if a[:2] == "--"}
    # A value equal to its default still counts when it was written: it must win over the preset and the file.
    given = {k: v for group in groups(model) for k, v in vars(getattr(found, group)).items() if k in written}
    places = tuple(own.pop(o.name) for o in verb.options if o.name.isupper())
    return verb, Parsed(places, own, given)


def options(name: str) -> list[str]:
    """The flags of a verb, as a user writes them."""
    verb = VERBS[name]
    model = settings_model(verb)
    own = [flag(o.name) for o in own_options(verb) if not o.name.isupper()]
    settings = [flag(f) for fields in groups(model).values() for f in fields]
    pairs = [
        f"--no-{f[2:]}" for f in settings if model and model.model_fields[f[2:].replace("-", "_")].annotation is bool
    ]
    return [*own, *settings, *pairs]


def flag(name: str) -> str:
    """``probe_steps`` as ``--probe-steps``."""
    return "--" + name.replace("_", "-")


def settings_model(verb: Verb) -> type[Section] | None:
    """The settings of a verb, if it takes any."""
    if not verb.model:
        return None
    from augmint.core import config

    model: type[Section] = getattr(config, verb.model)
    return model


def own_options(verb: Verb) -> tuple[Option, ...]:
    """What a verb takes beside its settings."""
    return (*verb.options, *(_WITH_SETTINGS if verb.model else ()), *_EVERYWHERE)


def groups(model: type[Section] | None) -> dict[str, list[str]]:
    """The fields of a settings model by the section that defines them, in the order of the help."""
    found: dict[str, list[str]] = {}
    for part in (*model.__mro__[1:], model) if model else ():
        own = [n for n in get_annotations(part) if n in model.model_fields] if model else []
        if own:
            found.setdefault(part.__name__.removesuffix("Config").removesuffix("Verb").lower(), []).extend(own)
    return found


def _form(verb: Verb, model: type[Section] | None) -> type:
    """A dataclass that tyro can read: the verb's own arguments, and one nested group for each section of settings."""
    rows: list[Any] = [
        _row(o) for o in sorted(own_options(verb), key=lambda o: (not o.name.isupper(), o.default is not UNSET))
    ]
    for group, names in groups(model).items():
        fields = model.model_fields if model else {}
        section = make_dataclass(group, [_setting(n, fields[n]) for n in names])
        section.__doc__ = None
        rows.append((group, section, field(default_factory=section)))
    form = make_dataclass("Form", rows)
    form.__doc__ = None
    return form


def _row(option: Option) -> Any:
    import tyro

    kind: Any = option.kind if option.default is not None else option.kind | None
    hint = "(required)" if option.default is UNSET else ""
    marks: list[Any] = [
        tyro.conf.arg(
            help=option.text,
            metavar=None if option.kind is bool else option.name if option.name.isupper() else _metavar(option.kind),
            help_behavior_hint=hint,
            aliases=[option.short] if option.short else None,
        )
    ]
    marks += [tyro.conf.Positional] if option.name.isupper() else []
    marks += [tyro.conf.FlagCreatePairsOff] if option.kind is bool else []
    row = (option.name, Annotated[kind, *marks])
    return row if option.default is UNSET else (*row, field(default=option.default))


def _setting(name: str, info: FieldInfo) -> Any:
    import tyro

    kind, default = info.annotation, info.default
    if name == "time":
        kind, default = str, duration(default)
    remarks = [limits(info), "" if default is None else f"default: {default}".lower()]
    hint = "; ".join(r for r in remarks if r)
    about = tyro.conf.arg(
        help=info.description,
        metavar="DURATION" if name == "time" else _metavar(kind),
        help_behavior_hint=f"({hint})" if hint else "",
    )
    return (name, Annotated[kind, about], field(default=default))


def _metavar(kind: Any) -> str | None:
    plain = {int: "INT", float: "NUMBER", str: "WORD", Path: "PATH"}
    return plain.get(kind) or next((plain[k] for k in getattr(kind, "__args__", ()) if k in plain), None)


def limits(info: FieldInfo) -> str:
    """The range of a setting in words: ``0 or more``, ``above 0 to 1``; empty where there is none."""
    found = {
        k: getattr(m, k) for m in info.metadata for k in ("ge", "gt", "le", "lt") if getattr(m, k, None) is not None
    }
    low = f"above {found['gt']}" if "gt" in found else str(found.get("ge", ""))
    high = f"below {found['lt']}" if "lt" in found else str(found.get("le", ""))
    if low and high:
        return f"{low} to {high}"
    return f"{low} or more" if "ge" in found else low or (f"at most {high}" if "le" in found else high)


def duration(seconds: float) -> str:
    """``5m`` for 300 seconds: what a user would write."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


# -- calling ---------------------------------------------------------------------------------------------------------


def _call(name: str, verb: Verb, parsed: Parsed) -> int:
    named = dict(parsed.named)
    as_json, _ = named.pop("json"), named.pop("debug")
    if name != "train" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"several processes cannot share the work of `{name}`",
            mend="give `augmint train` to torchrun, and the run to the other commands",
        )
    model = settings_model(verb)
    if model:  # a mistake in the settings is told before anything heavy is imported
        from augmint.core.config import settings

        settings(model, config=named["config"], flags=parsed.settings)
    if name == "demo" and named["out"] is None:
        named["out"] = Path("demo-closed" if named["closed"] else "demo")
    from augmint import verbs
    from augmint.core.progress import Live

    function = getattr(verbs, name)
    if not verb.is_long:
        result = function(*parsed.places, **named)
    else:
        with Live(sys.stderr if as_json else sys.stdout) as live:
            result = function(*parsed.places, **named, **parsed.settings, progress=live)
    if _speaks():
        _show(result, as_json)
    return int(getattr(result, "exit_code", 0))


def _speaks() -> bool:
    """Of several processes under torchrun, one speaks."""
    return os.environ.get("RANK", "0") == "0"


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        found = {"path": result} if isinstance(result, Path) else result.to_dict()
        print(json.dumps(found, ensure_ascii=False, default=_plain))
        return
    for line in [result] if isinstance(result, Path) else result.summary:
        print(line)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _fail(args: list[str], error: UserError, cause: Exception | None = None) -> int:
    if not _speaks() and not isinstance(error, _Fault):
        return error.exit_code
    if "--debug" in args:
        import traceback

        traceback.print_exception(cause or error)
    if "--json" in args:
        told = {"problem": error.problem, "where": error.where, "mend": error.mend, "exit_code": error.exit_code}
        print(json.dumps({"error": told}, ensure_ascii=False))
    print(f"augmint: {error}", file=sys.stderr)
    return error.exit_code
