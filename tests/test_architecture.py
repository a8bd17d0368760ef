"""The arrows between the packages: bench -> agents -> envs, and nothing back."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from run_files import ROOT

OURS = ("envs", "agents", "bench")
MODULES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
ALLOWED = {
    "envs": ("envs",),
    "agents": ("agents", "envs"),
    "bench": ("bench", "envs", "agents", "agents.base", "agents.registry"),
}


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module))
            # `from agents import drrn` names a module too
            found.update(
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (ROOT / str(node.module).replace(".", "/") / f"{alias.name}.py").is_file()
            )
    return {name for name in found if name.partition(".")[0] in OURS}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        top = name.partition(".")[0]
        if package == "bench" and top == "agents":
            assert name in ALLOWED["bench"], f"{path.name} reaches into {name}"
        assert top in ALLOWED[package], f"{path.name} imports {name}"


# Which parts of the harness a part may import; what lies directly in bench is one run, "run".
WITHIN = {
    "storage": {"storage", "config", "validation"},
    "reporting": {"reporting", "storage", "config", "validation", "profile"}
    | {"grid_state", "probes", "replays"},
    "run": {"run", "storage"},
    "planning": {"planning", "run", "storage", "reporting"},
    "launching": {"launching", "run", "storage", "reporting"},
}


@pytest.mark.parametrize("path", (ROOT / "bench").rglob("*.py"), ids=lambda path: path.stem)
def test_arrows_within_the_harness(path):
    part = path.relative_to(ROOT).parts[1]
    part = part if (ROOT / "bench" / part).is_dir() else "run"
    if part in ("commands", "profiles") or path.stem in ("cli", "__main__"):
        return  # commands lead everywhere
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top != "bench" or not rest:
            continue
        target = rest.partition(".")[0]
        if not (ROOT / "bench" / target).is_dir() and "run" in WITHIN[part]:
            target = "run"
        assert target in WITHIN[part], f"{path.name} imports {name}"


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in memory after a statement, in a fresh process."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(answer.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import envs", {"torch", "agents", "bench"}),
        ("import agents", {"torch", "bench", "transformers"}),
        ("import bench.cli", {"torch", "envs", "agents", "numpy", "pandas"}),
        ("import bench.profile, bench.lifecycle, bench.launching.reproduce", {"torch", "pandas"}),
    ],
)
def test_imports_stay_light(statement, absent):
    assert not loaded_by(statement) & absent


def test_imported_sees_what_it_must(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from agents import bot\n    import bench.cli, os\n")
    assert imported(file) == {"agents", "agents.bot", "bench.cli"}
