"""A wheel carries what it needs and works from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    configs = {p.relative_to(REPOSITORY / "conf") for p in REPOSITORY.glob("conf/**/*.yaml")}
    packaged = installed / "homoreg" / "conf"
    assert {p.relative_to(packaged) for p in packaged.rglob("*.yaml")} == configs
    shipped = {p.suffix for p in (installed / "homoreg").rglob("*") if p.is_file()}
    assert {".py", ".yaml", ".j2", ".typed"} <= shipped

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = "import homoreg, homoreg.hydra_app as h; print(homoreg.__file__); print(h.conf_dir())"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=elsewhere, env=environment, check=True,
        capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert found == [str(installed / "homoreg" / "__init__.py"), str(packaged)]
    subprocess.run(
        [sys.executable, "-m", "homoreg.prepare", "warp.repeats=1"], cwd=elsewhere,
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    assert (elsewhere / "data" / "pairs_train.json").is_file()


def test_the_lock_pins_every_requirement_and_names_no_index() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
