"""The house: arrows point one way, every package is in the wheel, and no file or folder grows too long to read."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.config.environment import ROOT
from tests.conftest import order_slow_first, outside_of_the_sample

FILES = [
    Path(name)
    for name in subprocess.check_output(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "*.py"], text=True
    ).split()
    if name.startswith(("components/", "pgvector_stacks/")) or name == "__main__.py"
]
MODULES = {
    ".".join(file.with_suffix("").parts).removesuffix(".__init__"): file for file in FILES if (ROOT / file).is_file()
}
LIBRARY = ROOT / "pgvector_stacks"
KNOWS_PULUMI = ("__main__", "components", "pgvector_stacks.automation", "pgvector_stacks.cli")


def imported(module: str) -> set[str]:
    """Modules of ours and others that a module names in its imports, also inside of functions."""
    file = MODULES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
    return found - {module}


GRAPH = {module: imported(module) for module in MODULES}


def test_no_module_imports_itself_around_corners() -> None:
    TopologicalSorter({module: names & MODULES.keys() for module, names in GRAPH.items()}).prepare()


@pytest.mark.promise("No module and no package imports itself around corners")
def test_no_package_imports_itself_around_corners() -> None:
    """A package and the packages in it are one house."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, names in GRAPH.items():
        for name in names & MODULES.keys():
            one, other = (".".join(MODULES[each].parent.parts) for each in (module, name))
            if one != other and not one.startswith(f"{other}.") and not other.startswith(f"{one}."):
                arrows[one].add(other)
    TopologicalSorter(arrows).prepare()


def test_the_command_line_and_the_program_are_above_the_library() -> None:
    for module, names in GRAPH.items():
        if module.startswith("pgvector_stacks") and not module.startswith("pgvector_stacks.cli"):
            assert not [name for name in names if name.startswith(("components", "pgvector_stacks.cli"))], module


def test_only_what_drives_pulumi_imports_it() -> None:
    for module, names in GRAPH.items():
        if not module.startswith(KNOWS_PULUMI):
            assert not [name for name in names if name.split(".")[0] in ("pulumi", "pulumi_docker")], module


@pytest.mark.parametrize("limit", [14])
def test_no_folder_is_crowded(limit: int) -> None:
    folders: dict[Path, int] = defaultdict(int)
    for file in MODULES.values():
        folders[file.parent] += file.name != "__init__.py"
    assert {str(folder): count for folder, count in folders.items() if count > limit} == {}


def test_no_file_and_no_function_is_long() -> None:
    long = []
    for file in MODULES.values():
        text = (ROOT / file).read_text()
        if text.count("\n") > 400:
            long.append(str(file))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                long.append(f"{file}: {node.name}")
    assert long == []


def test_the_wheel_has_every_package() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {module for module, file in MODULES.items() if file.name == "__init__.py"}
    assert listed == {f"pgvector_stacks.{name}" if name.split(".")[0] == "components" else name for name in there}


def test_an_installed_wheel_has_one_import_name_and_its_sql(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    source = tmp_path / "source"
    for name in ["pyproject.toml", "README.md", *map(str, FILES)]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    for data in ("common/queries", "common/shell", "automation/pulumi_cli"):
        shutil.copytree(LIBRARY / data, source / "pgvector_stacks" / data, dirs_exist_ok=True)
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", tmp_path, source], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"pgvector_stacks"}
    assert {f"pgvector_stacks/{file.relative_to(LIBRARY)}" for file in LIBRARY.rglob("*.sql")} <= set(names)
    assert "pgvector_stacks/components/sql_schema.py" in names


def test_windows_is_told_of_wsl() -> None:
    code = "import sys; sys.platform = 'win32'; import pgvector_stacks.cli.__main__"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "WSL2" in done.stderr


@given(st.lists(st.sampled_from(("docker/a", "docker/b", "docker/c", "postgres/a")), max_size=60), st.integers(1, 6))
def test_the_order_of_the_tests_loses_none(modules: list[str], workers: int) -> None:
    items: list[Any] = [SimpleNamespace(path=Path("tests", name)) for name in modules]
    ordered = order_slow_first(items, workers)
    assert sorted(map(id, ordered)) == sorted(map(id, items))


@given(st.integers(1, 40), st.integers(0, 9), st.text(max_size=3))
def test_a_sample_has_a_third_of_each_test_and_leaves_the_others_alone(examples: int, others: int, seed: str) -> None:
    marked = [
        SimpleNamespace(nodeid=f"{test}[{number}]", get_closest_marker=lambda _: True)
        for test in ("a", "b") for number in range(examples)
    ]  # fmt: skip
    rest = [SimpleNamespace(nodeid=f"c[{number}]", get_closest_marker=lambda _: None) for number in range(others)]
    items: Any = [_Item(each) for each in (*marked, *rest)]
    left_out = {item.nodeid for item in outside_of_the_sample(items, seed)}
    assert left_out == {item.nodeid for item in outside_of_the_sample(items, seed)}  # in each of xdist's workers
    for test in ("a", "b"):
        run = [each for each in marked if each.nodeid.startswith(test) and each.nodeid not in left_out]
        assert len(run) == examples - examples * 2 // 3 > 0
    assert not any(name.startswith("c") for name in left_out)


class _Item:
    """Has what the sample asks of a test, and can be in a set."""

    def __init__(self, of: SimpleNamespace) -> None:
        self.nodeid, self.get_closest_marker = of.nodeid, of.get_closest_marker
