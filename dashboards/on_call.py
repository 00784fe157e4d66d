"""The *On call* board: what is broken, whom does it hurt, and where to look next."""

from __future__ import annotations

from collections.abc import Sequence

from alerts.page import BOARD_UID
from alerts.slo import Slo
from collector.objective import Sli
from collector.request import ObservedBy
from dashboards import engine, state, traffic
from dashboards.panels import Annotation, Board, Panel, Section, stat, table, timeseries
from dashboards.style import OUTCOME_COLOURS, Cell, Colour, Draw, Step, Unit
from dashboards.threshold import BUDGET_STEPS, availability_steps, latency_steps
from dashboards.traffic import ANSWERED, WAITED_FOR, outcome_label

_OUTCOMES = {outcome_label(outcome): colour for outcome, colour in OUTCOME_COLOURS.items()}
_NONE_IS_GOOD = (Step(None, Colour.GOOD), Step(1, Colour.BAD))
_FULL = (Step(None, Colour.QUIET), Step(0.9, Colour.BAD))
_SEVERITIES = {"page": Colour.BAD, "ticket": Colour.WARNING}
_STATES = {"firing": Colour.BAD, "resolving": Colour.GOOD, "pending": Colour.WARNING}
_HEALTH = {"ready": Colour.GOOD, "failing": Colour.BAD, "unreachable": Colour.BAD, "unknown": Colour.WARNING}
_NOT_BY_TENANT = "Latency is kept by model and replica, not by tenant: the tenant variable has no effect here."


_MEASURES = (
    (
        "TTFT", "ttft_seconds", ANSWERED, Sli.TTFT,
        ("Time to first token of answered requests. High with a queue: too little capacity. High without one: long prompts, "
         "a cache that was lost, or a busy API process."),
    ),
    (
        "TPOT", "tpot_seconds", ANSWERED, Sli.TPOT,
        "Mean time per output token after the first. High: the batch is too large, or requests are preempted and wait.",
    ),
    (
        "Latency", "latency_seconds", WAITED_FOR, Sli.LATENCY,
        "Whole time of answered requests and of timeouts. Read it beside output length: long answers take long.",
    ),
)  # fmt: skip
"""What the latency panels show: name, sketched quantity, whose requests, the SLI with its limit, and what to do."""


def on_call(slos: Sequence[Slo], observed_by: ObservedBy) -> Board:
    """The board, with the thresholds of these SLOs, and with ``observed_by`` chosen at first."""
    return Board(
        uid=BOARD_UID,
        title="LLM on call",
        description="What is broken, whom it hurts, and where to look next.",
        sections=[
            Section("", [*_faults(), *_promises(slos), *_now(), _replicas(), *_harm(slos)]),
            Section("Latency", _latency(slos)),
            Section("Engines", _engines()),
            Section("Tokens and cache", _tokens()),
            Section("What happened", _happened(slos)),
        ],
        annotations=[
            Annotation("Alerts", state.alert_regions(), Colour.BAD),
            Annotation("Engines died or came back", state.engine_marks(), Colour.MARK),
        ],
        observed_by=observed_by,
    )


def _faults() -> list[Panel]:
    return [
        stat(
            "Firing alerts",
            "Alerts that somebody has been told of and that are not over. Read the verdicts in the table below, the oldest "
            "page first. Alerts that name no chosen model, tenant or replica stay counted.",
            state.firing_count(), Unit.NUMBER, _NONE_IS_GOOD,
        ),
        stat(
            "Replicas not ready",
            "Replicas whose health check fails or gets no answer now. Find them in the table below; if one was killed, "
            "its last words are under *What happened*.",
            state.replicas_not_ready(), Unit.NUMBER, _NONE_IS_GOOD,
        ),
        stat(
            "Tenants hurt",
            "Tenants with at least one request in this range that failed by us. The table below names them.",
            traffic.tenants_hurt(), Unit.NUMBER, _NONE_IS_GOOD,
        ),
    ]  # fmt: skip


def _promises(slos: Sequence[Slo]) -> list[Panel]:
    return [
        stat(
            "Availability",
            "Share of requests in this range that we served, of those that we served or failed. What callers did wrong is left "
            "out. When it is below the target, see which failures grow below, and on which replica.",
            traffic.availability_of_range(), Unit.RATIO, availability_steps(slos), decimals=3,
        ),
        stat(
            "TTFT p95",
            "95 % of answered requests had their first token within this time. When it is high, compare waiting requests with "
            "KV-cache usage below: a queue means too little capacity, a quiet queue means slow prefill or a lost cache. "
            + _NOT_BY_TENANT,
            traffic.p95_of_range("ttft_seconds", ANSWERED), Unit.SECONDS,
            latency_steps(slos, Sli.TTFT, within=Colour.GOOD), decimals=2,
        ),
        stat(
            "Budget left, worst",
            "The smallest error budget that is left of any SLO, over its own period. Below 0 the promise is broken for this "
            "period: stop risky changes. The table of budgets below tells which.",
            state.worst_budget(slos), Unit.RATIO,
            BUDGET_STEPS, decimals=1,
        ),
    ]  # fmt: skip


def _now() -> list[Panel]:
    return [
        table(
            "Alerts",
            "Alerts that fire (*resolving* ones look better, and are not over) or may fire soon (*pending*). Start with the "
            "oldest page; its verdict names model, replica and tenants.",
            state.open_alerts(),
            {
                "Since": Cell(Unit.AGE, 120),
                "State": Cell(width=90, texts=_STATES),
                "Severity": Cell(width=80, texts=_SEVERITIES),
            },
        ),
        table(
            "Who is hurt",
            "Tenants and models with the most requests that failed by us in this range. One tenant alone points at its "
            "requests (length, model, quota); all tenants of a model point at its replicas.",
            traffic.worst_hurt(20),
            {
                "Failed by us": Cell(Unit.NUMBER, 110),
                "Requests": Cell(Unit.NUMBER, 100),
                "Share": Cell(Unit.RATIO, 90, (Step(None, Colour.QUIET), Step(0.005, Colour.WARNING), Step(0.05, Colour.BAD))),
            },
        ),
    ]  # fmt: skip


def _replicas() -> Panel:
    return table(
        "Replicas",
        "How each replica is now, those in trouble first. *Failing*: the process answers and its engine does not; "
        "restart it. *Unreachable*: the process or its host is gone. A zombie's metrics look idle: believe its health.",
        state.replica_table(),
        {
            "Health": Cell(width=100, texts=_HEALTH),
            "Health since": Cell(Unit.AGE, 120),
            "HTTP status": Cell(Unit.NUMBER, 100),
            "Last scrape": Cell(Unit.AGE, 120),
            "Process started": Cell(Unit.AGE, 120),
            "Running": Cell(Unit.NUMBER, 80),
            "Waiting": Cell(Unit.NUMBER, 80),
        },
        width=24, height=7,
    )  # fmt: skip


def _harm(slos: Sequence[Slo]) -> list[Panel]:
    return [
        timeseries(
            "Requests by outcome",
            "Requests per second by how they ended, without health checks and probes. A fall of the whole stack means that "
            "callers do not get through or have stopped: look at the gateway. A tenant and a replica together are not kept; "
            "with both chosen, the tenant counts.",
            traffic.requests_by_outcome(), Unit.REQUESTS_PER_SECOND, width=12, draw=Draw.BARS, colours=_OUTCOMES,
        ),
        timeseries(
            "Failures by type",
            "Requests per second that did not end well. Red, orange and purple are ours: out of memory, timeout and overload "
            "ask for capacity, unavailable and server errors for a look at the engine. Blue and yellow are the caller's.",
            traffic.failures_by_outcome(), Unit.REQUESTS_PER_SECOND, width=12, draw=Draw.BARS, colours=_OUTCOMES,
        ),
        timeseries(
            "Availability",
            "Share of judged requests that we served; the line is the strictest availability target. Short dips spend budget, "
            "long ones page.",
            traffic.availability(), Unit.RATIO, width=12, steps=availability_steps(slos),
            smallest=None, largest=1,
        ),
        timeseries(
            "Failed by us, by replica",
            "Requests per second that failed by us, by the replica that served them; *unknown* where none was reached or "
            "named. One replica alone: drain it. All of them: look at what they share.",
            traffic.failures_by_replica(), Unit.REQUESTS_PER_SECOND, width=12, draw=Draw.BARS,
        ),
    ]  # fmt: skip


def _latency(slos: Sequence[Slo]) -> list[Panel]:
    by_model = [
        timeseries(
            f"{name} by model", f"{text} {_NOT_BY_TENANT}",
            traffic.quantiles_by_model(quantity, outcomes), Unit.SECONDS, steps=latency_steps(slos, sli),
        )
        for name, quantity, outcomes, sli, text in _MEASURES
    ]  # fmt: skip
    by_replica = [
        timeseries(
            f"{name} p95 by replica",
            f"{text} One replica above the others: drain it and compare its load. {_NOT_BY_TENANT}",
            traffic.p95_by_replica(quantity, outcomes), Unit.SECONDS, steps=latency_steps(slos, sli),
        )
        for name, quantity, outcomes, sli, text in _MEASURES
    ]  # fmt: skip
    return [*by_model, *by_replica]


def _engines() -> list[Panel]:
    return [
        timeseries(
            "Running and waiting",
            "Requests in the batch and in the queue, by replica, as the engines say. A queue that grows needs replicas or "
            "fewer requests; a queue on one replica only points at routing. Values that stand still may be a dead engine.",
            engine.load_by_replica(), Unit.NUMBER,
        ),
        timeseries(
            "KV-cache usage, highest",
            "The fullest that each replica's KV cache was. Above 0.9 requests are preempted next: fewer or shorter requests, "
            "more replicas, or a smaller batch.",
            engine.kv_usage_by_replica(), Unit.RATIO, steps=_FULL, largest=1,
        ),
        timeseries(
            "Preemptions",
            "Requests thrown out of the batch for lack of KV cache, per minute. Each is computed again later, which shows as "
            "slow decoding. A steady rate predicts timeouts: act as for a full KV cache.",
            engine.preemptions_by_replica(), Unit.PER_MINUTE, draw=Draw.BARS,
        ),
    ]  # fmt: skip


def _tokens() -> list[Panel]:
    return [
        timeseries(
            "Prompt tokens by tenant",
            "Prompt tokens per second, cached ones included. A tenant that suddenly sends much more may be why others wait.",
            traffic.input_tokens_by_tenant(), Unit.TOKENS_PER_SECOND, width=12, draw=Draw.BARS,
        ),
        timeseries(
            "Generated tokens by tenant",
            "Generated tokens per second. A fall while requests keep coming means that engines are slow or failing.",
            traffic.output_tokens_by_tenant(), Unit.TOKENS_PER_SECOND, width=12, draw=Draw.BARS,
        ),
        timeseries(
            "Cache-hit rate by model",
            "Cached share of prompt tokens, from sums of tokens, of the requests that say so. A sudden fall makes TTFT rise: "
            "look for a restart (a cold cache), changed routing, or changed prompts.",
            traffic.hit_rate_by_model(), Unit.RATIO, largest=1,
        ),
        timeseries(
            "Cache-hit rate by tenant",
            "Cached share of prompt tokens by tenant. One tenant's fall points at its prompts, all tenants' at engines.",
            traffic.hit_rate_by_tenant(), Unit.RATIO, largest=1,
        ),
        timeseries(
            "Prefix-cache hits by replica",
            "Share of prompt tokens found in each engine's own prefix cache, as the engines count it. One replica below the "
            "others restarted lately or gets other sessions than before.",
            engine.prefix_hit_rate_by_replica(), Unit.RATIO, largest=1,
        ),
    ]  # fmt: skip


def _happened(slos: Sequence[Slo]) -> list[Panel]:
    return [
        table(
            "Error budgets",
            "What is left of each budget at the end of this range, over the SLO's own period, the emptiest first. Below 0 the "
            "promise is broken for this period: stop risky changes until it recovers.",
            state.budgets(slos),
            {
                "Target": Cell(Unit.RATIO, 80),
                "Good": Cell(Unit.RATIO, 80),
                "Failed": Cell(Unit.NUMBER, 80),
                "Budget left": Cell(Unit.RATIO, 110, BUDGET_STEPS),
                "Period": Cell(Unit.DAYS, 80),
            },
            height=10,
        ),
        table(
            "Events",
            "What happened to engines in this range, the newest first. A death before a restart has its cause in *Detail*; a "
            "restart without a death is a deploy or somebody's hand.",
            state.recent_events(),
            {"Time": Cell(Unit.TIME, 170)},
            height=10,
        ),
    ]  # fmt: skip
