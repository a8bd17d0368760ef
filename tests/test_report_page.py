"""`report.html`, made from a real run: scenes that play as tested, a page that needs no network."""

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from record_files import outcomes, write_run
from run_files import run_in_process, small_config

from bench.config import EvaluationConfig
from bench.reporting.comparison_tables import all_tables
from bench.reporting.figures import all_figures
from bench.reporting.paper import read_paper
from bench.reporting.records import read_records
from bench.reporting.report_page import render_page
from bench.reporting.scenes import example_prompt, scenes
from bench.storage.parsing import RecordError

SPLITS = ("english-goto", "synonym-actions")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    tested = EvaluationConfig(splits=SPLITS, episodes=6, n_envs=3)
    for entry in (None, "random", "bot"):
        config = small_config() if entry is None else small_config(entry)
        name = entry or "tabular"
        agent = entry or "tabular"
        run_in_process(replace(config, agent=agent, evaluation=tested), out)
        manifest = out / "small" / agent / "seed-3" / "manifest.json"
        said = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(said | {"label": name, "model": {"name": f"{name} <&>"}}))
    return out / "small"


def page_of(directory, figures=None):
    records, paper = read_records(directory), read_paper()
    return render_page(records, paper, all_tables(records, paper), figures or {})


@pytest.fixture(scope="module")
def page(directory):
    records = read_records(directory)
    return page_of(directory, all_figures(records, read_paper()))


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_ends_as_the_episode_did(directory, split):
    records = read_records(directory)
    found, odd = scenes(records, split)
    assert not odd
    assert {(s.run.agent, s.solved) for s in found} >= {("bot", True), ("random", False)}
    for scene in found:
        rows = scene.run.evaluation[split].set_index("episode_seed").loc[scene.episode_seed]
        assert len(scene.steps) == rows["length"]
        assert scene.solved == rows["success"]
        assert scene.reward == rows["return"]
        assert bool(scene.steps[0].chances) == (scene.run.agent != "bot")
        for state in scene.states:
            x, y, direction = state.agent
            assert y * scene.width + x in state.visible
            assert direction in range(4)
            assert y * scene.width + x not in scene.walls
        # what the sentences name is in view
        cells = {(x, y) for x, y, *_ in scene.states[0].things}
        seen = {(i % scene.width, i // scene.width) for i in scene.states[0].visible}
        named = [s for s in scene.states[0].sentences if " wall " not in s]
        assert len(named) == len(cells & seen)


def test_a_goal_that_is_reached_is_in_front_of_the_agent(directory):
    found, _ = scenes(read_records(directory), "english-goto")
    (scene,) = (s for s in found if s.run.agent == "bot")
    x, y, direction = scene.states[scene.last].agent
    ahead = (x + (1, 0, -1, 0)[direction], y + (0, 1, 0, -1)[direction])
    things = {(cx, cy): f"{colour} {kind}" for cx, cy, kind, colour, _ in scene.states[0].things}
    assert scene.goal.endswith(things[ahead])


def test_an_episode_that_plays_otherwise_today_is_not_shown(directory, tmp_path):
    shutil.copytree(directory, tmp_path / "other")
    path = tmp_path / "other" / "random" / "seed-3" / "evaluation" / "english-goto.csv"
    outcomes_there = {row["success"] for row in csv.DictReader(path.open())}
    path.write_text(re.sub(r"[0-9a-f]{16}$", "0" * 16, path.read_text(), flags=re.MULTILINE))
    found, odd = scenes(read_records(tmp_path / "other"), "english-goto")
    assert {scene.run.agent for scene in found} == {"tabular", "bot"}
    assert len(odd) == len(outcomes_there)
    assert all(re.match(r"random, english-goto, episode \d+: not shown", text) for text in odd)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (r"^1000000000,", "77,", "episode 77 is none of the test episodes"),
        (r"^(1000000000,\d+),\d,", r"\1,9,", "cannot be played again"),
    ],
)
def test_a_replay_that_does_not_fit_names_its_file(directory, tmp_path, old, new, problem):
    shutil.copytree(directory, tmp_path / "other")
    path = tmp_path / "other" / "bot" / "seed-3" / "replays" / "english-goto.csv"
    path.write_text(re.sub(old, new, path.read_text(), flags=re.MULTILINE))
    with pytest.raises(RecordError, match=rf"replays/english-goto\.csv.*{problem}"):
        scenes(read_records(tmp_path / "other"), "english-goto")


class Collector(HTMLParser):
    """Ids, references and links of a page."""

    def __init__(self):
        super().__init__()
        self.ids, self.targets, self.links, self.sources = [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.targets += [found["popovertarget"]] if "popovertarget" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.sources += [found["src"]] if "src" in found else []


def test_the_page_stands_alone_and_its_links_lead_somewhere(directory, page):
    parsed = Collector()
    parsed.feed(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert set(parsed.targets) <= set(parsed.ids)
    assert all(source.startswith("data:") for source in parsed.sources)
    for link in parsed.links:
        if link.startswith("#"):
            assert link.startswith("#watch/") or link[1:] in parsed.ids
        elif link.endswith(".csv") and "/evaluation/" in link:
            assert (directory / link).is_file()
        else:
            assert link.startswith(("tables/", "figures/", "data:"))
    namespace = "http://www.w3.org/2000/svg"  # a name, never fetched
    assert "http" not in page.replace("http-equiv", "").replace(namespace, "")
    assert len(page) < 3e6


def test_every_cell_says_where_it_comes_from(page):
    popovers = re.findall(r"<div popover.*?</div>\s*<p.*?</p>", page, re.DOTALL)
    assert len(popovers) == 3 * 7  # the paper's splits are always shown
    (played,) = (p for p in popovers if 'id="from-bot-english-goto"' in p)
    assert "6 of 6" in played
    assert 'href="bot/seed-3/evaluation/english-goto.csv"' in played
    assert "seeds 1000000000 to 1000000005" in played
    (missing,) = (p for p in popovers if 'id="from-bot-train"' in p)
    assert "No complete test on this split." in missing


def test_what_a_record_says_is_text_not_markup(page):
    assert "tabular &lt;&amp;&gt;" in page
    assert "<&>" not in page


def test_prompts_are_shown_as_they_are(directory, page):
    prompt = example_prompt(read_records(directory), "synonym-actions")
    assert prompt.startswith("Possible action of the agent: rotate left")
    assert f'<pre class="prompt">{prompt}</pre>' in page


def test_the_same_rows_give_the_same_page(directory):
    assert page_of(directory) == page_of(directory)


def test_without_replays_the_page_says_so(tmp_path):
    write_run(tmp_path, "drrn", 0, tests={"train": outcomes(3)})
    page = page_of(tmp_path)
    assert "No replays were recorded" in page
    assert "<script" not in page


PROBE = """
<script>
window.problems = [];
addEventListener("error", (event) => problems.push(event.message));
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
addEventListener("load", () => {
  const $ = (id) => document.getElementById(id), found = {};
  const press = (key) =>
    $("stage").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  document.querySelector('[popovertarget="from-bot-english-goto"]').click();
  found.provenance = document.querySelector(":popover-open").innerText;
  document.querySelector(":popover-open > button").click();
  found.closed = document.querySelector(":popover-open") === null;
  found.first = $("status").textContent;
  press("ArrowRight");
  found.second = $("status").textContent;
  press("ArrowLeft");
  found.back = $("status").textContent;
  press("End");
  found.end = $("status").textContent;
  location.hash = "#watch/bot/english-goto/solved";
  setTimeout(() => {
    found.goal = $("goal").textContent;
    found.shapes = $("grid").childElementCount;
    $("play").click();
    setTimeout(() => {
      found.played = $("status").textContent;
      found.problems = problems;
      const result = document.createElement("pre");
      result.id = "result";
      result.textContent = JSON.stringify(found);
      document.body.append(result);
    }, 60000);
  }, 100);
});
</script>
"""


@pytest.fixture(scope="module")
def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium here; on Debian: apt-get install chromium")


def test_in_a_browser_a_cell_opens_and_a_replay_plays(chromium, directory, page, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page.replace("<head>", "<head>" + PROBE, 1))
    headless = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    own = [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=90000"]
    shown = subprocess.run(
        [chromium, *headless, *own, "--dump-dom", f"file://{file}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr, shown.stderr
    (text,) = re.findall(r'<pre id="result">(.*?)</pre>', shown.stdout, re.DOTALL)
    found = json.loads(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found["problems"] == []
    assert "6 of 6" in found["provenance"]
    assert found["closed"]
    assert found["first"].startswith("step 1 of")
    assert found["second"].startswith("step 2 of")
    assert found["back"] == found["first"]
    assert found["end"].startswith("after ")
    (scene,) = (
        s for s in scenes(read_records(directory), "english-goto")[0] if s.run.agent == "bot"
    )
    assert found["goal"] == scene.goal
    assert found["shapes"] == scene.width * scene.height + len(scene.states[0].things) + 1
    assert found["played"] == (
        f"after {len(scene.steps)} steps: solved, reward {round(scene.reward, 3):g}"
    )


def test_a_split_that_has_no_room_in_a_world_has_no_prompt(tmp_path):
    world = {"level": "GoToLocal", "room_size": 4, "num_distractors": 1}
    write_run(tmp_path, "random", 0, tests={"english-goto": [1]}, environment=world)
    assert example_prompt(read_records(tmp_path), "new-composition") == ""
    assert "Goal of the agent" in example_prompt(read_records(tmp_path), "english-goto")
