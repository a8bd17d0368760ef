"""Random kills over all agents of a profile: `make soak`, or `python tests/soak.py --help`.

Each agent is run once undisturbed, then again and again with a signal at a random moment until it
is complete; then every byte of its rows and of what it saved is compared. What was begun goes on
when the same command is given again.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import click
from run_files import glam, result_bytes

from bench.profile import load_profile
from bench.storage import atomic
from bench.storage.run import RunDirectory

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def train(out: Path, profile: str, agent: str, sets: tuple[str, ...]) -> subprocess.Popen[str]:
    words = [word for pair in sets for word in ("--set", pair)]
    return glam("train", "--profile", profile, "--agent", agent, "--out", out, *words)


def moment(run: RunDirectory) -> str:
    """What a process that is no more was doing."""
    if any(run.path.rglob("*.writing")):
        return "in a write"
    phases = {"running": "training", "trained": "testing", "complete": "done"}
    return phases.get(run.state() or "", "starting")


class Soak:
    """One folder of references, disturbed runs and counts."""

    def __init__(self, folder: Path, profile: str, sets: tuple[str, ...], seed: int) -> None:
        self.folder, self.profile, self.sets = folder, profile, sets
        self.agents = list(load_profile(profile, sets).agents)
        self.file = folder / "counts.json"
        said = json.loads(self.file.read_text()) if self.file.exists() else {"sets": list(sets)}
        if said["sets"] != list(sets):
            raise click.UsageError(f"{folder} was begun with other settings; choose another --out")
        self.seconds: dict[str, float] = said.get("seconds", {})
        self.counts = Counter(said.get("counts", {}))
        self.random = random.Random(f"{seed} {self.counts['kills']}")

    def run(self, out: str, agent: str) -> RunDirectory:
        name = Path(self.profile).stem
        return RunDirectory(self.folder / out / name / agent / "seed-0")

    def reference(self, agent: str) -> dict[str, bytes]:
        begins = time.monotonic()
        process = train(self.folder / "undisturbed", self.profile, agent, self.sets)
        complaint = process.communicate()[1]
        assert process.returncode == 0, complaint
        self.seconds.setdefault(agent, time.monotonic() - begins)
        self.save()
        return result_bytes(self.run("undisturbed", agent).path)

    def session(self, agent: str) -> None:
        """Starts the run and, most of the time, ends it somewhere."""
        run = self.run("disturbed", agent)
        process = train(self.folder / "disturbed", self.profile, agent, self.sets)
        wait = self.random.uniform(0.2, 1.05) * self.seconds[agent]
        try:
            complaint = process.communicate(timeout=wait)[1]
            assert process.returncode == 0, complaint
        except subprocess.TimeoutExpired:
            number = self.random.choice(SIGNALS)
            process.send_signal(number)
            process.communicate()
            if process.returncode != 0:
                allowed = (-number, 128 + number)
                assert process.returncode in allowed, (number, process.returncode)
                self.counts.update(["kills", f"by {number.name}", moment(run), agent])
        self.save()

    def compare(self, agent: str, expected: dict[str, bytes]) -> None:
        run = self.run("disturbed", agent)
        found = result_bytes(run.path)
        differing = [n for n in sorted(found | expected) if found.get(n) != expected.get(n)]
        if differing:
            raise click.ClickException(f"{run.path} differs in {', '.join(differing)}")
        self.counts["runs"] += 1
        self.counts["bytes"] += sum(map(len, found.values()))
        shutil.rmtree(self.folder / "disturbed")
        self.save()

    def save(self) -> None:
        values = {"sets": list(self.sets), "seconds": self.seconds, "counts": self.counts}
        atomic.write_json(self.file, values)

    def line(self) -> str:
        c = self.counts
        where = ", ".join(
            f"{k} {c[k]}" for k in ("starting", "training", "in a write", "testing", "done") if c[k]
        )
        how = ", ".join(f"{k[3:]} {v}" for k, v in sorted(c.items()) if k.startswith("by "))
        each = ", ".join(f"{agent} {c[agent]}" for agent in self.agents)
        return (
            f"survived {c['kills']} kills ({how}; {where}; {each}): "
            f"{c['runs']} runs, {c['bytes']:,} bytes compared, all the same"
        )


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="Begin no session after that.")
@click.option("--kills", default=1000, show_default=True, help="Stop after so many, all sessions.")
@click.option("--profile", default="smoke", show_default=True)
@click.option("--set", "sets", multiple=True, help="As for glam train.")
@click.option("--out", default="runs/soak", type=click.Path(path_type=Path), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
def main(
    minutes: float, kills: int, profile: str, sets: tuple[str, ...], out: Path, seed: int
) -> None:
    """Kill runs at random moments and compare the bytes of those that were left alone."""
    until = time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    soak = Soak(
        out, profile, ("train.checkpoint_every=1", "evaluation.splits=article", *sets), seed
    )

    def enough() -> bool:
        return time.monotonic() > until or soak.counts["kills"] >= kills

    # The agent that was killed least comes next, so that all are when time is short.
    while not enough():
        agent = min(soak.agents, key=lambda name: soak.counts[name])
        begun = [path.name for path in out.glob("disturbed/*/*") if path.name in soak.agents]
        agent = begun[0] if begun else agent
        expected = soak.reference(agent)
        while soak.run("disturbed", agent).state() != "complete":
            if enough():
                break
            soak.session(agent)
        else:
            soak.compare(agent, expected)
            click.echo(f"{agent}: {soak.line()}")
    click.echo(soak.line())


if __name__ == "__main__":
    sys.exit(main())
