"""Playing in the terminal: an agent watched step by step, or a person who types the commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from agents.base import Agent, PolicyOutput, speaking_for
from agents.registry import is_file
from bench.config import RunConfig
from bench.evaluate import choose_actions
from bench.grid_state import State, state_of
from bench.lifecycle import build_agent, device_here, with_named_code
from bench.profile import load_profile
from bench.storage.run import RunDirectory, RunError
from bench.train import load_agent
from envs import SPLITS, Observation, TextEnv, evaluation_seeds

ME = "me"
_HELP = "enter: step   s: skip to the end   n: next episode   q: quit"
_GLYPHS = {"key": "K", "ball": "B", "box": "X", "door": "D"}
_LETTERS = {"red": "r", "green": "g", "blue": "b", "purple": "p", "yellow": "y", "grey": "e"}
_STYLES = {
    "red": "red", "green": "green", "blue": "blue",
    "purple": "magenta", "yellow": "yellow", "grey": "bright_black",
}  # fmt: skip
_HEADINGS = (">", "v", "<", "^")
_LEGEND = (
    "K key, B ball, X box, D door; r red, g green, b blue, p purple, y yellow, e grey; "
    "# wall, · in view"
)
_BAR = 24


@dataclass(frozen=True)
class Game:
    """Who plays what.

    Attributes:
        env: The environment of the split.
        split: Name of the split.
        draw_seed: Seed of the run, so that a tested episode is played as it was tested.
        agent: The agent; None if a person plays.
        title: Who it is.
    """

    env: TextEnv
    split: str
    draw_seed: int
    agent: Agent | None
    title: str


class _Quit(Exception):
    """The person has seen enough, or nobody is there to answer."""


def open_game(
    who: str,
    split: str,
    profile: str,
    overrides: Sequence[str],
    console: Console,
    agent_file: str | None = None,
) -> Game:
    """Finds the player and builds the world.

    Args:
        who: ``me``, a run's directory, or an agent's name.
        split: Name of the split.
        profile: Profile of an agent that is named, or of a person's world.
        overrides: ``key=value`` settings of the profile.
        console: Told of an agent that has not learned anything.
        agent_file: The ``path/to/file.py:Class`` of a run's agent, if it is one: records alone
            must not decide which code is run.

    Returns:
        The game.

    Raises:
        AgentError: If the agent cannot be built.
        ConfigError: If a setting cannot be used.
        RunError: If the run has no checkpoint, or its agent is a file that was not named.
    """
    agent: Agent | None = None
    directory = Path(who)
    if who != ME and directory.is_dir():
        if overrides:
            raise RunError(f"{directory} is played in its own setting, without --set")
        run = RunDirectory(directory)
        config = with_named_code(run, agent_file)
        agent = build_agent(replace(config, device=device_here(config.device)))
        title = f"{config.agent} seed {config.seed}"
        if agent.learns:
            checkpoint = run.checkpoints.latest()
            if checkpoint is None:
                raise RunError(
                    f"{directory} holds no checkpoint (records alone do not act); its replays are "
                    "in report.html, `glam train` makes a run that can play"
                )
            load_agent(agent, config, checkpoint)
            title += f", {checkpoint.steps:,} steps"
    elif "/" in who and not is_file(who):
        raise RunError(f"no run in {who}; `glam train` makes one, `glam watch` lists what is there")
    else:
        config = _config(who, profile, overrides)
        title = "you"
        if who != ME:
            agent = build_agent(config)
            title = config.agent
            if agent.learns:
                console.print(f"{title} is untrained here; name a run's directory to see one")
    config.environment.check([split])
    view = SPLITS[split]
    return Game(config.environment.build(view.level, view.view), split, config.seed, agent, title)


def _config(who: str, profile: str, overrides: Sequence[str]) -> RunConfig:
    loaded = load_profile(profile, overrides, (who if who != ME else "random",))
    return next(iter(loaded.runs([0])))


def play_episodes(
    game: Game, first: int | None, count: int | None, answers: TextIO, console: Console
) -> None:
    """Plays until the person quits, the answers end or the episodes are played.

    Args:
        game: Who plays what.
        first: Seed of the first episode; None for the first test episode.
        count: Episodes to play; None for no end, or one where nobody can answer.
        answers: What the person types; commands are read from it even where it is no terminal.
        console: Where it is shown.
    """
    asks = answers.isatty()
    if count is None and not asks and game.agent is not None:
        count = 1
    seed = evaluation_seeds(1)[0] if first is None else first
    played = 0
    try:
        while count is None or played < count:
            _Episode(game, seed + played, answers, asks, console).to_its_end()
            played += 1
    except _Quit:
        return
    finally:
        game.env.close()


class _Episode:
    """One episode on the screen."""

    def __init__(
        self, game: Game, seed: int, answers: TextIO, asks: bool, console: Console
    ) -> None:
        self._game, self._seed, self._answers, self._asks = game, seed, answers, asks
        self._console = console
        self._skip = not asks

    def to_its_end(self) -> None:
        game, env = self._game, self._game.env
        observation, _ = env.reset(seed=self._seed, options={"draw_seed": game.draw_seed})
        self._console.print(_LEGEND, style="dim")
        step, reward, solved, late = 0, 0.0, False, False
        while not (solved or late):
            step += 1
            self._show(observation, step)
            action = self._decide(observation)
            if action is None:
                return
            observation, reward, solved, late, _ = env.step(action)
        state = state_of(env, observation.descriptions[-1])
        self._console.print(grid_text(state, env), soft_wrap=True)
        outcome = "solved" if solved else "out of time"
        self._console.print(f"{outcome} after {step} steps, reward {reward:.2f}\n", style="bold")
        if self._asks and game.agent is not None:
            self._ask()

    def _show(self, observation: Observation, step: int) -> None:
        env = self._game.env
        limit = env.grid_env.max_steps
        head = f"{self._game.title} · {SPLITS[self._game.split].title} · episode {self._seed}"
        self._console.rule(f"{head} · step {step}/{limit}", align="left")
        self._console.print(f"Goal: {observation.goal}", style="bold", soft_wrap=True)
        sentences = observation.descriptions[-1]
        side = Table.grid(padding=(0, 3))
        side.add_row(grid_text(state_of(env, sentences), env), "\n".join(sentences))
        self._console.print(side)

    def _decide(self, observation: Observation) -> int | None:
        """The next action; None if the episode is left."""
        agent = self._game.agent
        if agent is None:
            return self._typed(observation.action_phrases)
        with speaking_for(f"agent {self._game.title!r}"):
            action = int(choose_actions(agent, [self._game.env], [observation])[0])
            shown = chances(observation, agent.policy_output([observation]), action)
        self._console.print(shown)
        if self._skip:
            return action
        answer = self._ask()
        if answer == "n":
            return None
        self._skip = answer == "s"
        return action

    def _ask(self) -> str:
        self._console.print(_HELP, style="dim", end=" > ", soft_wrap=True)
        line = self._answers.readline()
        if not line or line.strip().lower() in ("q", "quit"):
            raise _Quit
        return line.strip().lower()

    def _typed(self, phrases: tuple[str, ...]) -> int | None:
        """Reads one of the commands by its words or number."""
        commands = "   ".join(f"{i} {phrase}" for i, phrase in enumerate(phrases, start=1))
        while True:
            ask = f"{commands}   n: next episode   q: quit"
            self._console.print(ask, style="dim", end=" > ", soft_wrap=True)
            line = self._answers.readline()
            if not self._asks:
                self._console.print(line.strip())
            word = " ".join(line.lower().split())
            if not line or word in ("q", "quit"):
                self._console.print()
                raise _Quit
            if word == "n":
                return None
            if word in phrases:
                return phrases.index(word)
            if word.isdecimal() and 1 <= int(word) <= len(phrases):
                return int(word) - 1
            self._console.print(f"{word!r} is none of the commands", style="red")


def grid_text(state: State, env: TextEnv) -> Text:
    """The grid, two characters a cell: what it is and its colour; what is out of view is dim."""
    grid = env.grid_env.grid
    things = {(x, y): (kind, colour, door) for x, y, kind, colour, door in state.things}
    text = Text()
    for y in range(grid.height):
        for x in range(grid.width):
            seen = y * grid.width + x in state.visible
            if (x, y) == state.agent[:2]:
                text.append(f"{_HEADINGS[state.agent[2]]} ", style="bold reverse")
            elif (x, y) in things:
                kind, colour, _ = things[x, y]
                style = f"{'bold ' if seen else 'dim '}{_STYLES.get(colour, '')}"
                text.append(f"{_GLYPHS.get(kind, '?')}{_LETTERS.get(colour, '?')}", style=style)
            elif grid.get(x, y) is not None:
                text.append("##", style="" if seen else "dim")
            else:
                text.append("· " if seen else "  ", style="dim")
        text.append("\n")
    if state.carrying:
        text.append(f"carries a {state.carrying}\n")
    return text


def chances(observation: Observation, output: PolicyOutput | None, action: int) -> Group | Text:
    """The actions with their probabilities as bars, the one taken marked."""
    phrases = observation.action_phrases
    if output is None:
        return Text(f"▸ {phrases[action]}", style="bold")
    table = Table.grid(padding=(0, 1))
    for i, (phrase, chance) in enumerate(zip(phrases, output.probabilities[0], strict=True)):
        mark, style = ("▸", "bold") if i == action else (" ", "")
        bar = Text("█" * round(_BAR * float(chance)), style="cyan")
        table.add_row(mark, Text(phrase, style=style), f"{100 * float(chance):5.1f}%", bar)
    if output.values is None:
        return Group(table)
    return Group(table, Text(f"value {float(output.values[0]):.3g}"))
