"""The store: artifacts appear whole or not at all, once, under keys that say what they depend on."""

from __future__ import annotations

import errno
import multiprocessing
from pathlib import Path

import pytest

from benchmark.store import SCRATCH, Store, content_key, disk_is_full, file_hash


def build(store: Store, key: str, text: str = "content") -> None:
    with store.building("cam", key) as work:
        assert work is not None
        (work / "file.txt").write_text(text)
        (work / SCRATCH / "checkpoint.pt").write_text("state")
        store.commit("cam", key, work, {"seconds": 1.5})


def test_a_finished_artifact_says_what_it_holds(tmp_path):
    store = Store(tmp_path)
    build(store, "k")
    artifact = store.find("cam", "k")
    assert artifact is not None
    assert artifact.manifest["seconds"] == 1.5
    assert (artifact.manifest["stage"], artifact.manifest["key"]) == ("cam", "k")
    assert artifact.manifest["files"] == {
        "file.txt": {"sha256": file_hash(artifact.path / "file.txt"), "bytes": len("content")}
    }
    assert artifact.bytes == len("content")
    assert not (artifact.path / SCRATCH).exists()
    with store.building("cam", "k") as work:
        assert work is None


def test_nothing_is_found_before_the_manifest(tmp_path, monkeypatch):
    store = Store(tmp_path)
    rename = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if self.name == "k":  # the last step: the folder moves to its place
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        build(store, "k", "first")
    assert store.find("cam", "k") is None
    monkeypatch.undo()
    build(store, "k", "second")
    artifact = store.find("cam", "k")
    assert artifact is not None
    assert (artifact.path / "file.txt").read_text() == "second"


def test_work_is_kept_when_the_disk_fills_at_the_end(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def full(self: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with store.building("cam", "k") as work:
        assert work is not None
        (work / SCRATCH / "checkpoint.pt").touch()
        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(OSError):
            store.commit("cam", "k", work, {})
    with store.building("cam", "k") as work:
        assert work is not None
        assert (work / SCRATCH / "checkpoint.pt").exists()


@pytest.mark.parametrize("manifest", [None, "{torn"])
def test_a_folder_without_a_whole_manifest_is_unfinished(tmp_path, manifest):
    store = Store(tmp_path)
    build(store, "k")
    path = store.path("cam", "k") / "manifest.json"
    path.unlink() if manifest is None else path.write_text(manifest)
    assert store.find("cam", "k") is None
    build(store, "k", "again")
    assert store.find("cam", "k") is not None


def test_half_written_files_do_not_become_part_of_an_artifact(tmp_path):
    store = Store(tmp_path)
    with store.building("cam", "k") as work:
        assert work is not None
        (work / "labels").mkdir()
        (work / "labels" / "a.png.tmp").touch()
        (work / "counts.parquet.123.tmp").touch()
        (work / "folder.tmp").mkdir()  # of images that lie in a folder of this name
        (work / "folder.tmp" / "a.png").touch()
        (work / "counts.parquet").touch()
        artifact = store.commit("cam", "k", work, {})
    assert list(artifact.manifest["files"]) == ["counts.parquet", "folder.tmp/a.png"]


def build_once(root: Path, waits, log: Path) -> None:
    store = Store(root)
    with store.building("cam", "k", waiting=waits.set) as work:
        if work is not None:
            with log.open("a") as f:
                f.write("built\n")
            assert waits.wait(timeout=60)  # the other process is at the lock
            store.commit("cam", "k", work, {})
    assert store.find("cam", "k") is not None


def test_two_processes_do_the_work_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    log, waits = tmp_path / "log", context.Event()
    processes = [context.Process(target=build_once, args=(tmp_path / "s", waits, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [p.exitcode for p in processes] == [0, 0]
    assert log.read_text() == "built\n"


def test_keys_are_of_the_content_and_not_of_its_order():
    assert content_key({"a": 1, "b": {"c": (1, 2)}}) == content_key({"b": {"c": [1, 2]}, "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
    assert content_key({"a": 0.1}) != content_key({"a": "0.1"})


def test_a_full_disk_is_recognised_behind_libraries_errors():
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = RuntimeError("unexpected pos 704 vs 598")  # torch.save's
    wrapped.__context__ = full
    serialised = Exception("Error while serializing: I/O error: No space left on device (os error 28)")
    assert all(map(disk_is_full, (full, wrapped, serialised)))
    assert not disk_is_full(OSError(errno.EACCES, "Permission denied"))
