"""Curve and card of a pretrained model, from its rows alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.reporting.figure_style import COLUMN_WIDTH, figure_style, render
from bench.storage import atomic
from bench.storage.parsing import read_json


def write_curve(directory: Path) -> None:
    """Draws loss and look-up accuracy by number of things, from the rows alone.

    Args:
        directory: A pretraining's.
    """
    training = pd.read_csv(directory / "training.csv")
    validation = pd.read_csv(directory / "validation.csv")
    with figure_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 3.6))
        loss, exact = figure.subplots(2, 1, sharex=True)
        loss.plot(training["steps"], training["loss"], color="#0072B2", linewidth=0.8)
        loss.set_yscale("log")
        loss.set_ylabel("loss (nats a token)")
        lookups = validation[validation["task"] == "fill"]
        for shade, (things, rows) in zip(
            ("#9ecae1", "#6baed6", "#3182bd", "#08519c"), lookups.groupby("things"), strict=False
        ):
            share = rows["exact"] / rows["asked"]
            exact.plot(rows["steps"], share, color=shade, label=f"{things:g}")
        exact.set_ylim(0, 1.02)
        exact.set_ylabel("look-ups exact")
        exact.set_xlabel("batches")
        exact.legend(title="things in view", ncols=2)
        for ending, content in render(figure).items():
            atomic.write_bytes(directory / f"pretraining.{ending}", content)


def write_card(directory: Path) -> None:
    """Writes the model card, ``model/README.md``, from the rows and the model's own files.

    Args:
        directory: A pretraining's, complete.
    """
    validation = pd.read_csv(directory / "validation.csv")
    last = validation[validation["steps"] == validation["steps"].max()]
    config = read_json(directory / "config.json")
    threads = config["threads"]
    weights = directory / "model" / "model.safetensors"
    lines = []
    for task, rows in last.groupby("task", sort=False):
        cells = [f"{row.exact / row.asked:.3f}" for row in rows.itertuples()]
        lines.append(f"| {task} | {' | '.join(cells + [''] * (4 - len(cells)))} |")
    text = _CARD.format(
        **read_json(directory / "model" / "config.json"),
        examples=int(pd.read_csv(directory / "training.csv")["examples"].max()),
        batches=config["steps"],
        cores="one processor core" if threads == 1 else f"{threads} processor cores",
        grown=_GROWN.format(**config) if config["steps"] > config["grow_after"] else "",
        options=", ".join(f"{name} {value}" for name, value in config.items()),
        size=weights.stat().st_size,
        digest=hashlib.sha256(weights.read_bytes()).hexdigest(),
        scores="\n".join(lines),
    )
    atomic.write_text(directory / "model" / "README.md", text)


_GROWN = "; after {grow_after:,} batches\ntwo heads were added to every attention"
_CARD = """# MiniFlan

A T5 of d_model {d_model} (encoder layers: {num_layers}, decoder layers: {num_decoder_layers},
heads: {num_heads} of {d_kv}) with sub-words of its own, pretrained by `glam pretrain` on the
benchmark's own instruction mixture and on nothing else. It is not Flan-T5. `glam pretrain` wrote
this card.

**Mixture.** Scenes that are drawn, in the environment's wording, with up to eight things from some
260 nouns, 30 colours and made-up words, and questions about them: blanks to fill with the place of
a named thing or the name of the thing in a place, where, what, on which side, which is nearest, is
there, how many; an instruction and a scene, where is the thing of its first or last step; the order
of an instruction's two steps; synonyms, opposites, categories, shades of colours; English and
French translations. 15% of the scenes are French. A test scans it: there is no environment rollout,
no reward, no scene with the command to take, no invented word of the Q2 splits and no recorded test
episode.

**Actions.** The words of the six actions have one embedding, the mean of all: no action is likelier
than another before an agent has learned.

**Size.** {size:,} bytes in half precision, SHA-256 `{digest}`.

**Compute.** {batches:,} batches, {examples:,} examples, {cores}{grown}. Options: {options}.

**Validation.** Share of held-out answers that are right word for word, by number of things in the
scene (1, 2, 4, 8; one column where there is no scene). Naming any thing of the scene would get 1,
.5, .25 and .125 of the look-ups right (fill, name, instructed, where, what). Words without a scene
are not held out: there are only so many.

| task | 1 thing | 2 | 4 | 8 |
|---|---|---|---|---|
{scores}
"""
