from __future__ import annotations

import pytest

from collector.call import Call
from collector.dialects import DIALECTS, Role, recognise
from collector.span import StatusCode
from tests.collector.dialects.example import EXAMPLES
from tests.collector.dialects.keys import Example
from tests.collector.dialects.sent import decoded, row, rows

SECRET = "secret-prompt-text"
PROMPTS = {
    **dict.fromkeys(("gen_ai.prompt", "gen_ai.completion", "gen_ai.prompt_json", "gen_ai.completion_json"), SECRET),
    **dict.fromkeys(("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"), SECRET),
    **dict.fromkeys(("gen_ai.prompt.0.content", "gen_ai.completion.0.content", "llm.input_messages.0.message.content"), SECRET),
    **dict.fromkeys(("input.value", "request_data", "response_data", "ai.prompt", "ai.response.text"), SECRET),
    **dict.fromkeys(("langfuse.observation.input", "langfuse.observation.output", "mlflow.spanInputs"), SECRET),
    **dict.fromkeys(("pydantic_ai.all_messages", "ai.request.headers.authorization", "message", "error"), SECRET),
    **dict.fromkeys(("error.message", "langfuse.observation.status_message", "gen_ai.error"), SECRET),
}
"""Where the producers put prompts and answers, and error text that echoes them."""
by_name = pytest.mark.parametrize("name", list(EXAMPLES))


def test_every_dialect_has_an_example_and_a_name_of_its_own() -> None:
    assert [dialect.name for dialect in DIALECTS] == list(EXAMPLES)


@by_name
def test_example_is_recognised_by_its_own_row_and_by_no_earlier_one(name: str) -> None:
    (span,) = decoded(EXAMPLES[name].sent)
    keys = frozenset(span.attributes)
    taking = (dialect for dialect in DIALECTS if dialect.may_be(span.scope, keys) and dialect.recognises(span))
    first = next(taking, None)
    if name == "helicone":
        assert first is None
        return
    assert first is not None
    assert name == first.name
    found = recognise(span)
    assert (None if first.role is Role.NOTHING else name) == (found and found.name)


@by_name
def test_example_becomes_the_row_that_its_producer_meant(name: str) -> None:
    example = EXAMPLES[name]
    if example.row is None:
        assert [] == rows(example.sent)
        return
    found = row(example.sent)
    assert name == found.dialect
    assert example.row == {field: getattr(found, field) for field in example.row}


@by_name
def test_no_prompt_and_no_error_text_survives(name: str) -> None:
    sent = EXAMPLES[name].sent
    spans = decoded(sent._replace(attributes=PROMPTS | dict(sent.attributes), message=SECRET))
    assert SECRET not in repr(spans)


def counts(example: Example) -> bool:
    return example.row is not None and example.row.get("output_tokens") is not None


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if counts(example)])
def test_zero_tokens_of_a_failure_are_unknown(name: str) -> None:
    sent = EXAMPLES[name].sent
    zeros = {key: zero(value) if "oken" in key or "sage" in key else value for key, value in sent.attributes.items()}
    found = row(sent._replace(attributes=zeros, status=StatusCode.ERROR))
    assert (None, None) == (found.input_tokens, found.output_tokens)


def zero(value: object) -> int | str:
    if isinstance(value, str) and not value.isdigit():
        return "{}"
    return 0


@by_name
def test_what_a_wrapper_says_is_known_to_the_assembly(name: str) -> None:
    """A call that states output tokens is one that says how it went, or the wrapper rule could not work."""
    example = EXAMPLES[name]
    (span,) = decoded(example.sent)
    dialect = recognise(span)
    if dialect is not None and counts(example):
        assert Call(span, dialect).says_how_it_went
