"""What is remembered of a prompt: the model's answer, for as long as its weights stay."""

from dataclasses import replace
from pathlib import Path

import torch
from small_agents import agent, environments, observations

from agents.language_model import agent as module
from agents.language_model.cached_policy import CachedPolicy


def test_each_prompt_is_asked_about_once() -> None:
    trained = agent()
    asked: list[int] = []

    def evaluate(batch):
        asked.append(len(batch))
        return trained.evaluate(batch)

    cached = CachedPolicy(evaluate)
    first, second = observations()[:6], observations()[4:9]
    distinct = len({observation.prompt() for observation in observations()[:9]})
    answers = [cached(batch) for batch in ([*first, *first], second, second)]
    assert sum(asked) == distinct
    assert len(asked) == 2
    for batch, found in zip(([*first, *first], second, second), answers, strict=True):
        with torch.no_grad():
            expected = trained.evaluate(batch)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert not found[0].requires_grad


def test_a_policy_that_reads_more_is_asked_about_more() -> None:
    class ReadsImages(type(agent())):
        def cache_key(self, observation):
            return super().cache_key(observation), observation.images[-1].tobytes()

    (seen,) = observations()[:1]
    other = replace(seen, images=tuple(1 - image for image in seen.images))
    assert seen.prompt() == other.prompt()
    trained = agent()
    for kind, number in ((type(trained), 1), (ReadsImages, 2)):
        trained.__class__ = kind
        cached = CachedPolicy(trained.evaluate, trained.cache_key)
        cached([seen, other])
        assert len(cached._answers) == len(module.distinct([seen, other], trained.cache_key)[0])
        assert len(cached._answers) == number


def test_answers_come_in_the_order_of_a_mixed_batch() -> None:
    trained = agent()
    plain = observations()[:3]
    french = observations("french-goto")[:3]
    log_policy, _ = trained.cached([*plain, *french])
    expected, _ = trained.evaluate([*plain, *french])
    torch.testing.assert_close(log_policy, expected.detach(), atol=1e-5, rtol=1e-5)


def test_nothing_is_remembered_over_an_update_or_a_checkpoint(tmp_path: Path) -> None:
    trained, batch = agent(learning_rate=1e-2), observations()[:4]
    trained.save(tmp_path)
    before = trained.policy_output(batch).probabilities
    trained.update(environments())
    learned = trained.policy_output(batch).probabilities
    expected, _ = trained.evaluate(batch)
    assert abs(learned - before).max() > 1e-3
    torch.testing.assert_close(torch.tensor(learned), expected.detach().exp())
    trained.load(tmp_path)
    torch.testing.assert_close(
        torch.tensor(trained.policy_output(batch).probabilities), torch.tensor(before)
    )


def test_a_minibatch_with_repeats_learns_like_one_whose_rows_are_all_read(monkeypatch) -> None:
    few = observations()[:3]
    batch = [few[i] for i in (0, 1, 0, 2, 2, 0, 1, 0)]
    numbers = torch.randn(4, len(batch), generator=torch.Generator().manual_seed(0))
    minibatch = (torch.tensor([0, 1, 2, 3, 4, 5, 0, 1]), *numbers)
    found = []
    for apart in (False, True):
        trained = agent()
        if apart:
            rows = [[i] for i in range(len(batch))]
            monkeypatch.setattr(module, "distinct", lambda seen, _, rows=rows: (seen, rows))
        logged = trained._step(batch, minibatch)
        found.append((logged, [p.grad for p in trained.trained]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-4)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_a_variant_from_outside_does_not_bear_the_papers_name() -> None:
    class Mine(type(agent())):
        pass

    trained = agent()
    assert trained.identity()["label"] == "GFlan (MiniFlan)"
    trained.__class__ = Mine
    assert trained.identity()["label"] == "Mine (MiniFlan)"
