"""Run folders: claimed, resumed, refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.classification.config import ClassificationConfig
from recipes.errors import RunFolderError
from recipes.runs import RunFolder

CONFIG = ClassificationConfig()


def test_begin_then_begin_again_gives_the_same_state(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock():
        first = run.begin(CONFIG, "source")
        run.check_data(first, "data", "source")
        assert run.begin(CONFIG, "source").data == "data"
    assert (run.path / "config.yaml").exists()


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock():
        run.begin(CONFIG, "source")
        with pytest.raises(RunFolderError, match="another configuration"):
            run.begin(ClassificationConfig(seed=1), "source")


def test_other_data_are_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock():
        state = run.begin(CONFIG, "source")
        run.check_data(state, "data", "source")
        with pytest.raises(RunFolderError, match="other data"):
            run.check_data(state, "else", "source")


def test_ids_made_with_another_salt_are_told_from_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock():
        state = run.begin(CONFIG, "source")
        run.check_data(state, "data", "source")
        salt = tmp_path / "other-salt"
        salt.write_text("0b" * 32)
        monkeypatch.setenv("RADZOO_SALT", str(salt))
        again = run.begin(CONFIG, "source")
        with pytest.raises(RunFolderError, match=r"another salt.*RADZOO_SALT") as caught:
            run.check_data(again, "else", "source")
        assert str(tmp_path) not in str(caught.value)
        run.check_data(again, "data", "source")  # ids that no salt went into


def test_a_folder_with_foreign_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    run = RunFolder(tmp_path)
    with run.lock(), pytest.raises(RunFolderError, match="not empty"):
        run.begin(CONFIG, "source")
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(RunFolderError, match="is a file"), RunFolder(file).lock():
        pass


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"run\.json is damaged"):
        RunFolder(tmp_path).read()
    (tmp_path / "run.json").write_text(json.dumps({"other": 1}))
    with pytest.raises(RunFolderError, match=r"run\.json is damaged"):
        RunFolder(tmp_path).read()


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from recipes.runs import RunFolder\n"
        "from recipes.errors import RunFolderError\n"
        "try:\n    RunFolder(Path(sys.argv[1])).lock().__enter__()\n"
        "except RunFolderError as error:\n    print(error)\n"
    )
    with RunFolder(tmp_path).lock():
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert "another process" in done.stdout
