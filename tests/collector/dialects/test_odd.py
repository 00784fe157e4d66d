"""Values that no producer should send: a row or a reject, and never an error that takes the rest of the body along."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.assemble import assemble
from collector.normalise import normalise
from collector.request import Reject, Request
from collector.span import SpanKind, StatusCode
from tests.collector.dialects.example import EXAMPLES
from tests.collector.dialects.sent import NOW, POLICY, Sendable, decoded

VALUES: st.SearchStrategy[Sendable] = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
    st.sampled_from(["", "none", '""', '"', "[", "[]", '["a"', "{}", "0", "-1", "1e400", "NaN", "true", "x" * 300]),
    st.lists(st.text("ab", max_size=3), max_size=3).map(tuple),
)


@given(
    name=st.sampled_from(list(EXAMPLES)),
    data=st.data(),
    kind=st.sampled_from(SpanKind),
    status=st.sampled_from(StatusCode),
)
def test_odd_value_of_any_attribute_is_a_row_or_a_reject(
    name: str, data: st.DataObject, kind: SpanKind, status: StatusCode
) -> None:
    sent = EXAMPLES[name].sent
    odd = data.draw(st.dictionaries(st.sampled_from(sorted(sent.attributes)), VALUES, max_size=3))
    spans = decoded(sent._replace(attributes={**sent.attributes, **odd}, kind=kind, status=status))
    assembled = assemble(spans)
    assert 1 == len(assembled.groups) + assembled.merged + assembled.ignored
    for group in assembled.groups:
        assert isinstance(normalise(group, POLICY, NOW), Request | Reject)
