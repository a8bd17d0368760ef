"use strict";
(() => {
  const data = JSON.parse(document.getElementById("scenes").textContent);
  const $ = (id) => document.getElementById(id);
  const COLOURS = { red: "#d43d3d", green: "#2f9e44", blue: "#2f6fde", purple: "#9a4fc4", yellow: "#e0b000", grey: "#8a8d91" };
  const CELL = 32;
  const pick = { agent: $("pick-agent"), split: $("pick-split"), outcome: $("pick-outcome") };
  let scene = null, at = 0, timer = null;

  const svg = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const text = (name, content, className) => {
    const node = document.createElement(name);
    node.textContent = content;
    if (className) node.className = className;
    return node;
  };

  function thing([x, y, kind, colour, door]) {
    const fill = COLOURS[colour] || "#888";
    const group = svg("g", { transform: `translate(${x * CELL} ${y * CELL})` });
    if (kind === "ball") group.append(svg("circle", { cx: 16, cy: 16, r: 9, fill }));
    else if (kind === "box") {
      group.append(svg("rect", { x: 7, y: 7, width: 18, height: 18, rx: 1, fill: "none", stroke: fill, "stroke-width": 4 }));
      group.append(svg("path", { d: "M7 16h18", stroke: fill, "stroke-width": 3 }));
    } else if (kind === "key") {
      group.append(svg("circle", { cx: 18, cy: 10, r: 5, fill: "none", stroke: fill, "stroke-width": 3.5 }));
      group.append(svg("path", { d: "M18 15v11M18 20h-5M18 25h-5", fill: "none", stroke: fill, "stroke-width": 3.5 }));
    } else {
      const shut = door !== "open";
      group.append(svg("rect", { x: 3, y: 3, width: 26, height: 26, fill: shut ? fill : "none", stroke: fill, "stroke-width": 3, "fill-opacity": door === "locked" ? 0.85 : 0.35 }));
      if (shut) group.append(svg("circle", { cx: 24, cy: 16, r: 2.5, fill: "#fff" }));
    }
    const title = svg("title", {});
    title.textContent = [door, colour, kind].filter(Boolean).join(" ");
    group.append(title);
    return group;
  }

  function drawGrid(state) {
    const [x, y, direction, carrying, things, visible] = state;
    const grid = $("grid"), seen = new Set(visible), walls = new Set(scene.walls);
    grid.setAttribute("viewBox", `0 0 ${scene.width * CELL} ${scene.height * CELL}`);
    grid.replaceChildren();
    for (let i = 0; i < scene.width * scene.height; i++) {
      const fill = walls.has(i) ? "var(--wall)" : seen.has(i) ? "var(--seen)" : "var(--unseen)";
      const [cx, cy] = [(i % scene.width) * CELL, Math.floor(i / scene.width) * CELL];
      grid.append(svg("rect", { x: cx + 0.5, y: cy + 0.5, width: CELL - 1, height: CELL - 1, fill, opacity: walls.has(i) && !seen.has(i) ? 0.7 : 1 }));
    }
    for (const one of scene.things[things]) grid.append(thing(one));
    const turn = `translate(${x * CELL + 16} ${y * CELL + 16}) rotate(${direction * 90})`;
    grid.append(svg("path", { d: "M11 0L-9 9L-9 -9Z", transform: turn, fill: "#e8590c", stroke: "#fff", "stroke-width": 1.5 }));
    if (carrying) {
      const [colour, kind] = carrying.split(" ");
      const held = thing([x, y, kind, colour, ""]);
      held.setAttribute("transform", `translate(${x * CELL + 14} ${y * CELL - 2}) scale(.55)`);
      grid.append(held);
    }
  }

  function show(step) {
    at = Math.max(0, Math.min(step, scene.steps.length));
    const over = at === scene.steps.length;
    const [index, action, value, chances] = over ? [scene.last, -1, null, []] : scene.steps[at];
    const state = scene.states[index];
    drawGrid(state);
    $("sentences").replaceChildren(...state[6].map((i) => text("li", data.sentences[i])));
    $("chances-title").textContent = over ? (scene.solved ? "Solved" : "Out of time") : chances.length ? "It chooses, with these probabilities" : "It chooses (probabilities not told)";
    $("chances").replaceChildren(...(over ? [] : scene.phrases.map((phrase, i) => {
      const row = text("div", "", "chance" + (i === action ? " taken" : ""));
      const track = text("span", "", "track"), fill = document.createElement("span");
      const known = chances.length > 0, share = known ? chances[i] / 10 : i === action ? 100 : 0;
      fill.style.setProperty("--fill", share + "%");
      fill.style.setProperty("--agent", scene.colour);
      if (known) track.append(fill);
      row.append(text("span", phrase, "name"), track, text("span", known ? share.toFixed(1) + "%" : i === action ? "taken" : "", "number"));
      return row;
    })));
    const reward = over ? scene.reward : 0;
    $("status").textContent = over
      ? `after ${at} steps: ${scene.solved ? "solved" : "not solved"}, reward ${reward}`
      : `step ${at + 1} of ${scene.steps.length}` + (value === null ? "" : ` · value ${value}`) + (state[3] ? ` · carries ${state[3]}` : "");
    $("seek").value = at;
    $("previous").disabled = at === 0;
    $("next").disabled = over;
    if (over) stop();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    $("play").textContent = "Play";
  }
  function toggle() {
    if (timer) return stop();
    if (at === scene.steps.length) show(0);
    $("play").textContent = "Pause";
    timer = setInterval(() => show(at + 1), 450);
  }

  const matching = (agent, split) => data.scenes.filter((s) => (!agent || s.agent === agent) && (!split || s.split === split));
  function fill(select, options, wanted) {
    select.replaceChildren(...options.map(([value, label]) => new Option(label, value)));
    if (options.some(([value]) => value === wanted)) select.value = wanted;
  }
  function choose(agent, split, outcome) {
    const names = new Map(data.scenes.map((s) => [s.agent, s.label]));
    fill(pick.agent, [...names], agent);
    fill(pick.split, [...new Map(matching(pick.agent.value).map((s) => [s.split, s.splitTitle]))], split);
    const outcomes = matching(pick.agent.value, pick.split.value).map((s) => [s.solved ? "solved" : "unsolved", s.solved ? "solved" : "not solved"]);
    fill(pick.outcome, outcomes, outcome);
    scene = matching(pick.agent.value, pick.split.value).find((s) => s.solved === (pick.outcome.value === "solved"));
    stop();
    $("goal").textContent = scene.goal;
    $("seek").max = scene.steps.length;
    $("source").textContent = `${scene.directory}, ${scene.kind}, test episode ${scene.episode}. Lighter cells are in view; walls block sight. Value is in the agent's own scale of rewards.`;
    show(0);
  }
  function follow() {
    const [kind, agent, split, outcome] = decodeURIComponent(location.hash.slice(1)).split("/");
    if (kind !== "watch") return;
    choose(agent, split, outcome);
    $("replays").scrollIntoView();
    $("stage").focus({ preventScroll: true });
  }

  $("player").hidden = false;
  for (const select of Object.values(pick)) select.addEventListener("change", () => choose(pick.agent.value, pick.split.value, pick.outcome.value));
  $("previous").addEventListener("click", () => { stop(); show(at - 1); });
  $("next").addEventListener("click", () => { stop(); show(at + 1); });
  $("play").addEventListener("click", toggle);
  $("seek").addEventListener("input", (event) => { stop(); show(Number(event.target.value)); });
  $("player").addEventListener("keydown", (event) => {
    if (event.target.matches("select, input")) return;
    const moves = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.key in moves) { stop(); show(at + moves[event.key]); }
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(scene.steps.length);
    else if (event.key === " " && !event.target.matches("button")) toggle();
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", follow);
  choose(data.scenes[0].agent, data.scenes[0].split, "solved");
  follow();
})();
