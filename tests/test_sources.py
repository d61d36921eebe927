"""Sources: documents joined with stable offsets, found again by span."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import sources
from palimpsest.errors import InputError, SourceError
from palimpsest.sources import Location, Source

TEXTS = st.lists(
    st.tuples(st.text(max_size=12), st.text(max_size=30)), min_size=1, max_size=5
).filter(lambda pairs: any(text.strip() for _, text in pairs))


def test_everything_public_is_listed_in_order():
    assert list(sources.__all__) == sorted(sources.__all__)
    assert all(hasattr(sources, name) for name in sources.__all__)


def test_one_document_is_the_source_itself():
    source = Source.from_text("Rome was not built in a day.", name="proverbs")
    assert source.text == "Rome was not built in a day."
    assert [(each.name, each.start) for each in source.documents] == [("proverbs", 0)]


def test_several_documents_stand_under_their_names():
    source = Source.from_documents([("Rome", "On the Tiber."), ("Bern", "On the Aare.")])
    assert source.text == "# Rome\n\nOn the Tiber.\n\n# Bern\n\nOn the Aare."


def test_a_name_of_several_lines_makes_one_heading():
    source = Source.from_documents([("a\nb", "x"), ("c", "y")])
    assert source.text.startswith("# a b\n\nx")


@given(TEXTS)
def test_each_document_is_found_at_its_start(pairs):
    source = Source.from_documents(pairs)
    for document in source.documents:
        assert source.text[document.start : document.end] == document.text


@given(TEXTS, st.data())
def test_locations_are_the_documents_part_of_the_span(pairs, data):
    source = Source.from_documents(pairs)
    start = data.draw(st.integers(0, len(source.text)))
    end = data.draw(st.integers(start, len(source.text)))
    expected = [
        Location(each.name, max(start, each.start) - each.start, min(end, each.end) - each.start)
        for each in source.documents
        if max(start, each.start) < min(end, each.end)
    ]
    assert source.locate(start, end) == expected


def test_a_span_across_documents_has_a_location_in_each():
    source = Source.from_documents([("Rome", "On the Tiber."), ("Bern", "On the Aare.")])
    start = source.text.index("Tiber")
    end = source.text.index("the Aare")
    assert source.locate(start, end) == [Location("Rome", 7, 13), Location("Bern", 0, 3)]


def test_a_span_of_a_heading_is_in_no_document():
    source = Source.from_documents([("Rome", "On the Tiber."), ("Bern", "On the Aare.")])
    assert source.locate(0, 6) == []


def test_the_hash_depends_on_texts_and_names_only():
    first = Source.from_text("text", name="a")
    assert first.sha256 == Source.from_text("text", name="a").sha256
    assert first.sha256 != Source.from_text("text", name="b").sha256
    assert first.sha256 != Source.from_text("next", name="a").sha256


def test_lone_surrogates_become_replacement_characters():
    assert Source.from_text("a\ud83d b").text == "a\ufffd b"


def test_a_source_without_documents_is_refused():
    with pytest.raises(InputError, match="no document"):
        Source.from_documents([])


def test_a_source_without_text_is_refused_by_name():
    with pytest.raises(SourceError, match="notes: there is no text"):
        Source.from_text(" \n", name="notes")
