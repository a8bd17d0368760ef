"""`glam play`, `glam watch`, TensorBoard's files and the short table after a report."""

import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from record_files import outcomes, write_run
from rich.console import Console
from run_files import TABULAR, glam, run_in_process, small_config

from bench.cli import cli
from bench.config import EvaluationConfig
from bench.launching.watch import find_runs, watch_runs
from bench.play import open_game, play_episodes
from bench.progress import RunProgress
from bench.reporting.headline import BEGIN, END, headline_table, print_headline, write_readme
from bench.reporting.records import read_records
from bench.storage.parsing import RecordError
from bench.storage.run import RunError
from envs import SPLITS

SMALL = ["environment.level=GoToLocal", "environment.room_size=5", "environment.num_distractors=1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_in_process(small_config(), tmp_path_factory.mktemp("out"))


def screen():
    return Console(file=io.StringIO(), width=100, highlight=False)


class Keyboard(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self):
        return True


def played(who, typed, split="english-goto", episodes=None, keyboard=False):
    console = screen()
    settings = () if isinstance(who, Path) else SMALL
    game = open_game(str(who), split, "laptop", settings, console, TABULAR)
    answers = Keyboard(typed) if keyboard else io.StringIO(typed)
    play_episodes(game, None, episodes, answers, console)
    return console.file.getvalue()


def test_a_runs_checkpoint_plays_its_test_episodes_again(run):
    shown = played(run.path, "", episodes=2)
    for row in run.evaluation("english-goto").read_text().splitlines()[1:3]:
        cells = row.split(",")
        outcome = "solved" if cells[7] == "1" else "out of time"
        assert f"episode {cells[4]} · step {cells[8]}/" in shown
        assert f"{outcome} after {cells[8]} steps, reward {float(cells[6]):.2f}" in shown
    assert "agent seed 3, 256 steps · English go to" in shown
    assert shown.count("▸") == shown.count("Goal:")
    assert re.search(r"turn left +\d+\.\d%", shown)
    assert "\x1b" not in shown


def test_a_run_that_is_not_there_or_given_settings_is_refused(run):
    with pytest.raises(RunError, match="no run in runs/none"):
        open_game("runs/none/seed-0", "train", "laptop", (), screen())
    with pytest.raises(RunError, match="in its own setting"):
        open_game(str(run.path), "train", "laptop", SMALL, screen(), TABULAR)
    result = CliRunner().invoke(cli, ["play", str(run.path), "--profile", "paper"])
    assert (result.exit_code, "without --profile" in result.output) == (2, True)


def test_where_nobody_can_answer_one_episode_is_played_to_its_end():
    shown = played("bot", "")
    assert shown.count(" after ") == 1
    assert "solved after" in shown


def test_at_a_terminal_one_steps_skips_goes_on_and_quits():
    shown = played("random", "\n\ns\nn\n\nq\n", keyboard=True)
    assert "step 3/" in shown
    assert shown.count(" after ") == 1  # the first was skipped to its end, the second left
    assert "episode 1000000001 · step 1/" in shown
    assert "episode 1000000001 · step 2/" in shown
    assert "episode 1000000001 · step 3/" not in shown


@pytest.mark.parametrize("split", ["english-goto", "synonym-actions", "french-goto"])
def test_a_person_types_the_commands_of_the_split(split):
    left, right = SPLITS[split].view.action_phrases(6)[:2]
    shown = played("me", f"{left}\n2\nfly\n{right.upper()}\n", split)
    assert "'fly' is none of the commands" in shown
    assert "step 4/" in shown
    assert "step 5/" not in shown
    grids = re.findall(r"[><^v](?= [^a-z])", shown)
    assert grids  # the agent is drawn


def test_an_untrained_agent_is_called_so():
    assert "is untrained here" in played("drrn", "")


def test_an_agents_directory_can_be_watched(run):
    for path in (run.path, run.path.parent, run.path.parents[1], run.path.parents[2]):
        assert [found.path for found in find_runs(path)] == [run.path]


def test_records_without_a_checkpoint_cannot_play(tmp_path, run):
    copy = tmp_path / "seed-3"
    copy.mkdir()
    (copy / "config.json").write_bytes((run.path / "config.json").read_bytes())
    with pytest.raises(RunError, match=r"holds no checkpoint.*report\.html"):
        open_game(str(copy), "train", "laptop", [], screen(), TABULAR)


def test_a_record_does_not_decide_which_code_is_run(run):
    with pytest.raises(RunError, match="add --agent"):
        open_game(str(run.path), "train", "laptop", [], screen())


def test_the_command_does_not_wait_for_a_terminal():
    command = [sys.executable, "-P", "-m", "bench", "play", "bot", "--split", "english-goto"]
    shown = subprocess.run(
        [*command, *(word for pair in SMALL for word in ("--set", pair))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert shown.returncode == 0, shown.stderr
    assert "solved after" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("play", "bot", "--split", "frensh-goto"), "did you mean 'french-goto'"),
        (("play", "nobody"), "unknown agent 'nobody'"),
        (("watch", "nowhere"), "nowhere holds no runs"),
        (
            (
                *("play", "--split", "pick-up-then-go-to", "--set", "evaluation.splits=train"),
                *("--set", "environment.task_kinds=[go to]"),
            ),
            "environment: PickUpThenGoToLocal plays sequence, none of which",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    process = glam(*arguments, cwd=tmp_path)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 2
    assert message in error
    assert error.count("\n") == 1
    assert out == ""


def test_runs_that_are_over_are_told_once(run):
    console = screen()
    watch_runs(run.path.parents[1], console)
    line = r"agent seed 3: complete, 256/256 steps, success \d\.\d\d\n"
    assert re.fullmatch(line, console.file.getvalue())
    assert [found.path for found in find_runs(run.path)] == [run.path]


def test_a_run_is_followed_until_it_ends(tmp_path):
    """A copy that grows while it is watched, as a training in another process would."""
    run = run_in_process(small_config(), tmp_path)
    rows = run.metrics.path.read_text().splitlines(keepends=True)
    run.lock_path.write_text(str(os.getpid()))
    run.update_manifest("running")
    run.metrics.path.write_text("".join(rows[:2]))

    left = rows[2:]

    def passes(seconds):
        if left:
            with run.metrics.path.open("a") as file:
                file.write(left.pop(0))
        else:
            run.update_manifest("failed", error="out of memory")

    console = screen()
    watch_runs(run.path, console, passes)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("agent seed 3: training, 64/256 steps")
    assert lines[-1].startswith("agent seed 3: failed, 256/256 steps")


def test_a_run_whose_process_is_gone_is_stopped(tmp_path):
    run = run_in_process(small_config(), tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run.lock_path.write_text(str(gone.pid))
    run.update_manifest("running")
    console = screen()
    watch_runs(run.path, console)
    assert console.file.getvalue().startswith("agent seed 3: stopped, 256/256 steps")


def scalars(directory):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(directory))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_shows_the_rows_and_drops_what_a_killed_session_lost(run, tmp_path):
    from bench.storage.tensorboard_log import TensorBoardLog

    shown = scalars(run.path / "tensorboard")
    rows = [line.split(",") for line in run.metrics.path.read_text().splitlines()[1:]]
    assert [step for step, _ in shown["train/table_norm"]] == [int(row[1]) for row in rows]
    norms = [value for _, value in shown["train/table_norm"]]
    assert norms == pytest.approx([float(row[2]) for row in rows])
    assert all(0 <= value <= 1 for _, value in shown["episodes/success"])

    lost = TensorBoardLog(tmp_path, 0)
    for steps in (64, 128, 192):
        lost.add(steps, {"loss": 1.0}, [])
    lost.close()
    resumed = TensorBoardLog(tmp_path, 64)
    resumed.add(128, {"loss": 2.0}, [True, False])
    resumed.close()
    assert scalars(tmp_path)["train/loss"] == [(64, 1.0), (128, 2.0)]


@pytest.fixture
def results(tmp_path):
    directory = tmp_path / "results" / "laptop"
    write_run(directory, "gflan-t5", 0, tests={"train": outcomes(9)}, training=[(500, 1)])
    write_run(directory, "random", 0, learns=False, tests={"train": outcomes(2)})
    return directory


def test_after_a_report_the_main_numbers_and_where_to_read_on(results):
    console = screen()
    print_headline(results, [results / "report.html"], console)
    shown = console.file.getvalue()
    assert re.search(r"gflan-t5 +0\.90 .*\n +± n/a", shown)
    assert "Q1: GFlan-T5 learns fastest: cannot be judged" in shown
    assert "not the paper's setting" in " ".join(shown.split())
    assert f"Read on: {results / 'report.html'}" in shown
    assert "| " not in shown  # no Markdown
    assert len(shown.splitlines()) < 30


def test_a_narrow_terminal_shows_whole_numbers(results):
    console = Console(file=io.StringIO(), width=20)
    print_headline(results, [], console)
    shown = " ".join(console.file.getvalue().split())
    assert "gflan-t5: Train tasks 0.90 ± n/a, SE in training 1.00 ± n/a" in shown
    assert "…" not in shown


def test_the_readmes_block_is_replaced_and_nothing_else(results):
    readme = results.parents[1] / "README.md"
    readme.write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    write_readme(results, readme)
    first = readme.read_text()
    write_readme(results, readme)
    assert readme.read_text() == first
    assert first.startswith(f"Before.\n{BEGIN}\n")
    assert first.endswith(f"{END}\nAfter.\n")
    assert "old" not in first
    assert "| gflan-t5 | 0.90 ± n/a | 1.00 ± n/a |" in first  # and no split nobody asked for
    assert "(results/laptop/figures/q2_q3_generalisation.png)" in first
    row = headline_table(read_records(results)).rows[1]
    assert row[-1] == "—"  # random does not learn


def test_a_readme_without_the_marks_is_left_alone(results):
    readme = results.parents[1] / "README.md"
    readme.write_text("Nothing.\n")
    with pytest.raises(RecordError, match="does not hold the two marks,"):
        write_readme(results, readme)
    assert readme.read_text() == "Nothing.\n"


def test_a_run_that_is_trained_and_not_tested_was_not_cut_off(tmp_path):
    run = run_in_process(small_config(), tmp_path, test=False)
    console = screen()
    watch_runs(run.path, console)
    assert console.file.getvalue().startswith("agent seed 3: trained 0/1, 256/256 steps")
    run = run_in_process(small_config(), tmp_path)
    run.write_config(replace(small_config(), evaluation=EvaluationConfig(("english-goto",), 9)))
    run.update_manifest("trained")  # as `glam evaluate --episodes 9` does before it plays
    console = screen()
    watch_runs(run.path, console)
    assert console.file.getvalue().startswith("agent seed 3: trained 0/1, ")


def test_the_pace_after_a_restart_is_that_of_this_session():
    progress = RunProgress("train", 2000, "steps", screen())
    progress.resume_at(1000)
    progress._started -= 10
    progress.update(1010)
    assert progress.rate == pytest.approx(1, rel=0.1)
    assert re.search(r", 1[56]:\d\d left$", progress.line())


def test_what_is_missing_stands_behind_a_number_in_the_terminal(results):
    tests = {"train": outcomes(9)}
    write_run(results, "gflan-t5", 1, tests=tests, training=[(500, 1)], state="failed")
    console = screen()
    print_headline(results, [], console)
    assert "1 failed]" in console.file.getvalue()
