from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from alerts.slo import load_slos, parse_slos
from collector.config import Config
from collector.errors import ConfigError
from collector.objective import Sli
from collector.request import ObservedBy


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_slos(text, "slos.yaml", ObservedBy.GATEWAY)
    return str(caught.value)


def test_built_in_slos_are_availability_and_ttft_per_model() -> None:
    slos = load_slos(Config())

    assert [("availability", Fraction(995, 1000), None), ("ttft", Fraction(99, 100), 2.0)] == [
        (slo.name, slo.target, slo.objective.threshold_seconds) for slo in slos
    ]
    assert {("model",)} == {slo.objective.group_by for slo in slos}
    assert {ObservedBy.GATEWAY} == {slo.objective.observed_by for slo in slos}


def test_the_primary_observer_judges_where_an_slo_does_not_say() -> None:
    slos = load_slos(Config(primary_observer="client"))

    assert {ObservedBy.CLIENT} == {slo.objective.observed_by for slo in slos}


def test_an_slo_file_is_read_whole() -> None:
    text = """
slos:
  - name: fast-start
    description: First token in time
    sli: ttft
    threshold: 0.5
    target: 99.95
    period_days: 7
    selector: {environment: [production], model: [a, b], tenant: [acme], replica: [r-0]}
    observed_by: engine
    group_by: [replica, model]
    min_failures: 10
    severity: ticket
    advice: Look at the queue.
    runbook_url: https://runbooks.example.com/ttft
"""
    (slo,) = parse_slos(text, "slos.yaml", ObservedBy.GATEWAY)

    assert Sli.TTFT is slo.objective.sli
    assert 0.5 == slo.objective.threshold_seconds
    assert Fraction(9995, 10000) == slo.target
    assert Fraction(5, 10000) == slo.budget
    assert 7 == slo.period_days
    assert (("production",), ("a", "b"), ("acme",), ("r-0",)) == (
        slo.objective.environments,
        slo.objective.models,
        slo.objective.tenants,
        slo.objective.replicas,
    )
    assert ObservedBy.ENGINE is slo.objective.observed_by
    assert ("model", "replica") == slo.objective.group_by
    assert (10, "ticket", "Look at the queue.") == (slo.min_failures, slo.severity, slo.advice)
    assert "https://runbooks.example.com/ttft" == slo.runbook_url
    assert "99.95 %" == slo.target_text


def test_the_order_of_group_by_makes_no_new_objective() -> None:
    text = "slos: [{{name: a, sli: availability, target: 99, group_by: [{}]}}]"
    (first,) = parse_slos(text.format("model, tenant"), "slos.yaml", ObservedBy.GATEWAY)
    (second,) = parse_slos(text.format("tenant, model"), "slos.yaml", ObservedBy.GATEWAY)

    assert first.objective.id == second.objective.id


def test_a_burn_that_cannot_occur_is_refused_with_the_arithmetic() -> None:
    message = refusal("slos:\n  - name: a\n    sli: availability\n    target: 90\n")

    assert message.startswith("slos.yaml:4: slos.0.target: ")
    assert "1 / (1 − 0.9) = 10" in message
    assert "14.4 × 10 % = 144 %" in message
    assert "above 93.055556 %" in message


@pytest.mark.parametrize(("target", "allowed"), [(93.05, False), (93.06, True), (99.999, True)])
def test_the_lowest_target_is_where_a_total_outage_burns_14_4_times(target: float, allowed: bool) -> None:
    text = f"slos: [{{name: a, sli: availability, target: {target}}}]"
    if allowed:
        assert 1 == len(parse_slos(text, "slos.yaml", ObservedBy.GATEWAY))
    else:
        assert "can never page" in refusal(text)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("sli: ttft, target: 99", "slos.yaml:1: slos.0.threshold: Value error, ttft needs one, in seconds"),
        ("sli: availability, threshold: 2, target: 99", "slos.0.threshold: Value error, availability takes none"),
        ("sli: ttft, treshold: 2, target: 99", "slos.0.treshold: unknown key; did you mean 'threshold'?"),
        (
            "sli: availability, target: 99, selector: {modell: [x]}",
            "slos.0.selector.modell: unknown key; did you mean 'model'?",
        ),
        ("sli: availability, target: 99, group_by: [model, model]", "a dimension is named twice"),
        ("sli: uptime, target: 99", "slos.0.sli"),
        ("sli: availability, target: 100", "slos.0.target: Input should be less than 100"),
        ("sli: availability, target: .nan", "slos.0.target"),
        ("sli: availability, target: 99, min_failures: 0", "slos.0.min_failures"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(entry: str, said: str) -> None:
    assert said in refusal(f"slos: [{{name: a, {entry}}}]")


def test_two_slos_of_one_name_are_refused() -> None:
    entry = "{name: a, sli: availability, target: 99}"

    assert "two SLOs are named 'a'" in refusal(f"slos: [{entry}, {entry}]")


def test_an_empty_list_of_slos_is_refused() -> None:
    assert "at least one SLO" in refusal("slos: []")


def test_a_missing_slo_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        load_slos(Config(slos=tmp_path / "absent.yaml"))
