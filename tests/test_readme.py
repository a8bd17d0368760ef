"""What the README shows must run as it stands there."""

import json
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.summary import PAGE, with_block

from bench.reporting.headline import readme_block

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_agent_of_the_readme_trains_and_is_tested(tmp_path: Path) -> None:
    (code,) = [block for block in blocks("python") if "class Bandit" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    (tmp_path / "my_agent.py").write_text(code, encoding="utf-8")
    check = [sys.executable, "-m", "bench", "check", "my_agent.py:Bandit"]
    subprocess.run(check, cwd=tmp_path, check=True, capture_output=True)
    settings = ("train.steps=400", "evaluation.episodes=2", "agent.step_size=0.5")
    subprocess.run(
        [sys.executable, "-m", "bench", "train", "--agent", "my_agent.py:Bandit"]
        + [word for setting in settings for word in ("--set", setting)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (run,) = (tmp_path / "runs" / "laptop").glob("*/seed-0")
    assert json.loads((run / "manifest.json").read_text())["state"] == "complete"
    assert json.loads((run / "config.json").read_text())["agent_options"] == {"step_size": 0.5}


def test_the_map_of_the_house_leads_somewhere() -> None:
    rows = README.partition("| to change | look in |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(rows) > 9
    for row in rows:
        folder = Path()
        for place in re.findall(r"`([\w/*]+(?:/|\.py|\.yaml))`", row):
            folder = Path(place).parent if "/" in place else folder
            path = Path(place) if "/" in place else folder / place
            assert list(Path(__file__).parents[1].glob(str(path))), f"{path} is not there"


def test_the_results_are_those_of_the_committed_records() -> None:
    root = Path(__file__).parents[1]
    block = readme_block(root / "results" / "laptop", root / "README.md")
    assert block in README, "bring it up to date with `make report`"


def test_the_numbers_about_speed_are_those_of_the_committed_timings() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_block(page) == page, "run `make bench`"
