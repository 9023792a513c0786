"""Folder conventions and metadata files; nothing may lead out of the data folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augmint.core.errors import BadSample, UserError
from augmint.core.types import Dataset, Scan
from augmint.data.layout import part_of, scan
from augmint.data.tables import describe, read_metadata
from augmint.modalities.image import ImageModality

ENDINGS = (".png", ".jpg")


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def labels(found: Scan) -> dict[str, str | None]:
    return {r.id: r.label for r in found.refs}


def parts(found: Scan) -> dict[str, str | None]:
    return {r.id: r.part for r in found.refs}


def reasons(found: Scan) -> str:
    return "\n".join(f"{s.where}: {s.reason}" for s in found.skipped)


def notes(found: Scan) -> str:
    return "\n".join(found.notes)


def test_class_folders(tmp_path: Path) -> None:
    found = scan(tree(tmp_path, "cat/b.png", "cat/a.JPG", "cat/2021/c.png", "dog/a.png"), ENDINGS)
    assert found.layout == "class-folders"
    assert labels(found) == {"cat/2021/c.png": "cat", "cat/a.JPG": "cat", "cat/b.png": "cat", "dog/a.png": "dog"}
    assert list(labels(found)) == sorted(labels(found))
    assert not found.skipped and set(parts(found).values()) == {None}


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    found = scan(tree(tmp_path, "a.png", "b.png"), ENDINGS)
    assert found.layout == "flat" and labels(found) == {"a.png": None, "b.png": None}


def test_one_sample_is_a_data_set(tmp_path: Path) -> None:
    assert len(scan(tree(tmp_path, "a.png"), ENDINGS).refs) == 1


def test_split_folders_in_any_of_their_names(tmp_path: Path) -> None:
    found = scan(tree(tmp_path, "Training/cat/a.png", "valid/cat/a.png", "test/b.png"), ENDINGS)
    assert parts(found) == {"Training/cat/a.png": "train", "valid/cat/a.png": "val", "test/b.png": "test"}
    assert labels(found) == {"Training/cat/a.png": "cat", "valid/cat/a.png": "cat", "test/b.png": None}
    assert "Training = train" in notes(found)


def test_a_class_called_test_is_a_class(tmp_path: Path) -> None:
    found = scan(tree(tmp_path, "test/a.png", "control/a.png"), ENDINGS)
    assert labels(found) == {"control/a.png": "control", "test/a.png": "test"}
    assert set(parts(found).values()) == {None}
    assert "'test' is read as a class" in notes(found)


def test_what_lies_beside_split_folders_is_left_out_and_named(tmp_path: Path) -> None:
    found = scan(tree(tmp_path, "train/c/a.png", "test/c/a.png", "extra/a.png", "b.png"), ENDINGS)
    assert set(labels(found)) == {"train/c/a.png", "test/c/a.png"}
    assert "extra/a.png: it lies beside the split folders" in reasons(found)
    assert "b.png: it lies beside" in reasons(found)


def test_a_file_beside_class_folders_and_a_folder_in_a_flat_one(tmp_path: Path) -> None:
    mostly_classes = scan(tree(tmp_path / "a", "c/1.png", "c/2.png", "x.png"), ENDINGS)
    assert len(mostly_classes.refs) == 2 and "x.png: it lies beside the class folders" in reasons(mostly_classes)
    mostly_flat = scan(tree(tmp_path / "b", "1.png", "2.png", "raw/x.png"), ENDINGS)
    assert len(mostly_flat.refs) == 2 and "raw/x.png: it lies in a sub-folder" in reasons(mostly_flat)


def test_junk_is_passed_over_and_other_files_are_counted(tmp_path: Path) -> None:
    junk = (".DS_Store", "Thumbs.db", "cat/._a.png", "__MACOSX/cat/a.png", ".hidden/cat/a.png", "cat/desktop.ini")
    found = scan(tree(tmp_path, "cat/a.png", "dog/a.png", "readme.txt", "cat/b.webp", *junk), ENDINGS)
    assert set(labels(found)) == {"cat/a.png", "dog/a.png"}
    assert not found.skipped
    assert "1 .txt" in notes(found) and "1 .webp" in notes(found)


def test_remarks_on_empty_folders_case_and_a_single_class(tmp_path: Path) -> None:
    tree(tmp_path / "a", "cat/a.png", "Cat/a.png")
    (tmp_path / "a" / "dog").mkdir()
    assert "'dog' holds no samples" in notes(scan(tmp_path / "a", ENDINGS))
    assert "spelled in more than one way" in notes(scan(tmp_path / "a", ENDINGS))
    wrapped = scan(tree(tmp_path / "b", "archive/cat/a.png", "archive/dog/a.png"), ENDINGS)
    assert "only one class folder, 'archive'; if its folders (cat, dog) are the classes" in notes(wrapped)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        scan(tmp_path / "missing", ENDINGS)
    with pytest.raises(UserError, match="holds no samples"):
        scan(tmp_path, ENDINGS)
    with pytest.raises(UserError, match=r"only 2 \.webp"):
        scan(tree(tmp_path, "a.webp", "b.webp"), ENDINGS)
    with pytest.raises(UserError, match="this is a file"):
        scan(tmp_path / "a.webp", ENDINGS)


# Symlinks


def test_symlinks_out_are_refused_and_symlinks_inside_followed(tmp_path: Path) -> None:
    secret = tree(tmp_path / "outside", "secret.png", "more/x.png")
    root = tree(tmp_path / "data", "cat/a.png")
    (root / "cat" / "out.png").symlink_to(secret / "secret.png")
    (root / "cat" / "in.png").symlink_to(root / "cat" / "a.png")
    (root / "cat" / "dangling.png").symlink_to(root / "cat" / "nothing.png")
    (root / "cat" / "loop.png").symlink_to(root / "cat" / "loop.png")
    (root / "dog").symlink_to(secret / "more")
    found = scan(root, ENDINGS)
    assert set(labels(found)) == {"cat/a.png", "cat/in.png"}
    for name in ("cat/out.png", "cat/dangling.png", "cat/loop.png"):
        assert f"{name}: a symlink that leads out" in reasons(found)
    assert "dog: a folder that is a symlink" in reasons(found)
    with pytest.raises(BadSample):
        scan(root, ENDINGS, strict=True)


def test_the_data_folder_itself_may_be_a_symlink(tmp_path: Path) -> None:
    tree(tmp_path / "data", "cat/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert labels(scan(tmp_path / "link", ENDINGS)) == {"cat/a.png": "cat"}


def test_a_metadata_symlink_out_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("password\nhunter2\n")
    root = tree(tmp_path / "data", "cat/a.png")
    (root / "metadata.csv").symlink_to(tmp_path / "secret.csv")
    found = scan(root, ENDINGS)
    assert labels(found) == {"cat/a.png": "cat"} and "metadata.csv: a symlink that leads out" in reasons(found)


# Metadata


def test_metadata_csv_gives_labels_parts_and_columns(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "sub/b.png", "c.png")
    text = '\ufefffile_name;label;split;who\na.png;cat;train;"Ann; B"\nsub/b.png; dog ;validation;\nc.png;;test;x\n'
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8")
    found = scan(tmp_path, ENDINGS)
    assert found.layout == "metadata"
    assert labels(found) == {"a.png": "cat", "c.png": None, "sub/b.png": "dog"}
    assert parts(found) == {"a.png": "train", "c.png": "test", "sub/b.png": "val"}
    assert found.refs[0].meta == {"who": "Ann; B"}


def test_metadata_jsonl_inside_split_folders(tmp_path: Path) -> None:
    tree(tmp_path, "train/a.png", "test/a.png")
    for part, label in (("train", 1), ("test", "one")):
        row = json.dumps({"file_name": "a.png", "label": label, "weight": float("nan"), "tags": ["x"]})
        (tmp_path / part / "metadata.jsonl").write_text(row + "\n\n")
    found = scan(tmp_path, ENDINGS)
    assert labels(found) == {"test/a.png": "one", "train/a.png": "1"}
    assert parts(found) == {"test/a.png": "test", "train/a.png": "train"}
    assert found.refs[0].meta == {}


def test_class_folders_stay_class_folders_with_metadata_beside_them(tmp_path: Path) -> None:
    tree(tmp_path, "cat/a.png", "dog/b.png")
    rows = [{"file_name": "cat/a.png", "label": "cat", "split": "test"}, {"file_name": "dog/b.png", "label": "dog"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = scan(tmp_path, ENDINGS)
    assert found.layout == "class-folders" and parts(found) == {"cat/a.png": "test", "dog/b.png": None}


def test_metadata_without_labels_takes_them_from_the_folders(tmp_path: Path) -> None:
    tree(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "metadata.csv").write_text("file_name,class\ncat/a.png,1\ndog/b.png,2\n")
    found = scan(tmp_path, ENDINGS)
    assert labels(found) == {"cat/a.png": "cat", "dog/b.png": "dog"}
    assert "if 'class' holds the classes, rename it to label" in notes(found)


EVIL = [
    "../../x.png",
    "cat/../../x.png",
    "/etc/x.png",
    "C:/x.png",
    "..\\..\\x.png",
    "C:\\x.png",
    "\\\\server\\x.png",
    "",
    "a\0b.png",
]


@pytest.mark.parametrize("name", EVIL)
def test_a_file_name_that_leads_out_is_skipped_with_its_line(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "x.png", "data/a.png")
    rows = [{"file_name": "a.png", "label": "c"}, {"file_name": name, "label": "c"}]
    (tmp_path / "data" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = scan(tmp_path / "data", ENDINGS)
    assert set(labels(found)) == {"a.png"}
    (skipped,) = found.skipped
    assert skipped.where.endswith("metadata.jsonl, line 2") and skipped.mend
    with pytest.raises(BadSample, match="line 2"):
        scan(tmp_path / "data", ENDINGS, strict=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.text(max_size=30), st.none(), st.integers(), st.sampled_from(EVIL)), max_size=5))
def test_no_metadata_leads_out(tmp_path: Path, names: list[object]) -> None:
    root = tree(tmp_path / "data", "a.png")
    (root / "metadata.jsonl").write_text("\n".join(json.dumps({"file_name": n}) for n in ["a.png", *names]))
    for ref in scan(root, ENDINGS).refs:
        assert ref.path.resolve().is_relative_to(root.resolve()) and ref.path.is_file()


def test_rows_that_repeat_contradict_or_miss_their_file(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.webp")
    rows = ["a.png,1,", "./a.png,1,", "b.png,1,", "b.png,2,", "gone.png,1,", "e.webp,1,", "d.png,1,trian"]
    (tmp_path / "metadata.csv").write_text("file_name,label,split\n" + "\n".join(rows))
    found = scan(tmp_path, ENDINGS)
    assert set(labels(found)) == {"a.png"}
    told = reasons(found)
    assert "line 3: 'a.png' is listed a second time" in told
    assert "line 5: 'b.png' is listed twice, as '1' and '2': left out" in told
    assert "line 6: there is no file 'gone.png'" in told
    assert "line 7: 'e.webp' is not one of" in told
    assert "line 8: unknown split 'trian' (did you mean 'train'?)" in told
    assert "c.png: not listed in the metadata file" in told
    assert len(found.skipped) == 6


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("metadata.csv", "filename,label\na.png,x\n", r"no column `file_name` \(did you mean 'filename'"),
        ("metadata.csv", "file_name,label\na.png,x,y\n", r"line 2: 3 fields where the header has 2"),
        ("metadata.csv", 'file_name,label\n"a.png,x\n', r"line 2: not readable as CSV"),
        ("metadata.jsonl", '{"file_name": "a.png"}\n{oops}\n', r"line 2: not readable as JSON"),
        ("metadata.jsonl", "[1]\n", r"line 1: a list where an object"),
        ("metadata.jsonl", "[" * 100_000, r"line 1: not readable as JSON"),
        ("metadata.csv", b"file_name,label\na.png,\xff\xfe\n", r"not UTF-8"),
    ],
)
def test_a_metadata_file_that_is_no_table(tmp_path: Path, name: str, text: str | bytes, words: str) -> None:
    tree(tmp_path, "a.png")
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=words):
        scan(tmp_path, ENDINGS)


def test_two_metadata_files_are_one_too_many(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "metadata.csv", "metadata.jsonl")
    (tmp_path / "metadata.csv").write_text("file_name\na.png\n")
    with pytest.raises(UserError, match="side by side"):
        scan(tmp_path, ENDINGS)


def test_metadata_in_a_class_folder_is_ignored_and_said(tmp_path: Path) -> None:
    tree(tmp_path, "cat/a.png", "cat/metadata.csv", "dog/a.png")
    found = scan(tmp_path, ENDINGS)
    assert len(found.refs) == 2 and "cat/metadata.csv is ignored" in notes(found)


def test_names_that_cannot_be_written_down_are_skipped(tmp_path: Path) -> None:
    tree(tmp_path, "cat/a.png", "cat/new\nline.png")
    (tmp_path / "cat" / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    found = scan(tmp_path, ENDINGS)
    assert set(labels(found)) == {"cat/a.png"} and len(found.skipped) == 2


def test_read_metadata_keeps_lines_right_across_blank_and_quoted_lines(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text('file_name,label,text\n\na.png,x,"two\nlines"\nb.png,y,z\n')
    table = read_metadata(tmp_path / "metadata.csv")
    assert [r.line for r in table.rows] == [3, 5]
    assert table.columns == ("file_name", "label", "text")


def test_parts_by_name() -> None:
    assert [part_of(n) for n in ("Train", " validation ", "test", "held-out", "cats")] == [
        "train", "val", "test", "val", None,
    ]  # fmt: skip


def test_describe_counts_like_a_person_would(tmp_path: Path) -> None:
    import numpy as np

    from augmint.data import images

    for name, shape in (("train/a/1.png", (4, 6)), ("train/a/2.png", (8, 8)), ("test/b/1.png", (10, 20))):
        images.write(tmp_path / name, np.zeros((*shape, 1), np.uint8))
    modality = ImageModality()
    found = modality.scan(tmp_path)
    table = describe(Dataset(modality, tmp_path, found.refs)).set_index("class")
    assert table.loc["a"].to_dict() == {
        "samples": 2, "share_percent": 66.7, "train": 2, "val": 0, "test": 0, "open": 0, "height": 6, "width": 7,
        "size_range": "6 - 8",
    }  # fmt: skip
    assert table.loc["b", "test"] == 1 and table.loc["b", "size_range"] == "20 - 20"
