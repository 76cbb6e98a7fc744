"""What is installed is what is in the checkout: packages, links, data, quick import."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders_with_modules():
    """Dotted names of all folders that hold Python files, as they are imported."""
    found = set()
    for top, prefix in (("rimetree", "rimetree"), ("nodes", "rimetree.nodes"), ("trees", "rimetree.trees")):
        for file in (ROOT / top).rglob("*.py"):
            found.add(".".join([prefix, *file.parent.relative_to(ROOT / top).parts]))
    return found


def test_packages_are_the_folders_on_disk():
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(folders_with_modules()), "mend [tool.setuptools] packages in pyproject.toml"


def test_every_package_folder_has_its_init():
    folders = [ROOT / name.replace(".", "/") for name in folders_with_modules()]
    assert not [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file()]


@pytest.mark.parametrize("name", ["nodes", "trees"])
def test_links_are_relative(name):
    link = ROOT / "rimetree" / name
    assert link.is_symlink() and link.readlink() == Path("..", name)


def test_the_package_is_typed():
    assert (ROOT / "rimetree" / "py.typed").is_file()


def test_import_is_quick():
    """Slow libraries load when used, so that `rimetree --help` and error messages come at once."""
    heavy = ["casacore", "h5py", "matplotlib", "jax", "numba", "scipy", "networkx", "pydantic", "astropy"]
    code = f"import sys, rimetree; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_wheel_from_sdist_is_complete(tmp_path):
    """Every module of the checkout is in the wheel made from the source archive, and nothing beside rimetree."""
    source = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_symlink():
            (source / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {"rimetree/py.typed"}
    for top, prefix in (("rimetree", "rimetree"), ("nodes", "rimetree/nodes"), ("trees", "rimetree/trees")):
        for suffix in ("*.py", "*.yaml"):
            expected |= {f"{prefix}/{f.relative_to(source / top).as_posix()}" for f in (source / top).rglob(suffix)}
    assert expected <= names, f"missing in the wheel: {sorted(expected - names)}"
    assert not [n for n in names if not n.startswith(("rimetree/", "rimetree-"))]
    with tarfile.open(sdist) as archive:
        assert any(n.endswith("/nodes/__init__.py") for n in archive.getnames())
