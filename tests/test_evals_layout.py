"""The layout study: what is drawn where, and what is counted, by hand."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import ConfigurationError, InputError, ModelError
from palimpsest.evals.evidence import EvidenceOfRun, load_evidence, read_evidence
from palimpsest.evals.evidence_words import content_words, precisions, region_words
from palimpsest.evals.injection import inject
from palimpsest.evals.layout_study import Study, study_layout
from palimpsest.evals.report import load_runs, report_of
from palimpsest.evals.run import CONFIG_FILE, READINGS_FOLDER, RESULTS_FILE, load_run
from palimpsest.memory.store import load_reading
from palimpsest.models import ScriptedModel
from palimpsest.pages import PRESETS, render
from palimpsest.pages.block import Text, text_of
from palimpsest.pages.markdown import read_markdown
from palimpsest.readers import MemOCR
from palimpsest.sources import EstimateTokenizer
from sample_runs import BUDGETS, config, evidence, made_up, memory, write_reading

ITEMS = 3


@pytest.fixture
def run(tmp_path):
    """Three items at one length and seed, the last of which failed."""
    return keep(tmp_path / "run", ITEMS)


def keep(folder, items, reader="memocr", **changed):
    folder.mkdir()
    made = config(reader, items).model_copy(update={"lengths": (8192,), "seeds": (0,), **changed})
    (folder / CONFIG_FILE).write_text(made.model_dump_json())
    lines = []
    for number in range(items):
        result = made_up(reader, number, 8192, 0)
        name = f"{reader}-{number}"
        update = {"status": "answered", "reason": "", "error": "", "reading": name}
        if number == items - 1:
            update = {"status": "failed", "reason": "no room", "reading": ""}
        result = result.model_copy(update=update)
        lines.append(result.model_dump_json() + "\n")
        if result.reading:
            write_reading(folder / READINGS_FOLDER / name, reader, result)
    (folder / RESULTS_FILE).write_text("".join(lines))
    return load_run(folder)


def marked():
    return EvidenceOfRun({(f"item-{n:03d}", None): evidence(n) for n in range(ITEMS)})


def answers(text="Gull Rock 0"):
    return ScriptedModel(lambda *_: rf"\boxed{{{text}}}")


def study(run, out, *, inject="heading", style="default", budgets=(256, 64), **options):
    model = options.pop("model", None) or answers()
    chosen = Study(inject=inject, style=style, budgets=budgets)
    found = asyncio.run(study_layout(run, marked(), chosen, model, out, **options))
    # Lines come in the order in which readings end.
    return found._replace(results=sorted(found.results, key=lambda one: one.id)), model


def test_evidence_in_headings_is_drawn_at_the_size_of_headings():
    text = inject(memory(0), evidence(0), "heading")
    page = render(text, 256)
    boxes = [box for box in page.boxes if "Ada" in box.text or "1883*" in box.text]
    assert boxes
    assert {box.style for box in boxes} == {"h1"}
    assert {round(box.px / page.body_px, 3) for box in boxes} == {1.5}
    assert evidence(0)[1] in page.text


def test_evidence_in_the_body_is_drawn_at_the_size_of_the_body():
    page = render(inject(memory(0), evidence(0), "body"), 256)
    boxes = [box for box in page.boxes if "Ada" in box.text or "1883*" in box.text]
    assert {(box.style, box.px) for box in boxes} == {("body", page.body_px)}
    assert evidence(0)[0] in page.text


def test_only_the_type_differs_between_the_two():
    texts = [inject(memory(0), evidence(0), where) for where in ("heading", "body")]
    pages = [render(text, 1024) for text in texts]
    assert pages[0].text == pages[1].text
    assert texts[0].replace("# ", "", 2) == texts[1]


def test_without_injection_or_evidence_a_memory_stays_as_it_is():
    assert inject(memory(0), evidence(0), "none") == memory(0)
    assert inject(memory(0), ["  ", ""], "heading") == memory(0)
    assert inject("", ["One."], "heading") == "# One."
    assert inject("two", ["One.", "One."], "body") == "One.\n\ntwo"


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=40), max_size=3))
def test_any_sentence_is_drawn_as_it_is_written(sentences):
    wanted = list(dict.fromkeys(line for one in sentences if (line := " ".join(one.split()))))
    for where, level in (("heading", 1), ("body", 0)):
        blocks = read_markdown(inject("", sentences, where))
        assert all(isinstance(block, Text) and block.level == level for block in blocks)
        shown = [" ".join(text_of(block).split()) for block in blocks]
        assert shown == [one.replace("\x00", "\ufffd") for one in wanted]


def test_uniform_type_has_one_size():
    text = inject(memory(0), evidence(0), "heading")
    page = render(text, 256, style=PRESETS["uniform"])
    assert {box.px for box in page.boxes} == {page.body_px}
    assert len({box.px for box in render(text, 256).boxes}) > 1


def test_a_study_reads_every_memory_at_every_budget_and_drafts_nothing(run, tmp_path):
    found, model = study(run, tmp_path / "study")
    assert [result.status for result in found.results] == ["answered", "answered", "failed"]
    assert len(model.calls) == 2 * 2
    assert all(call.messages[0]["content"][0]["type"] == "image_url" for call in model.calls)
    assert found.config.budgets == (256, 64)
    first, other, failed = found.results
    assert [scored.scores["exact_match"] for scored in first.answers] == [1, 1]
    assert [scored.scores["exact_match"] for scored in other.answers] == [0, 0]
    assert [scored.scores["f1"] for scored in failed.answers] == [0, 0]
    assert "no room" in failed.reason
    assert (first.calls, first.chunks, first.source_tokens) == (
        2, run.results[0].chunks, run.results[0].source_tokens,
    )  # fmt: skip
    reading = load_reading(found.folder / READINGS_FOLDER / first.reading)
    assert reading.memory == inject(memory(0), evidence(0), "heading").strip()
    assert [turn.role for turn in reading.turns] == ["read", "read"]


def test_the_picture_that_is_read_is_the_page_of_the_study(run, tmp_path):
    _, model = study(run, tmp_path / "study", style="uniform", budgets=(64,))
    text = inject(memory(0), evidence(0), "heading")
    shown = [call.messages[0]["content"][0]["image_url"]["url"] for call in model.calls]
    assert render(text, 64, style=PRESETS["uniform"]).data_url() in shown
    assert render(text, 64).data_url() not in shown
    prompt = MemOCR().template("read").fill(question=run.results[0].question)
    assert model.calls[0].messages[0]["content"][1]["text"] == prompt


def test_a_study_that_was_stopped_asks_only_what_is_missing(run, tmp_path):
    def fails(messages, _):
        if "tower 1" in messages[0]["content"][1]["text"]:
            raise ModelError("the server is gone")
        return r"\boxed{Gull Rock 0}"

    broken, _ = study(run, tmp_path / "study", model=ScriptedModel(fails))
    assert [result.status for result in broken.results] == ["answered", "failed", "failed"]
    assert broken.results[1].error == "ModelError"
    again, model = study(run, tmp_path / "study")
    assert [result.status for result in again.results] == ["answered", "answered", "failed"]
    assert len(model.calls) == 2
    with pytest.raises(ConfigurationError, match="other settings"):
        study(run, tmp_path / "study", style="uniform")


def test_a_study_is_reported_like_any_run(run, tmp_path):
    study(run, tmp_path / "heading")
    study(run, tmp_path / "none", inject="none", style="uniform", budgets=BUDGETS)
    runs = load_runs([run.folder, tmp_path / "heading", tmp_path / "none"])
    report = report_of(runs)
    assert [one.memory for one in report.runs] == ["visual"] * 3
    assert report.runs[1].reader == "memocr (evidence in headings, default style)"
    assert report.runs[2].reader == "memocr (as it is, uniform style)"
    assert report.runs[2].settings["style"]["emphasis"] is False
    assert [[one.budget for one in c.differences] for c in report.comparisons] == [
        [256, 64],
        [1024, 256, 64, 16],
    ]
    assert report.comparisons[0].differences[0].items == ITEMS


def test_a_memory_of_a_part_stays_one_of_a_part(run, tmp_path):
    part = run.results[0].model_copy(update={"status": "partial", "reason": "a cap"})
    found, _ = study(run._replace(results=[part]), tmp_path / "study")
    assert [(one.status, one.reason) for one in found.results] == [("partial", "a cap")]


def test_a_reading_that_is_gone_is_a_failure(run, tmp_path):
    (run.folder / READINGS_FOLDER / "memocr-0" / "reading.jsonl").unlink()
    found, _ = study(run, tmp_path / "study")
    assert [one.status for one in found.results] == ["failed", "answered", "failed"]
    assert "no reading at" in found.results[0].reason


def test_what_cannot_be_studied_is_refused(run, tmp_path):
    text = keep(tmp_path / "text", ITEMS, "memagent")
    with pytest.raises(ConfigurationError, match="memagent does not read its memory as a page"):
        study(text, tmp_path / "a")
    other = run._replace(config=run.config.model_copy(update={"prompts": {"read": "other"}}))
    with pytest.raises(ConfigurationError, match="other prompts"):
        study(other, tmp_path / "b")
    found, _ = study(run, tmp_path / "c")
    with pytest.raises(ConfigurationError, match="a layout study itself"):
        study(found, tmp_path / "d")
    with pytest.raises(ConfigurationError, match="no style 'loud'"):
        study(run, tmp_path / "e", style="loud")


def test_words_are_counted_by_region():
    found = region_words(
        "# The Gull\n\nIt *is* a **wet Rock**, not dry\n\n| Ada | b |\n|-|-|\n| c | d |"
    )
    assert found == {
        "headings": ["gull"],
        "bold": ["wet", "rock", "ada", "b"],
        "crucial": ["gull", "wet", "rock", "ada", "b"],
        "body": ["dry", "c", "d"],
    }
    assert content_words("the 1,883 of Gull-Rock's") == ["1", "883", "gull", "rock", "s"]


def test_precision_is_that_of_a_hand_count(run):
    # Gull Weather | Rock path | long wet tides boats nets sails herring weather keeper storms
    # {n}00. Of the evidence are gull, rock, keeper.
    found = {one.region: one for one in precisions(run, marked())}
    assert {one.memories for one in found.values()} == {2}
    assert (found["headings"].evidence, found["headings"].words) == (2, 4)
    assert (found["bold"].evidence, found["bold"].words) == (2, 4)
    assert found["crucial"].precision.mean == 0.5
    assert (found["body"].evidence, found["body"].words) == (2, 22)
    assert found["body"].precision.mean == pytest.approx(1 / 11)
    assert found["body"].median_words == 11


def test_a_run_without_memories_has_no_precision(run):
    gone = run._replace(results=[run.results[2]])
    assert [one.precision for one in precisions(gone, marked())] == [None] * 4


def test_evidence_comes_from_a_file(run, tmp_path):
    file = tmp_path / "evidence.jsonl"
    rows = [
        {"id": "item-000", "evidence": ["At any length."], "more": 1},
        {"id": "item-001", "evidence": ["Here."], "length": 8192},
        {"id": "item-001", "evidence": ["There."]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    known = read_evidence(file)
    assert [known.of(one) for one in run.results] == [("At any length.",), ("Here.",), ()]
    file.write_text('{"id": "x", "evidence": ["a"]}\n{"id": 3}\n')
    with pytest.raises(InputError, match=r"evidence.jsonl:2: "):
        read_evidence(file)
    with pytest.raises(InputError, match="has gold evidence"):
        EvidenceOfRun({}).check(run)


def test_evidence_comes_from_the_task_again(run, tmp_path):
    questions = [one.question for one in run.results]
    file = hotpotqa(tmp_path / "dev.json", questions)
    known = asyncio.run(load_evidence(run, EstimateTokenizer(), file))
    assert list(known.of(run.results[0])) == ["Ada keeps the lamp of tower 0."]
    file = hotpotqa(file, ["Another?", *questions[1:]])
    with pytest.raises(ConfigurationError, match="asks something else"):
        asyncio.run(load_evidence(run, EstimateTokenizer(), file))


def hotpotqa(file, questions):
    """A file of HotpotQA's own format with these questions."""
    rows = [
        {
            "_id": f"item-{number:03d}",
            "question": question,
            "answer": f"Gull Rock {number}",
            "type": "bridge",
            "level": "hard",
            "context": [[f"Tower {number}", [f"Ada keeps the lamp of tower {number}.", " Wet."]]],
            "supporting_facts": [[f"Tower {number}", 0]],
        }
        for number, question in enumerate(questions)
    ]
    file.write_text(json.dumps(rows))
    return file
