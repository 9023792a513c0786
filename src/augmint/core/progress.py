"""Progress for people: a bar with the time left on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Live:
    """Shows progress: a bar with the time left on a terminal, otherwise about ten plain lines a stage.

    An event is ``{"stage", "done", "total", "note", "figures"}``, every key optional: ``note`` is a line to keep,
    ``figures`` the numbers worth watching.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.stage, self.tenth = "", -1
        self.bar: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Live:
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = [TextColumn("{task.description:<14}"), BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn()]
            self.bar = Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(file=self.stream))
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        stage, done, total = str(event.get("stage", self.stage)), event.get("done"), event.get("total")
        figures = "  ".join(f"{k} {_short(v)}" for k, v in (event.get("figures") or {}).items())
        if self.bar:
            self._draw(self.bar, stage, event, figures)
        else:
            tenth = int(10 * done / total) if total and done is not None else -1
            if event.get("note") or stage != self.stage or tenth != self.tenth:
                count = f"{done}/{total}" if total and done is not None else ""
                parts = [f"{stage:<14}", count, str(event.get("note") or ""), figures]
                print("  ".join(p for p in parts if p), file=self.stream, flush=True)
            self.tenth = tenth
        self.stage = stage

    def _draw(self, bar: Progress, stage: str, event: Mapping[str, Any], figures: str) -> None:
        if event.get("note"):
            bar.console.print(f"{stage:<14}  {event['note']}", markup=False, highlight=False)
        if event.get("total") is None:
            return
        if stage not in self.tasks:
            self.tasks[stage] = bar.add_task(stage, total=event["total"], figures="")
        bar.update(self.tasks[stage], completed=event.get("done", 0), total=event["total"], figures=figures)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
