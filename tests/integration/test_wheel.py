"""The package imagefeed alone: built, installed into an empty environment, reading shards and rows there."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from local.azurite import Azurite
from storage.clients import Clients
from tests.fixtures.package import PROJECT
from tests.integration.test_reader import NOON, Producer, made

SHARDS_ALONE = """
import sys
from azure.storage.blob import BlobClient
import imagefeed

connection, shard = sys.argv[1:]
with BlobClient.from_connection_string(connection, "processed", shard) as blob:
    for metadata, pixels in imagefeed.read_images(shard, blob.download_blob().chunks()):
        print(metadata.member, pixels.shape, pixels.dtype)
try:
    imagefeed.open_reader
except ImportError as error:
    print(error)
"""
ROWS_AND_SHARDS = """
import json, sys
from datetime import datetime, timedelta
from importlib.metadata import entry_points
import imagefeed

connection, source, noon = sys.argv[1:]
start = datetime.fromisoformat(noon)
with imagefeed.open_reader(connection) as reader:
    rows = [image.pixels.tolist() for image in reader.latest(source)]
    shards = [image.pixels.tolist() for image in reader.shards(source, start, start + timedelta(hours=1))]
try:
    imagefeed.open_reader("https://account.blob.core.windows.net")
except ImportError as error:
    print(error)
try:
    imagefeed.to_pandas
except ImportError as error:
    print(error)
print(json.dumps([rows, shards, [command.value for command in entry_points(name="imagefeed")]]))
"""
OLDEST = "3.11"
"""requires-python of pyproject.toml."""
AS_A_TABLE = """
import sys
from datetime import datetime, timedelta
import imagefeed

connection, source, noon = sys.argv[1:]
start = datetime.fromisoformat(noon)
with imagefeed.open_reader(connection) as reader:
    rows = list(reader.rows(source, start, start + timedelta(hours=1)))
    table = imagefeed.to_pandas(rows)
    print(table[["source", "member", "height", "width", "channels", "dtype"]].to_csv(index=False))
    print([reader.image(rows[at]).pixels.tolist() for at in table.index])
    assert len(list(reader.shards(source, start, start + timedelta(hours=1)))) == len(table)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=PROJECT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an empty virtual environment."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def old_python() -> str:
    """Return the oldest Python that imagefeed supports, on PATH or behind pyenv's shims; skip if there is none."""
    name = f"python{OLDEST}"
    environment = {**os.environ, "PYENV_VERSION": OLDEST}
    if shutil.which(name):
        command = (name, "-c", "import sys; print(sys.executable)")
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    pytest.skip(f"{name} is not installed")


def install(python: Path, package: str) -> None:
    """Install the pinned versions: with uv if it is installed, which takes a fifth of pip's time."""
    with_uv = ("uv", "pip", "install", "--python", python)
    with_pip = ("pip", "--python", python, "install", "--no-compile")
    options = ("--quiet", "--only-binary", ":all:", "--constraint", PROJECT / "requirements.txt")
    run(sys.executable, "-m", *(with_uv if find_spec("uv") else with_pip), *options, package, cwd=python.parent)


def test_nothing_but_imagefeed_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    about = "imagefeed-0.1.0.dist-info/"
    modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "imagefeed").rglob("*.py")}
    assert {name for name in names if not name.startswith(about)} == modules | {"imagefeed/py.typed"}
    assert {f"{about}METADATA", f"{about}entry_points.txt", f"{about}licenses/LICENSE"} <= set(names)


@pytest.mark.timeout(400)  # a dozen packages are installed, which a slow network may delay
def test_an_empty_environment_reads_shards_and_rows(
    wheel: Path, python: Path, clients: Clients, azurite: Azurite, source: str
) -> None:
    producer = Producer(clients, source)
    (batch,) = producer.process(NOON, 2, batches=1)
    (shard,) = clients.processed.list_blob_names(name_starts_with=f"p1/{source}/")
    install(python, str(wheel))
    alone = run(python, "-I", "-c", SHARDS_ALONE, azurite.connection, shard, cwd=python.parent)
    *images, advice = alone.splitlines()
    assert images == ["0 (6, 6, 3) uint8", "1 (6, 6, 3) uint8"]
    assert "pip install 'imagefeed[tables]'" in advice
    listed = subprocess.run([python.parent / "imagefeed", "ls"], capture_output=True, text=True, check=False)
    assert listed.returncode == 2
    assert "pip install 'imagefeed[tables]'" in listed.stderr

    install(python, f"{wheel}[tables]")
    output = run(python, "-I", "-c", ROWS_AND_SHARDS, azurite.connection, source, NOON.isoformat(), cwd=python.parent)
    identity, pandas, images_read = output.splitlines()
    assert "pip install 'imagefeed[identity]'" in identity
    assert "pip install 'imagefeed[pandas]'" in pandas
    pixels = [made(batch.archive, member).pixels.tolist() for member in range(2)]
    assert json.loads(images_read) == [pixels, pixels, ["imagefeed.cli:main"]]
    assert "usage: imagefeed" in run(python.parent / "imagefeed", "--help", cwd=python.parent)


@pytest.mark.timeout(400)  # a dozen packages are installed, which a slow network may delay
def test_the_oldest_python_and_packages_that_it_allows_read_rows_as_a_table(
    wheel: Path, tmp_path: Path, clients: Clients, azurite: Azurite, source: str
) -> None:
    producer = Producer(clients, source)
    (batch,) = producer.process(NOON, 2, batches=1)
    python = tmp_path / "oldest" / "bin" / "python"
    run(old_python(), "-m", "venv", "--without-pip", python.parent.parent, cwd=tmp_path)
    options = ("--quiet", "--only-binary", ":all:", "--resolution", "lowest-direct", "--python", python)
    run(sys.executable, "-m", "uv", "pip", "install", *options, f"{wheel}[tables,pandas]", cwd=tmp_path)
    output = run(python, "-I", "-c", AS_A_TABLE, azurite.connection, source, NOON.isoformat(), cwd=tmp_path)
    lines, pixels = output.rstrip().rsplit("\n", 1)
    assert lines.split() == [
        "source,member,height,width,channels,dtype",
        f"{source},0,6,6,3,uint8",
        f"{source},1,6,6,3,uint8",
    ]
    assert json.loads(pixels) == [made(batch.archive, member).pixels.tolist() for member in range(2)]


def test_the_oldest_python_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={OLDEST}"
