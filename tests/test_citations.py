"""Each line of a memory, and each answer, is traced to the sentences it was made from."""

import asyncio
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.cli.citing import cited, cited_text
from palimpsest.errors import InputError
from palimpsest.memory import Answer, ChunkRead, MemoryVersion, Span
from palimpsest.memory.citations import citations, passages
from palimpsest.memory.reading import Extended, Header, Integrated, Reading, Reread
from palimpsest.memory.sentences import sentence_spans
from palimpsest.memory.words import words_of
from palimpsest.models import ScriptedModel
from palimpsest.readers import MemAgent
from palimpsest.sources import Source

ADA = (
    "Ada Brandt was a Norwegian keeper of the lamp on Gull Rock. She was born in Bergen on"
    " 12 March 1912. In 1934 she married Otto Lund, a sailor. She never left the island."
)
OTTO = "Otto Lund was a sailor from Oslo. He was born on 3 May 1909. He drowned near Gull Rock."
BOATS = "The Heron is a red boat. It has 14 oars.\n\nThe Swan is a blue boat. It has 16 oars."
SOURCE = Source.from_documents([("Ada Brandt", ADA), ("Otto Lund", OTTO), ("boats.txt", BOATS)])


def reading_of(*texts, source=SOURCE, chunk=0, answer=None, question="Where was Ada born?"):
    """A reading of three chunks, a document each, that wrote these memories from `chunk` on."""
    records = []
    for index, text in enumerate(texts):
        parents = (index - 1,) if index else ()
        records += [
            MemoryVersion(chunk=chunk + index, text=text, tokens=9, parents=parents),
            ChunkRead(chunk=chunk + index, memory=index),
        ]
    if answer:
        records.append(Answer(question=0, text=answer, boxed=True))
    return Reading(header_of(source, question), records)


def header_of(source, question="Where was Ada born?"):
    cuts = [0, *(document.start for document in source.documents[1:]), len(source.text)]
    spans = [Span(*span, 9) for span in pairwise(cuts)]
    return Header(
        key="k", created="", source_sha256=source.sha256,
        documents=tuple(document.name for document in source.documents),
        characters=len(source.text), questions=(question,), reader="memagent", settings={},
        model="m", tokenizer="t", prompts={}, chunks=tuple(spans),
    )  # fmt: skip


def quotes(line):
    return [span.quote for span in line.spans]


def cite(memory, **options):
    return citations(reading_of(memory, **options), SOURCE).lines


@pytest.mark.parametrize(
    "line",
    [
        "She was born in Bergen on 12 March 1912.",
        "- **born** 1912-03-12, Bergen",
        "- Born in Bergen: March 12, 1912",
        "<confirmed>Ada Brandt was born in Bergen on 12 March 1912</confirmed>",
        "| Ada Brandt | Bergen | 12 Mar 1912 | born |",
    ],
)
def test_a_line_is_traced_to_its_sentence_whatever_its_form(line):
    (only,) = cite(line)
    assert only.supported
    assert quotes(only) == ["She was born in Bergen on 12 March 1912."]
    assert not only.elsewhere


def test_offsets_are_those_of_the_documents_own_text():
    for line in cite("- The Swan has 16 oars\n- Otto Lund drowned near Gull Rock", chunk=0):
        (span,) = line.spans
        document = next(one for one in SOURCE.documents if one.name == span.document)
        assert document.text[span.start : span.end] == span.quote
        assert 0 < span.score <= 1


def test_a_line_that_joins_facts_cites_each_sentence():
    (line,) = cite(
        "Ada Brandt was born in Bergen in 1912 and married the sailor Otto Lund in 1934."
    )
    assert set(quotes(line)) == {
        "She was born in Bergen on 12 March 1912.",
        "In 1934 she married Otto Lund, a sailor.",
    }


def test_the_sentences_of_a_line_are_traced_one_by_one():
    (line,) = cite("- She never left the island. She was born in Bergen.")
    assert len(line.spans) == 2
    (line,) = cite("- She never left the island. She owned three castles in Scotland.")
    assert not line.supported


@pytest.mark.parametrize(
    "line",
    [
        "She was born in Bergen on 12 March 1913.",
        "Otto Brandt was born in Bergen on 12 March 1912.",
        "Ada Brandt wrote novels about whales and glaciers.",
        "The Heron has 16 oars.",
    ],
)
def test_what_the_source_does_not_say_is_unsupported(line):
    assert not cite(line)[0].supported


def test_a_sentence_of_another_chunk_than_the_lines_own_is_marked():
    (line,) = cite("- Otto Lund drowned near Gull Rock", chunk=0)
    assert line.supported
    assert line.elsewhere
    assert quotes(line) == ["He drowned near Gull Rock."]
    assert not cite("- Otto Lund drowned near Gull Rock", chunk=1)[0].elsewhere


def test_headings_help_to_tell_lines_apart():
    memory = "# Otto Lund\n- born 3 May 1909\n\n# The Swan\n- 16 oars"
    label, born, other, oars = citations(reading_of("x", memory, chunk=1), SOURCE).lines
    assert label.label
    assert other.label
    assert label.supported
    assert quotes(born) == ["He was born on 3 May 1909."]
    assert quotes(oars) == ["It has 16 oars."]


def test_a_heading_with_names_that_the_source_does_not_have_is_unsupported():
    assert not cite("# Doctor Moreau\n- born in Bergen")[0].supported


def test_a_table_is_traced_row_by_row():
    memory = "| boat | colour | oars |\n|---|---|---|\n| Heron | red | 14 |\n| Swan | blue | 15 |"
    header, heron, swan = citations(reading_of("x", "y", memory), SOURCE).lines
    assert header.label
    assert quotes(heron) == ["It has 14 oars.", "The Heron is a red boat."]
    assert not swan.supported


def test_a_reworded_line_keeps_the_chunk_that_brought_it():
    reading = reading_of(
        "- Ada Brandt was born in Bergen on 12 March 1912",
        "- Ada Brandt was born in Bergen on 12 March 1912\n- Otto Lund drowned",
        "- Ada Brandt: born 1912-03-12 in Bergen\n- Otto Lund drowned",
    )
    first, second = citations(reading, SOURCE).lines
    assert quotes(first) == ["She was born in Bergen on 12 March 1912."]
    assert quotes(second) == ["He drowned near Gull Rock."]
    assert (first.elsewhere, second.elsewhere) == (False, False)


def test_citations_survive_rereads_and_integration():
    records = [
        MemoryVersion(chunk=0, text="- Ada Brandt married Otto Lund", tokens=9),
        ChunkRead(chunk=0, memory=0),
        Reread(number=1, question="Which boat is blue?"),
        MemoryVersion(chunk=2, text="- The Swan is blue", tokens=9, reread=1),
        ChunkRead(chunk=2, memory=1, reread=1),
        MemoryVersion(
            chunk=None,
            text="- Ada Brandt married Otto Lund\n- <confirmed>The blue boat: the Swan</confirmed>",
            tokens=9,
            parents=(0, 1),
        ),
        Integrated(reread=1, answer="the Swan", memory=2),
    ]
    married, blue = citations(Reading(header_of(SOURCE), records), SOURCE).lines
    assert quotes(married) == ["In 1934 she married Otto Lund, a sailor."]
    assert quotes(blue) == ["The Swan is a blue boat."]
    assert (married.elsewhere, blue.elsewhere) == (False, False)


def test_a_note_by_hand_is_told_apart():
    records = [
        MemoryVersion(chunk=0, text="- born in Bergen", tokens=9),
        ChunkRead(chunk=0, memory=0),
        MemoryVersion(chunk=None, text="- buy oil\n- born in Bergen", tokens=9, parents=(0,)),
        Extended(notes=1, memory=1),
    ]
    oil, born = citations(Reading(header_of(SOURCE), records), SOURCE).lines
    assert (oil.given, oil.supported) == (True, False)
    assert (born.given, born.supported) == (False, True)


def answered(memory, answer, question="Where was the wife of Otto Lund born?"):
    reading = reading_of(memory, answer=answer, question=question)
    (only,) = citations(reading, SOURCE).answers
    return only


def test_an_answer_rests_on_the_lines_that_have_it_and_on_the_step_before():
    memory = "# Ada Brandt\n- born in Bergen\n- married Otto Lund\n- never left the island"
    answer = answered(memory, "Bergen")
    assert answer.supported
    assert not answer.elsewhere
    assert set(quotes(answer)) == {
        "She was born in Bergen on 12 March 1912.",
        "In 1934 she married Otto Lund, a sailor.",
    }


def test_a_verdict_rests_on_the_lines_of_its_question():
    memory = "- Ada Brandt married Otto Lund\n- never left the island"
    answer = answered(memory, "Yes", "Was Ada Brandt the wife of Otto Lund?")
    assert answer.supported
    assert quotes(answer) == ["In 1934 she married Otto Lund, a sailor."]


def test_an_answer_that_no_line_has_is_looked_for_in_the_source():
    answer = answered("- She never left the island", "Bergen")
    assert answer.supported
    assert answer.elsewhere
    assert "She was born in Bergen on 12 March 1912." in quotes(answer)
    nowhere = answered("- She never left the island", "Hammerfest")
    assert (nowhere.supported, nowhere.spans) == (False, ())


def test_a_reading_without_a_memory_has_its_answers_cited():
    reading = Reading(header_of(SOURCE), [Answer(question=0, text="Bergen", boxed=True)])
    found = citations(reading, SOURCE)
    assert found.lines == ()
    assert found.answers[0].supported


def test_another_source_is_refused():
    with pytest.raises(InputError, match="not the one that was read"):
        citations(reading_of("x"), Source.from_text("other"))


def test_a_fact_is_found_where_it_stands_in_the_source():
    reading = reading_of("x")
    (exact,) = passages(reading, SOURCE, "drowned near")
    assert (exact.chunk, exact.citation.quote) == (1, "He drowned near Gull Rock.")
    (reworded,) = passages(reading, SOURCE, "Otto Lund, born 1909-05-03")
    assert reworded.citation.quote == "He was born on 3 May 1909."
    assert passages(reading, SOURCE, "castles in Scotland") == []


def test_citations_are_shown_with_numbers_and_quotes():
    memory = "# Ada Brandt\n- born in Bergen\n- owns castles in Scotland\n- Otto Lund drowned"
    reading = reading_of(memory, answer="Bergen", question="Where was Ada Brandt born?")
    shown = cited_text(citations(reading, SOURCE)).splitlines()
    assert shown[0] == "Bergen [1]"
    assert "- born in Bergen [1]" in shown
    assert "- owns castles in Scotland [unsupported]" in shown
    assert "- Otto Lund drowned [2][elsewhere in the source]" in shown
    assert '[1] Ada Brandt, characters 60-100: "She was born in Bergen on 12 March 1912."' in shown
    data = cited(reading, SOURCE)
    assert data["answers"][0]["spans"][0]["quote"] == "She was born in Bergen on 12 March 1912."
    assert [line["supported"] for line in data["lines"]] == [True, True, False, True]


def test_a_read_by_a_reader_is_cited():
    drafts = ["- Ada Brandt: Bergen, 12 March 1912, born"] * 9
    model = ScriptedModel(lambda messages, _: (
        drafts[0] if "Next section:" in str(messages) else r"\boxed{Bergen}"
    ))  # fmt: skip
    reading = asyncio.run(MemAgent(chunk_tokens=40).read(SOURCE, "Where was Ada born?", model))
    found = citations(reading, SOURCE)
    assert quotes(found.lines[0]) == quotes(found.answers[0])
    assert quotes(found.lines[0]) == ["She was born in Bergen on 12 March 1912."]


@given(st.text("aB1 .\n-|#?", max_size=200))
def test_sentences_leave_out_only_space_and_come_in_order(text):
    spans = list(sentence_spans(text))
    bounds = [bound for span in spans for bound in span]
    assert bounds == sorted(bounds)
    for start, end in spans:
        assert text[start:end]
        assert text[start:end] == text[start:end].strip()
    outside = [
        text[end:start]
        for end, start in zip([0, *bounds[1::2]], [*bounds[::2], len(text)], strict=True)
    ]
    assert not "".join(outside).strip()


def test_a_wrapped_line_does_not_end_a_sentence():
    text = (
        "# Log\nThe lamp on Gull Rock was lit by Ada Brandt every evening\nof her life. Then it"
        " went out.\n- oil\n- wicks"
    )
    assert [text[start:end] for start, end in sentence_spans(text)] == [
        "# Log",
        "The lamp on Gull Rock was lit by Ada Brandt every evening\nof her life.",
        "Then it went out.",
        "- oil",
        "- wicks",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 March 1912", "1912-03-12"),
        ("Mar 12, 1912", "12 March 1912"),
        ("1,234 boats", "1234 boat"),
        ("two stories", "2 story"),
        ("directed", "directs"),
    ],
)
def test_the_same_thing_in_other_writing_has_the_same_words(one, other):
    assert set(words_of(one).all) == set(words_of(other).all)


@pytest.mark.skipif(
    not os.environ.get("PALIMPSEST_DATA"),
    reason="PALIMPSEST_DATA does not name the folder of benchmark rows",
)
def test_what_an_oracle_noted_is_traced_to_the_supporting_sentences():
    bench = Path(__file__).parent.parent / "bench" / "citations.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--rows", "60", "--json"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    oracle = json.loads(done.stdout)["oracle"]
    assert oracle["precision"]["mean"] >= 0.9
    assert oracle["recall"]["mean"] >= 0.9
