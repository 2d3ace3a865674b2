"""A system that starts anew removes an earlier run, and nothing else."""

from pathlib import Path

import pytest

from errors import PermanentError
from local.system import system


def test_a_folder_that_holds_something_else_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "only-copy.jpg").write_bytes(b"x")
    with pytest.raises(PermanentError, match="holds something else"), system(folder, fresh=True):
        pass
    assert (folder / "only-copy.jpg").exists()
