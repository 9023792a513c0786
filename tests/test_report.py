"""The report: structure by an HTML parser, numbers against the JSON that they came from, drawings against their geometry."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections import Counter
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmint.core.errors import UserError
from augmint.report import closeness, evidence, figures, gallery, html, plots, view
from augmint.report.numbers import duration, figure, p_value
from augmint.report.svg import Scale, nice_step, span
from augmint.report.terms import Terms
from augmint.report.thumbs import lighter
from augmint.report.view import metric_rows, training_curves
from augmint.steps import mapping

EVIL = '<script>alert("x")</script>'
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PREVIEW = f'<img src="{PIXEL}" width="96" height="96" alt="preview">'
VOID = {"meta", "img", "br", "hr", "link", "input", "line", "rect", "circle", "path"}
SECTIONS = [
    "proof", "registered", "advice", "gallery", "metrics", "map", "copies", "membership", "calibration", "curation", "training", "snapshots", "dials", "data", "cost", "reproduce",
]  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, the words, and tags that do not match."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source, self.elements, self.open, self.faults = source, [], [], []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [a for t, a in self.elements if t == tag]

    @property
    def sections(self) -> list[str]:
        return [a["id"] for a in self.all("section")]


def save(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def save_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def arm(name: str, kind: str, mean: float) -> dict[str, Any]:
    seeds = [mean - 1 + 0.2 * i for i in range(11)]
    return {"name": name, "title": f"the {name} arm", "kind": kind, "mean": mean, "ci95": [mean - 1.5, mean + 1.5], "per_seed": seeds, "cost_s": 5.2, "note": ""}  # fmt: skip


def proof() -> dict[str, Any]:
    arms = [arm("real", "base", 84.6), arm("fixmatch", "control", 93.7), arm("classic", "classic", 88.63), arm("synthetic", "synthetic", 91.91)]  # fmt: skip
    first = {"question": "classic", "a": "classic", "b": "real", "verdict": "HELPS", "effect": 4.03, "ci95": [2.71, 5.32], "p": 0.00195, "sentence": "Classic augmentation helps.", "needed": None}  # fmt: skip
    second = {"question": "synthetic", "a": "synthetic", "b": "classic", "verdict": "NOT ENOUGH EVIDENCE", "effect": -0.38, "ci95": [-1.46, 0.63], "p": 0.117, "sentence": f"Nobody knows about {EVIL}.", "needed": {"seeds": 24, "test_items": 640, "both": None}}  # fmt: skip
    return {
        "regime": "pool", "scope": "this synthetic set on this data", "metric": "accuracy", "margin": 1.0, "num_seeds": 11, "num_test": 897,
        "share": 0.5, "share_reason": "a pool", "smallest_provable": 1.42, "arms": arms, "verdicts": [first, second],
        "comparisons": [{"a": "classic", "b": "fixmatch", "effect": -5.07, "ci95": [-6.4, -3.9], "p": 0.002, "p_holm": 0.0137}],
        "per_class": [{"class": EVIL, "n": 90, "real": 80.1, "classic": 85.2, "synthetic": 90.3}],
        "advice": ["Label ten more."], "registered": {k: registered()[k] for k in ("at", "sha256")},
        "share_curve": [{"share": s, "mean": 88 + 4 * s, "ci95": [87.0, 92.5]} for s in (0.0, 0.25, 0.5)],
        "more_real": {"points": [{"num_real": n, "mean": 80 + n / 8, "ci95": [79.0, 90.0]} for n in (20, 40, 60)], "doubling": {"effect": 3.14, "ci95": [1.0, 5.0]}, "worth": {"k": 7.3, "ci95": [4.4, 9.9], "per_class": True}, "why": "a line through 3 points"},
    }  # fmt: skip


def measures() -> dict[str, Any]:
    bins = [{"p": p, "freq": p**2, "n": 20} for p in (0.1, 0.5, 0.9)]
    return {
        "membership": {"auc": 0.531, "ci95": [0.47, 0.58], "tpr_at_1_fpr": 0.013, "n": 850, "attack": f"nearest {EVIL}"},
        "extractor": "a CNN", "n": 500,
        "rows": [{"metric": "fid", "title": "Fréchet distance", "value": 4.31, "ci95": [3.9, 4.8], "real": 1.32, "better": "lower"}],
        "copies": {"rate": 0.011, "real_rate": 0.01, "threshold": 0.62, "flagged": 11, "n": 1000},
        "calibration": {"raw": {"ece": 0.112, "brier": 0.19, "auc": 0.84, "bins": bins}, "calibrated": {"ece": 0.024, "brier": 0.16, "auc": 0.85}, "bins": bins},
        "curation": {"applied": True, "why": "it helped", "accept_rate": 0.64, "before": {"fid": 4.9}, "after": {"fid": 4.31}, "reasons": {"verifier": 310, "memorised": 7}},
    }  # fmt: skip


REGISTERED_AT = 1748859280  # 2025-06-02T10:14:40+00:00


def registered() -> dict[str, Any]:
    plan = {"primary": [["classic", "classic", "real"], ["synthetic", "synthetic", "classic"]], "rule": "HELPS above 0"}
    digest = sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    return {"at": "2025-06-02T10:14:40+00:00", "sha256": digest, "plan": plan}


def feature_map() -> dict[str, Any]:
    kinds = ["real"] * 20 + ["kept"] * 30 + ["rejected"] * 10
    points = [
        {"x": float(i), "y": float(i * i % 17), "kind": k, "label": EVIL if i % 2 else None}
        for i, k in enumerate(kinds)
    ]
    return {"method": "t-SNE of a CNN", "reals": "held-out reals", "points": points}


def gallery_row(i: int, kind: str, **more: Any) -> dict[str, Any]:
    row = {"id": f"a/{i}.png", "kind": kind, "label": "a", "score": 1 / (i + 1), "rebuild": 0.5, "html": PREVIEW}
    return {**row, "nearest_id": "a/real.png", "nearest_html": PREVIEW, "nearest_ratio": 1.5, **more}


def state(**more: Any) -> dict[str, Any]:
    base = {
        "verb": "boost",
        "status": "done",
        "started": "2025-06-02T10:11:12+00:00",
        "config": {"seed": 1234},
        "inputs": {"data": "3f" * 32},
    }
    return {**base, "versions": {"torch": "2.13.0"}, "timings": {"train": 96.5, "prove": 61.3}, **more}


@pytest.fixture
def full(tmp_path: Path) -> Path:
    run = tmp_path / "cats-boosted.run"
    save(
        run / "run.json",
        state(skipped=[{"where": f"{EVIL}.jpg", "reason": "it ends too early", "mend": "copy it again"}]),
    )
    save(
        run / "choices.json",
        {"gamma": {"value": 0.75, "reason": "0.375 x 64 / 32"}, "grid": {"value": [1, 8, 8], "reason": "as it is"}},
    )
    (run / "config.yaml").write_text("seed: 1234\n")
    save_rows(
        run / "metrics.jsonl",
        [{"step": s, "samples_seen": 32 * s, "g_loss": 1 / s, "v_loss": 0.5, "fid": None} for s in range(1, 400)],
    )
    save(run / "eval" / "proof.json", proof())
    save(run / "eval" / "metrics.json", measures())
    rows = [gallery_row(i, "kept") for i in range(300)] + [
        gallery_row(i, "rejected", reason="memorised", label=EVIL) for i in range(3)
    ]
    save_rows(
        run / "eval" / "gallery.jsonl",
        [*rows, gallery_row(900, "augmented", nearest_ratio=None), gallery_row(901, "real")],
    )
    save(run / "eval" / "registered.json", registered())
    save(run / "eval" / "map.json", feature_map())
    save_rows(
        run / "eval" / "copies.jsonl",
        [gallery_row(i, "kept", nearest_ratio=0.5 + i / 50, flagged=i < 2) for i in range(12)],
    )
    (run / "eval" / "predictions-fold-0.npz").write_bytes(b"x")
    os.utime(run / "eval" / "predictions-fold-0.npz", (REGISTERED_AT + 90, REGISTERED_AT + 90))
    (run / "split.csv").write_text(
        f'id,label,part\n"x",{json.dumps(EVIL).replace(chr(92) + chr(34), chr(34) * 2)},fit\ny,b,test\nz,b,fit\n'
    )
    (run / "samples").mkdir()
    for s in range(0, 2000, 100):
        cv2.imwrite(str(run / "samples" / f"step-{s:06d}.png"), np.full((16, 40), s % 256, np.uint8))
    cv2.imwrite(str(run / "samples" / "dials.png"), np.full((30, 60), 90, np.uint8))
    return run


def page(run: Path) -> Page:
    return Page(html.write(run, run.parent / "report.html").read_text(encoding="utf-8"))


def check_sound(found: Page) -> None:
    """Well-formed, self-contained, no script, and every figure says what it is."""
    assert not found.faults and not found.open
    assert not found.all("script") and not found.all("link") and not found.all("iframe")
    for _, attrs in found.elements:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href", "data", "srcset", "poster", "action"):
            assert attrs.get(name, "#").startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?://", found.source)
    assert "default-src 'none'" in next(a["content"] for a in found.all("meta") if a.get("http-equiv"))
    for attrs in found.all("svg"):
        assert attrs.get("aria-hidden") == "true" or (attrs["role"] == "img" and len(attrs["aria-label"]) > 10)
    assert Counter(t for t, _ in found.elements)["title"] >= sum("aria-label" in a for a in found.all("svg"))
    assert all(a.get("alt") for a in found.all("img"))
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"] for a in found.all("a")} == {f"#{i}" for i in ids}


def test_full_run_has_every_section_in_order(full: Path) -> None:
    found = page(full)
    check_sound(found)
    assert found.sections == SECTIONS
    assert len(found.source) < 3_000_000


def test_numbers_of_the_json_appear(full: Path) -> None:
    words = page(full).text
    for number in (
        "+4.03",
        "[2.71, 5.32]",
        "p = 0.002",
        "\N{MINUS SIGN}0.38",
        "88.63",
        "897 test samples",
        "1.42 points",
        "50 %",
    ):  # the proof
        assert number in words
    for number in (
        "4.31",
        "[3.90, 4.80]",
        "1.32",
        "11 of 1,000",
        "1.1 %",
        "0.620",
        "0.112",
        "0.024",
        "64 %",
        "310",
        "0.75",
    ):  # the measures
        assert number in words
    for number in (
        "1234",
        "2.13.0",
        "3f" * 32,
        "1 min 36 s",
        "2 min 38 s",
        "about 24 paired seeds, or about 640 test samples",
    ):  # the run
        assert number in words
    assert "a copy check, not a privacy proof" in words
    assert "NOT ENOUGH EVIDENCE" in words


def test_names_from_users_are_escaped(full: Path) -> None:
    found = page(full)
    assert "<script" not in found.source.lower()
    assert found.text.count(EVIL) >= 5  # sentence, class recall, skipped file, gallery, split


def test_differences_are_turned_towards_the_reference(full: Path) -> None:
    """The proof compares classic with fixmatch; the plot shows fixmatch against classic: sign and interval turn round."""
    words = page(full).text
    assert "+5.07 [3.90, 6.40]" in words and "0.014" in words
    assert "\N{MINUS SIGN}4.03 [\N{MINUS SIGN}5.32, \N{MINUS SIGN}2.71]" in words


def test_no_task(tmp_path: Path) -> None:
    run = tmp_path / "flat.run"
    save(run / "run.json", state())
    save(run / "eval" / "metrics.json", {**measures(), "curation": None, "calibration": None})
    save_rows(run / "eval" / "gallery.jsonl", [gallery_row(i, "kept", label=None, nearest_html=None) for i in range(5)])
    (run / "split.csv").write_text("id,label,part\nx,,fit\n")
    found = page(run)
    check_sound(found)
    assert "NO TASK" in found.text and "None" not in found.text
    assert found.sections == ["gallery", "metrics", "copies", "membership", "data", "cost", "reproduce"]


def test_no_task_that_the_proof_itself_states(full: Path) -> None:
    stated = {"question": "synthetic", "a": None, "b": None, "verdict": "NO TASK", "effect": None, "ci95": None, "p": None, "sentence": "One class only.", "needed": None}  # fmt: skip
    save(
        full / "eval" / "proof.json", {**proof(), "arms": [], "per_class": [], "comparisons": [], "verdicts": [stated]}
    )
    found = page(full)
    check_sound(found)
    assert "NO TASK" in found.text and "One class only." in found.text and "proof" not in found.sections


def test_augment_only(tmp_path: Path) -> None:
    run = tmp_path / "more.run"
    save(run / "run.json", state(verb="augment", timings={}))
    save_rows(run / "eval" / "gallery.jsonl", [gallery_row(1, "augmented", score=None, nearest_ratio=None)])
    found = page(run)
    check_sound(found)
    assert "NOT PROVEN" in found.text and found.sections == ["gallery", "reproduce"]


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    save(tmp_path / "a.run" / "run.json", state(status="running"))
    assert "has not finished" in page(tmp_path / "a.run").text


def test_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        html.write(tmp_path, tmp_path / "report.html")


def test_a_damaged_file_is_named(full: Path) -> None:
    (full / "eval" / "proof.json").write_text("{")
    with pytest.raises(UserError, match=r"proof\.json"):
        page(full)


def test_gallery_keeps_the_ends_and_the_budget() -> None:
    rows = [gallery_row(i, "kept") for i in range(500)]
    shown = gallery.groups(rows)[0]
    scores = [float(item["score"]) for item in shown["shown"]]
    assert scores == sorted(scores, reverse=True) and scores[0] == 1.0 and shown["total"] == 500
    heavy = [gallery_row(i, "kept", html="x" * 50_000, nearest_html=None) for i in range(100)]
    assert len(gallery.groups(heavy)[0]["shown"]) == gallery.BUDGET["kept"] // 50_000


def test_snapshots_are_spread_and_large_ones_shrink(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    for s in range(0, 2100, 100):
        cv2.imwrite(str(tmp_path / f"step-{s:06d}.png"), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(tmp_path / "step-002000.png"), rng.integers(0, 255, (900, 1200, 3), np.uint8))
    (tmp_path / "step-000000.png").write_text("no picture")
    found = gallery.snapshots(tmp_path)
    assert [s["step"] for s in found] == ["400", "800", "1,200", "1,600", "2,000"]
    assert found[-1]["uri"].startswith("data:image/webp") and len(found[-1]["uri"]) < 300_000


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_inside_and_even(low: float, width: float) -> None:
    scale = Scale(low, low + width, 0, 100)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 11
    assert all(-0.01 <= scale(t) <= 100.01 for t in ticks)
    assert np.allclose(np.diff(ticks), nice_step((scale.high - scale.low) / 5))


@given(st.floats(1e-9, 1e9))
def test_nice_steps_are_1_2_or_5(rough: float) -> None:
    step = nice_step(rough)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-6
    assert rough * (1 - 1e-6) <= step <= rough * 2.5 * (1 + 1e-6)


@given(st.lists(st.floats(-1e9, 1e9), max_size=20))
def test_span_holds_all_values_and_is_not_empty(values: list[float]) -> None:
    low, high = span(values)
    assert low < high and all(low <= v <= high for v in values)


def test_log_scale_puts_decades_at_even_distances() -> None:
    scale = Scale(0.001, 10, 0, 400, log=True)
    assert [round(scale(t)) for t in scale.ticks()] == [0, 100, 200, 300, 400]


def test_thinned_curves_keep_the_mean() -> None:
    ys = tuple(float(v) for v in np.sin(np.arange(1600)))
    series = figures.Series("s", "a", tuple(map(float, range(1600))), ys)
    thinned = figures.thin(series)
    assert len(thinned.xs) == 160
    assert np.allclose(thinned.ys, np.reshape(ys, (160, 10)).mean(1))


def test_forest_positions_follow_the_numbers() -> None:
    """The pixels of marks and intervals are one affine map of the effects."""
    arms = [
        figures.Arm("a", "classic", 0.0, is_reference=True),
        figures.Arm("b", "synthetic", 2.0, (1.0, 4.0)),
        figures.Arm("c", "synthetic", -3.0, (-4.0, -2.0)),
    ]
    drawn = figures.forest(arms, margin=1.0, metric="accuracy", reference="a")
    dots = [float(v) for v in re.findall(r'<circle class="mark[^"]*" cx="([\d.]+)"', drawn)]
    lines = re.findall(r'<line class="whisker[^"]*" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', drawn)
    pixels = [*dots, *(float(v) for pair in lines for v in pair)]
    effects = [0.0, 2.0, -3.0, 1.0, 4.0, -4.0, -2.0]
    slope, start = np.polyfit(effects, pixels, 1)
    assert slope > 0 and np.allclose(np.polyval((slope, start), effects), pixels, atol=0.02)


def test_words_for_numbers() -> None:
    assert [duration(s) for s in (0.42, 12.34, 59.99, 245, 7800)] == [
        "0.42 s",
        "12.3 s",
        "60.0 s",
        "4 min 05 s",
        "2 h 10 min",
    ]
    assert [figure(v) for v in (0.00012, 0.0456, 4.305, 45.67, 12345.0, None)] == [
        "0.00012",
        "0.046",
        "4.30",
        "45.7",
        "12,345",
        "\N{EN DASH}",
    ]
    assert [p_value(p) for p in (0.00049, 0.0196, None)] == ["p < 0.001", "p = 0.020", ""]
    assert [figures.signed(v) for v in (3.276, -0.4, 0.0, -0.001)] == ["+3.28", "\N{MINUS SIGN}0.40", "0.00", "0.00"]
    assert figures.interval((-0.001, 2.0)) == "[0.00, 2.00]" and figure(-0.0) == "0.000"


def test_counts_of_the_first_fold(full: Path) -> None:
    parts = ["fit", "fit", "held-out", "test", "fit"]
    rows = [f"{i},{'10' if i % 2 else '9'},{i},{p},fit" for i, p in enumerate(parts)]
    (full / "split.csv").write_text("id,label,group,fold_0,fold_1\n" + "\n".join(rows) + "\n")
    words = page(full).text
    assert "The first of 2 outer folds" in words
    assert "class fit held-out test all 9 2 1 0 3 10 1 0 1 2 all 3 1 1 5" in words


def test_heavy_previews_become_light_and_keep_transparency() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    picture = rng.integers(0, 255, (300, 400, 4), np.uint8)
    picture[:, 200:, 3] = 0
    picture[:, :200, 3] = 255
    coded = base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
    light = lighter(f'<img src="data:image/png;base64,{coded}" alt="a">{PREVIEW}')
    assert light.endswith(PREVIEW) and len(light) < len(coded) / 5
    data = base64.b64decode(re.findall(r"data:image/webp;base64,([^\"]+)", light)[0])
    small = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert small.shape == (144, 192, 4)
    assert small[:, :94, 3].min() == 255 and small[:, 98:, 3].max() == 0


def test_what_a_resumed_run_logged_twice_is_drawn_once() -> None:
    rows = [{"step": s, "g_loss": 1.0} for s in (1, 2, 3, 2, 3, 4)]
    drawn = training_curves(rows)[0]["figure"]
    points = re.findall(r'<circle class="dot-a" cx="([\d.]+)"', drawn)
    assert len(points) == 4 and [float(p) for p in points] == sorted(float(p) for p in points)


def test_closer_looks_show_their_numbers(full: Path) -> None:
    words = page(full).text
    for told in ("11 of 11 seeds rise", "about 7.3 more labelled samples a class [4.4, 9.9]", "+3.1 points [1.0, 5.0]"):
        assert told in words
    assert "1 class gains, 0 lose" in words and "+5.1" in words  # 85.2 to 90.3
    for told in ("0.531", "[0.470, 0.580]", "1.3 %", "850"):
        assert told in words.replace("[0.47, 0.58]", "[0.470, 0.580]")


def test_slopes_follow_the_seeds() -> None:
    """Both ends of every line are one affine map of the results; direction decides the look."""
    left, right = [80.0, 82.0, 84.0, 81.0], [85.0, 81.0, 84.0, 83.0]
    drawn = plots.slopes(left, right, names=("without", "with"), y_label="accuracy, %")
    found = re.findall(r'<line class="slope (\w+)" x1="[\d.]+" y1="([\d.]+)" x2="[\d.]+" y2="([\d.]+)"', drawn)
    assert [look for look, *_ in found] == ["up", "down", "level", "up", "mean"]
    pixels = [float(v) for _, a, b in found for v in (a, b)]
    values = [v for pair in (*zip(left, right, strict=True), (81.75, 83.25)) for v in pair]
    slope, start = np.polyfit(values, pixels, 1)
    assert slope < 0 and np.allclose(np.polyval((slope, start), values), pixels, atol=0.02)


def test_the_marked_share_is_the_one_set_beforehand() -> None:
    points = [plots.Point(x, 90 + x / 50, (89.0, 93.0)) for x in (0.0, 25.0, 50.0)]
    drawn = plots.response(
        points, title="accuracy against share", x_label="x", y_label="y", mark=(25.0, "set beforehand")
    )
    mark = float(re.findall(r'<line class="zero" x1="([\d.]+)"', drawn)[0])
    dots = [float(v) for v in re.findall(r'<circle class="dot-a" cx="([\d.]+)"', drawn)]
    assert mark == dots[1] and math.isclose(dots[2] - dots[1], dots[1] - dots[0], abs_tol=0.02)


@pytest.mark.parametrize(
    ("tamper", "holds"),
    [
        ({}, [True, True, True, True]),
        ({"at": -1}, [True, True, True, False]),
        ({"plan": {"primary": [], "rule": "whatever suits"}}, [False, True]),
        ({"judged": "other"}, [True, True, False, True]),
    ],
)
def test_the_order_of_events_is_checked(tamper: dict[str, Any], holds: list[bool]) -> None:
    plan = {**registered(), **({"plan": tamper["plan"]} if "plan" in tamper else {})}
    judged = proof()
    if "judged" in tamper:
        judged["verdicts"][1]["b"] = tamper["judged"]
    files = (
        [] if "plan" in tamper else [evidence.Written("predictions-fold-0.npz", REGISTERED_AT + tamper.get("at", 5))]
    )
    found = evidence.registration(plan, judged, files, Terms())
    assert found is not None and [c["holds"] for c in found["checks"]] == holds and found["holds"] == all(holds)


def test_predictions_older_than_the_plan_are_told(full: Path) -> None:
    assert "cannot be shown" not in page(full).text and "1 min 30 s later" in page(full).text
    os.utime(full / "eval" / "predictions-fold-0.npz", (REGISTERED_AT - 60, REGISTERED_AT - 60))
    assert "cannot be shown" in page(full).text and "EARLIER" in page(full).text


def test_the_map_draws_every_point_once(full: Path) -> None:
    source = page(full).source
    groups = dict(re.findall(r'<g class="pt (\w+)">(.*?)</g>', source))
    assert {k: v.count("<title>") for k, v in groups.items()} == {"real": 10, "kept": 15, "rejected": 5}
    assert {k: v.count("<circle") + v.count("<path") for k, v in groups.items()} == {
        "real": 20,
        "kept": 30,
        "rejected": 10,
    }
    assert closeness.feature_map({"points": [{"x": 0, "y": None, "kind": "real"}]}, Terms()) is None


def test_the_most_copy_like_come_first() -> None:
    rows = [gallery_row(i, "kept", nearest_ratio=r) for i, r in enumerate((0.9, 0.3, 1.2, 0.5))]
    shown = closeness.copies(measures()["copies"], [], [*rows, gallery_row(9, "real", nearest_ratio=0.0)])
    assert shown is not None and [r["ratio"] for r in shown["pairs"]] == ["0.30", "0.50", "0.90", "1.20"]
    shown = closeness.copies(
        measures()["copies"], [gallery_row(i, "rejected", nearest_ratio=i / 9) for i in range(30)], rows
    )
    assert shown is not None and len(shown["pairs"]) == 10 and shown["of_all"]


@pytest.mark.parametrize(
    ("ci95", "told"), [((0.55, 0.7), "can be told"), ((0.4, 0.7), "wide"), ((0.47, 0.55), "no promise")]
)
def test_the_audit_says_what_its_interval_allows(ci95: tuple[float, float], told: str) -> None:
    found = closeness.membership({"auc": sum(ci95) / 2, "ci95": list(ci95)}, Terms())
    assert found is not None and told in found["told"]
    assert closeness.membership(None, Terms()) is None


def test_metrics_are_kept_apart_by_extractor() -> None:
    row = measures()["rows"][0]
    found = metric_rows({"extractor": "one", "rows": [row, {**row, "extractor": "two"}, row]}, Terms())
    assert found is not None and [(g["extractor"], len(g["rows"])) for g in found["groups"]] == [("one", 2), ("two", 1)]


def test_the_file_stays_small_with_heavy_pictures(full: Path) -> None:
    heavy = "data:image/webp;base64," + "A" * 25_000
    rows = [
        gallery_row(i, k, html=f'<img src="{heavy}" alt="a">')
        for k in ("kept", "rejected", "augmented", "real")
        for i in range(60)
    ]
    save_rows(full / "eval" / "gallery.jsonl", rows)
    save_rows(full / "eval" / "copies.jsonl", rows[:10])
    noise = np.random.Generator(np.random.PCG64(3)).integers(0, 255, (900, 1200, 3), np.uint8)
    for s in range(0, 2000, 400):
        cv2.imwrite(str(full / "samples" / f"step-{s:06d}.png"), noise)
    assert len(page(full).source) < 3_000_000


def test_few_samples_are_mapped_by_their_principal_axes() -> None:
    from sklearn.decomposition import PCA

    x = np.random.Generator(np.random.PCG64(4)).normal(size=(40, 6)).astype(np.float32) * np.arange(
        1, 7, dtype=np.float32
    )
    flat, method = mapping.embed(x, seed=0)
    peer = PCA(2, svd_solver="full").fit_transform(x.astype(np.float64))
    assert method == "principal components"
    assert np.allclose(np.abs(flat), np.abs(peer), atol=1e-4)
    assert mapping.embed(x[:1], seed=0)[0].tolist() == [[0.0, 0.0]]


def test_the_map_of_a_gan_holds_all_kinds_and_is_the_same_again() -> None:
    """Two classes far apart: on the map, too, the nearest neighbour of nearly every sample is of its class."""
    rng = np.random.Generator(np.random.PCG64(5))
    x = np.concatenate([rng.normal(m, 0.1, (60, 1, 4, 4)) for m in (-0.5, 0.5)]).astype(np.float32)
    y = np.repeat([0, 1], 60)
    known = SimpleNamespace(x=x, y=y, held_x=x[::3], held_y=y[::3])
    curation = SimpleNamespace(reasons={i: "surplus" for i in range(0, 120, 4)})
    made: Any = SimpleNamespace(
        known=known, gan=SimpleNamespace(classes=("a", "b")), curation=curation, x=x, y=y, kept=np.arange(1, 120, 2)
    )
    found = mapping.feature_map(made, seed=0)
    assert found == mapping.feature_map(made, seed=0) and found["reals"] == "held-out reals"
    points = found["points"]
    assert Counter(p["kind"] for p in points) == {"real": 40, "kept": 60, "rejected": 30}
    at = np.array([[p["x"], p["y"]] for p in points])
    far = np.linalg.norm(at[:, None] - at[None], axis=2) + np.eye(len(at)) * 1e9
    same = [points[i]["label"] == points[j]["label"] for i, j in enumerate(far.argmin(1))]
    assert np.mean(same) > 0.95


# -- what a run calls by short names, in words ---------------------------------------------------------------------------


def proving(tmp_path: Path, *, choices: dict[str, Any] | None = None, copies: Any = None, **more: Any) -> Path:
    """A run of ``prove`` on 400 reals and 200 synthetic samples."""
    run = tmp_path / "p one"
    save(run / "run.json", state(verb="prove", counts={"real": 400, "synthetic": 200}))
    save(run / "eval" / "proof.json", {**proof(), "probe": "cnn", **more})
    extractor = {"extractor": "cnn-classes-64@d86d91fc"}
    found = {**measures(), **extractor, "calibration": None, "curation": None}
    found["membership"]["attack"] = "nearest synthetic sample (pixels-16)"
    found["rows"].append({**found["rows"][0], "extractor": "logistic regression, 8 cells an axis"})
    save(run / "eval" / "metrics.json", {**found, "copies": copies or found["copies"]})
    save(run / "choices.json", {k: {"value": v, "reason": f"why {k}"} for k, v in (choices or {}).items()})
    return run


@pytest.mark.parametrize(
    ("needed", "told"),
    [
        ({"seeds": None, "test_items": 2100, "both": None}, "To settle it: about 2,100 test samples "),
        ({"seeds": 40, "test_items": None, "both": None}, "To settle it: about 40 paired seeds "),
        ({"seeds": None, "test_items": None, "both": [20, 530]}, "about 20 paired seeds and 530 test samples together"),
        ({"seeds": None, "test_items": None, "both": None}, ""),
    ],
)
def test_what_would_settle_it_is_said_in_words(needed: dict[str, Any], told: str, tmp_path: Path) -> None:
    found = proof()
    found["verdicts"][1]["needed"] = needed
    words = page(proving(tmp_path, verdicts=found["verdicts"])).text
    assert told in words and "test_items" not in words and ("To settle it" in words) == bool(told)


def test_the_page_of_prove_speaks_of_a_comparison_not_of_a_set(tmp_path: Path) -> None:
    words = page(proving(tmp_path)).text
    assert "Compared: 400 real and 200 synthetic samples" in words and "resulting set" not in words


def test_a_set_of_unknown_origin_has_no_gan(tmp_path: Path) -> None:
    """What its maker has seen is not known, unless the run wrote down that it was ours."""
    words = page(proving(tmp_path)).text
    assert "GAN" not in words and "generator" not in words and "this set on this data" in words
    words = page(proving(tmp_path, choices={"maker": "augmint"})).text
    assert "reals that the GAN never saw" in words


@pytest.mark.parametrize(
    ("grid", "net", "shapes"),
    [
        ([3, 32, 32], "a small convolutional net", "the samples themselves, at most 16 cells an axis"),
        ([30, 1], "a small fully connected net", "the numbers themselves"),
        (None, "a small net", "the samples themselves)"),
    ],
)
def test_features_and_probe_are_named_for_the_data(grid: Any, net: str, shapes: str, tmp_path: Path) -> None:
    words = page(proving(tmp_path, choices={"grid": grid} if grid else {})).text
    assert f"Probe {net}, trained from the start" in words and f"{net} taught the classes" in words and shapes in words
    for raw in ("cnn-classes", "pixels-16", *(["cells an axis", "convolutional"] if grid == [30, 1] else [])):
        assert raw not in words


def test_a_probe_without_steps_is_not_said_to_have_any(tmp_path: Path) -> None:
    choices = {"probe_steps": 400, "proof_seconds": 61.5}
    for probe, has_steps in (("cnn", True), ("linear", False), ("sklearn.ensemble:RandomForestClassifier", False)):
        words = page(proving(tmp_path, probe=probe, choices=choices)).text
        assert (("same number of steps" in words), ("probe steps" in words)) == (has_steps, has_steps)


def test_arms_have_their_titles_everywhere(tmp_path: Path) -> None:
    run = proving(tmp_path, choices={"extra_arms": ["reals_50%"], "proof_seconds": 9.5})
    plan = registered()
    plan["plan"]["arms"] = [*proof()["arms"], {"name": "reals_50%", "title": "50% of the labelled reals"}]
    save(run / "eval" / "registered.json", plan)
    words = page(run).text
    assert "extra arms 50% of the labelled reals" in words and "reals_50%" not in words
    assert "the classic arm against the real arm" in words
    assert "the 4 arms of the table" in words and "the 1 of the curves" in words


def test_without_a_threshold_there_is_no_count_of_copies(tmp_path: Path) -> None:
    copies = {"rate": 0.0, "real_rate": None, "threshold": None, "flagged": 0, "n": 495}
    words = page(proving(tmp_path, copies=copies)).text
    assert "no count of suspected copies" in words and "0 of 495" not in words and "0.0 %" not in words


def test_suspected_copies_are_listed_by_name(tmp_path: Path) -> None:
    suspects = [{"id": f"{EVIL}-{i}", "nearest_id": f"cat/{i}.png", "ratio": 0.1 + i / 100} for i in range(20)]
    found = page(proving(tmp_path, copies={**measures()["copies"], "flagged": 31, "suspects": suspects}))
    check_sound(found)
    assert f"{EVIL}-19 cat/19.png 0.290" in found.text and "The 20 nearest of the 31 suspected copies" in found.text


def test_what_was_not_needed_is_not_called_rejected() -> None:
    rows = [gallery_row(i, "rejected", reason=r) for i, r in enumerate(["surplus"] * 3 + ["verifier"] * 2)]
    parts = {g["title"]: g for g in gallery.groups(rows)}
    assert {k: g["total"] for k, g in parts.items()} == {"Synthetic, rejected": 2, "Synthetic, not needed": 3}
    assert [name for name, _ in parts["Synthetic, rejected"]["reasons"]] == ["verifier"]
    pairs = closeness.copies(measures()["copies"], [], rows)
    assert pairs is not None and [p["fate"] for p in pairs["pairs"]] == ["not needed"] * 3 + ["rejected: verifier"] * 2


def test_a_kept_command_is_shown_and_a_lost_one_is_not_made_up(tmp_path: Path) -> None:
    run = proving(tmp_path)
    lost = page(run).text
    assert "augmint prove REAL SYNTHETIC --config 'p one/config.yaml' --out OUT" in lost and "was not kept" in lost
    typed = "augmint prove 'my cats' synthetic --out 'p one'"
    save(run / "run.json", {**json.loads((run / "run.json").read_text()), "command": typed})
    assert typed in page(run).text and "REAL" not in page(run).text


def test_on_a_phone_nothing_is_drawn_behind_the_names() -> None:
    arms = [figures.Arm("a", "classic", 0.0, is_reference=True), figures.Arm("b", "control", 1.0, (-1.0, 3.0))]
    drawn = figures.forest(arms, margin=1.0, metric="accuracy", reference="a", narrow=True)
    names = [float(y) for y in re.findall(r'<text class="name[^"]*" x="[\d.]+" y="([\d.]+)"', drawn)]
    bands = re.findall(r'<rect class="margin" x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', drawn)
    lines = re.findall(r'<line class="(?:zero|grid)" x1="[\d.]+" y1="([\d.]+)" x2="[\d.]+" y2="([\d.]+)"', drawn)
    spans = [(float(y), float(y) + float(h)) for y, h in bands] + [(float(a), float(b)) for a, b in lines]
    assert len(names) == len(bands) == 2
    assert all(b < y - 12 or a > y + 3 for y in names for a, b in spans)


def test_what_was_told_in_training_stands_in_the_report_once_with_its_steps() -> None:
    journal = (
        "2026-01-01T00:00:00+00:00  step 10: copying: 6 % of the samples lie too near\n"
        "2026-01-01T00:00:01+00:00  resumed at step 10\n"
        "2026-01-01T00:00:02+00:00  step 20: overfitting: by heart\n"
        "2026-01-01T00:00:03+00:00  step 30: copying: 9 % of the samples lie too near\n"
    )
    assert view.remarks(journal) == [
        "2 times, at steps 10 to 30: copying: 9 % of the samples lie too near.",
        "Step 20: overfitting: by heart.",
    ]
    assert view.remarks("") == []
