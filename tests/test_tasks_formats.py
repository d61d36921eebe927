import json
import logging

import pytest

from palimpsest.datasets.item import Passage
from palimpsest.errors import InputError
from task_files import HOTPOT, passages, questions, write

# HotpotQA and 2WikiMultihopQA


def test_hotpotqa_joins_sentences_as_they_are_and_marks_gold(tmp_path):
    (item,) = questions("hotpotqa", write(tmp_path, "dev_distractor.jsonl", [HOTPOT]))

    assert item.documents[0] == Passage(title="Anna", text="Anna is a novel. It is long.")
    assert item.gold == (0, 1)
    # A sentence number past the end of its paragraph gives no evidence.
    assert [(one.document, one.quote) for one in item.evidence] == [
        (1, "He was from Tula."),
        (0, "Anna is a novel."),
    ]
    assert (item.answers, item.metric, item.category) == (("Tula",), "f1", "bridge")


def test_gold_that_the_context_lacks_is_recorded(tmp_path):
    row = HOTPOT | {"supporting_facts": [["Anna", 0], ["Elsewhere", 0]]}
    (item,) = questions("hotpotqa", write(tmp_path, "dev_fullwiki.jsonl", [row]))

    assert item.gold == (0,)
    assert item.details["missing"] == ["Elsewhere"]


def test_2wiki_puts_spaces_between_sentences_and_takes_official_aliases(tmp_path):
    row = HOTPOT | {
        "context": [["Anna", ["Anna is a novel.", "It is long."]], ["Author", ["Tula."]]],
        "answer_id": "Q1",
        "evidences": [["Anna", "author", "Author"]],
    }
    write(tmp_path, "dev.json", [row])
    (tmp_path / "id_aliases.json").write_text(
        '{"Q_id": "Q1", "aliases": ["Tula city"], "demonyms": []}\n{"Q_id": "Q2", "aliases": []}\n'
    )

    (item,) = questions("2wiki", tmp_path)

    assert item.documents[0].text == "Anna is a novel. It is long."
    assert item.answers == ("Tula", "Tula city")
    assert item.details["evidences"] == [["Anna", "author", "Author"]]


def test_2wiki_reads_json_in_strings_as_some_copies_have_it(tmp_path):
    row = HOTPOT | {name: json.dumps(HOTPOT[name]) for name in ("context", "supporting_facts")}
    (item,) = questions("2wiki", write(tmp_path, "dev.json", [row]))

    assert item.gold == (0, 1)


def test_gold_passages_named_by_title_come_from_the_passage_files(tmp_path, caplog):
    asked = {"_id": "p1", "question": "?", "answer": "x", "type": "bridge"}
    rows = [
        asked | {"gold_titles": ["Place 2", "Place 0"]},
        asked | {"_id": "p2", "gold_titles": ["Place 2", "Nowhere"]},
    ]
    file = write(tmp_path, "pool_questions.jsonl", rows)
    with pytest.raises(InputError, match="has no passages"):
        questions("hotpotqa", file)
    write(tmp_path, "pool_passages.jsonl", passages(3))

    with caplog.at_level(logging.WARNING):
        (item,) = questions("hotpotqa:pool", tmp_path)

    assert [document.title for document in item.documents] == ["Place 2", "Place 0"]
    assert item.gold == (0, 1)
    assert "1 questions left out" in caplog.text


def test_rows_of_the_papers_are_taken_apart_into_documents(tmp_path):
    row = {
        "context": (
            "Document 1:\nAnna\nA novel.\nIt says\nDocument 7:\nin it.\n\nDocument 2:\nOne line."
        ),
        "input": "Who?",
        "answers": ["Leo", "Leo"],
        "evidence_idx": [1, 0, 5],
        "type": "bridge",
        "id": "e1",
        "num_docs": 2,
    }
    (item,) = questions("hotpotqa", write(tmp_path, "eval_2.json", [row]))

    assert item.documents == (
        Passage(title="Anna", text="A novel.\nIt says\nDocument 7:\nin it."),
        Passage(title="Document 2", text="One line."),
    )
    assert (item.answers, item.gold, item.question) == (("Leo",), (0, 1), "Who?")


# MuSiQue, NQ, TriviaQA, SQuAD


def test_musique_marks_supporting_paragraphs_and_unanswerable_questions(tmp_path):
    row = {
        "id": "3hop1__1_2_3",
        "question": "Which?",
        "answer": "Rome",
        "answer_aliases": ["Roma"],
        "answerable": True,
        "question_decomposition": [{"question": "a >> b", "answer": "Rome"}],
        "paragraphs": [
            {"idx": 0, "title": "A", "paragraph_text": "a", "is_supporting": False},
            {"idx": 1, "title": "B", "paragraph_text": "b", "is_supporting": True},
        ],
    }
    rows = [row, row | {"id": "2hop__1_2", "answerable": False}]
    first, second = questions("musique", write(tmp_path, "musique_full_v1.0_dev.jsonl", rows))

    assert (first.answers, first.gold, first.category) == (("Rome", "Roma"), (1,), "3hop")
    assert (second.answers, second.metric, second.category) == ((), "abstain", "2hop")


def test_nq_reads_marked_passages_and_whole_pages(tmp_path):
    marked = {
        "question": "who",
        "answers": ["Ann"],
        "ctxs": [
            {"title": "A", "text": "Bob.", "isgold": False, "hasanswer": False},
            {"title": "B", "text": "Ann.", "isgold": True, "hasanswer": True},
        ],
    }
    page = {
        "input": "The Show - wikipedia <P> long",
        "instructions": ["a?", "b?"],
        "outputs": ["1", "2"],
    }
    (item,) = questions(
        "nq", write(tmp_path, "nq-open-10_total_documents_gold_at_4.jsonl", [marked])
    )
    first, second = questions("nq", write(tmp_path, "natural_question.jsonl", [page]))

    assert (item.gold, item.answers) == ((1,), ("Ann",))
    assert first.documents == second.documents
    assert (first.documents[0].title, second.answers) == ("The Show", ("2",))
    assert first.id != second.id


def test_triviaqa_takes_all_aliases_of_the_official_file(tmp_path):
    row = {
        "Question": "Largest planet?",
        "QuestionId": "qw_1",
        "QuestionSource": "http://quiz",
        "Answer": {"Value": "Jupiter", "Aliases": ["Jupiter", "Iuppiter"], "HumanAnswers": ["J."]},
        "EntityPages": [{"Title": "Jupiter", "Filename": "Jupiter.txt"}],
    }
    (item,) = questions("triviaqa", write(tmp_path, "wikipedia-dev.json", {"Data": [row]}))

    assert (item.id, item.answers) == ("qw_1", ("Jupiter", "Iuppiter", "J."))
    assert item.documents == ()


def test_squad_asks_of_a_paragraph_and_may_have_no_answer(tmp_path):
    asked = [
        {"id": "1", "question": "a?", "answers": [{"text": "x"}, {"text": "x"}, {"text": "y"}]},
        {"id": "2", "question": "b?", "answers": [], "is_impossible": True},
    ]
    data = [{"title": "Two_Words", "paragraphs": [{"context": "x y", "qas": asked}]}]
    file = write(tmp_path, "dev-v2.0.json", {"version": "v2.0", "data": data})

    first, second = questions("squad", file)

    assert (first.answers, first.metric, first.gold) == (("x", "y"), "f1", (0,))
    assert (second.answers, second.metric, second.gold) == ((), "abstain", (0,))
    assert first.documents == (Passage(title="Two Words", text="x y"),)
    assert [item.id for item in questions("squad:unanswerable", tmp_path)] == ["2"]


# Dialogues


def test_locomo_reads_sessions_and_finds_its_evidence(tmp_path):
    sample = {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ann",
            "speaker_b": "Bo",
            "session_2_date_time": "2 pm on 3 May, 2023",
            "session_2": [
                {"speaker": "Bo", "dia_id": "D2:1", "text": "I moved.", "blip_caption": "a box"}
            ],
            "session_10_date_time": "1 pm on 9 May, 2023",
            "session_10": [{"speaker": "Ann", "dia_id": "D10:1", "text": "Hello."}],
            "session_11_date_time": "1 pm on 10 May, 2023",
        },
        "qa": [
            {
                "question": "When?",
                "answer": 2023,
                "evidence": ["D10:1; D2:1", "D9:9", "D"],
                "category": 2,
            },
            {"question": "Why?", "adversarial_answer": "rain", "evidence": ["D2:1"], "category": 5},
        ],
    }
    when, why = questions("locomo", write(tmp_path, "locomo10.json", [sample]))

    assert when.documents == (
        Passage(title="Session 2, 2 pm on 3 May, 2023", text="Bo: I moved. [shows a box]"),
        Passage(title="Session 10, 1 pm on 9 May, 2023", text="Ann: Hello."),
    )
    assert (when.answers, when.gold, when.category) == (("2023",), (0, 1), "temporal")
    assert [(one.document, one.quote) for one in when.evidence] == [(1, "Hello."), (0, "I moved.")]
    assert (why.answers, why.metric, why.details) == ((), "abstain", {"trap": "rain"})
    assert [item.id for item in questions("locomo:temporal", tmp_path)] == ["conv-1-0"]


def test_longmemeval_tells_the_date_and_marks_sessions(tmp_path):
    row = {
        "question_id": "q1",
        "question_type": "multi-session",
        "question": "How many?",
        "answer": 3,
        "question_date": "2023/05/30 (Tue) 20:42",
        "haystack_dates": ["2023/05/01", "2023/05/02"],
        "haystack_session_ids": ["s1", "answer_s2"],
        "haystack_sessions": [
            [{"role": "user", "content": "Hi"}],
            [{"role": "user", "content": "Three.", "has_answer": True}],
        ],
        "answer_session_ids": ["answer_s2"],
    }
    rows = [row, row | {"question_id": "q2_abs", "answer": "You did not say."}]
    first, second = questions("longmemeval", write(tmp_path, "longmemeval_s.json", rows))

    assert first.question == "Today is 2023/05/30 (Tue) 20:42. How many?"
    assert first.documents[1] == Passage(title="Session 2, 2023/05/02", text="user: Three.")
    assert (first.answers, first.gold) == (("3",), (1,))
    assert first.evidence[0].quote == "Three."
    assert (second.answers, second.metric) == ((), "abstain")
    assert second.details == {"reference": "You did not say."}


def test_longmemeval_splits_a_flat_conversation_by_its_dates(tmp_path):
    turns = [
        {"role": "user", "content": text, "date": date}
        for text, date in (("a", "1"), ("b", "1"), ("c", "2"))
    ]
    asked = {"id": "abs1", "question": "?", "answer": "No.", "is_abstention": True}
    row = {"id": "x", "question_type": "abstention", "conversation": turns, "questions": [asked]}
    (item,) = questions("longmemeval", write(tmp_path, "abstain.jsonl", [row]))

    assert [document.text for document in item.documents] == ["user: a\n\nuser: b", "user: c"]
    assert (item.metric, item.id) == ("abstain", "x-abs1")


# LongBench, LooGLE


def longbench(dataset, **fields):
    row = {"input": "Who?", "context": "Text.", "answers": ["Ann"], "length": 3, "dataset": dataset}
    return row | {"language": "en", "all_classes": None, "_id": dataset} | fields


def test_longbench_scores_each_subtask_by_its_own_metric(tmp_path, caplog):
    names = ("qasper", "qmsum", "passage_count", "passage_retrieval_en", "trec", "lcc")
    write(tmp_path, "longbench.jsonl", [longbench(name) for name in names])

    with caplog.at_level(logging.WARNING):
        items = questions("longbench", tmp_path)

    assert {item.category: item.metric for item in items} == {
        "qasper": "f1",
        "qmsum": "rouge_l",
        "passage_count": "exact_match",
        "passage_retrieval_en": "substring",
        "trec": "exact_match",
    }
    assert "1 questions of lcc left out" in caplog.text
    assert [item.id for item in questions("longbench:qmsum", tmp_path)] == ["qmsum"]
    with pytest.raises(InputError, match="row 1 is no row of longbench: other is no subtask"):
        questions("longbench", write(tmp_path, "other.jsonl", [longbench("other")]))


def test_longbench_numbers_and_examples_become_documents(tmp_path):
    numbered = "Passage 1:\nAnn\nA poet.\nPassage 2:\nBo\nA painter."
    shot = "Passage:\nJupiter is large.\nQuestion:\nWhat is large?\nAnswer:\n"
    rows = [
        longbench("hotpotqa", context=numbered),
        longbench("passage_count", input="", context="Paragraph 1: one.\n\nParagraph 2: two."),
        longbench("triviaqa", input=shot, context="Passage:\nx\nQuestion:\ny\nAnswer:\nz"),
    ]
    hotpot, counted, trivia = questions("longbench", write(tmp_path, "longbench.jsonl", rows))

    assert [document.title for document in hotpot.documents] == ["Ann", "Bo"]
    assert [document.title for document in counted.documents] == ["Paragraph 1", "Paragraph 2"]
    assert counted.documents[0].text == "one."
    assert trivia.question == "What is large?"
    assert trivia.documents[1].text == "Jupiter is large."


def test_minilongbench_prompts_are_taken_apart(tmp_path):
    do = "Do as told."
    question = (
        f"{do}\n\nStory: It rained.\n\nQuestion: Was it?\n\n{do}\n\nQuestion: Who?\n\nAnswer:"
    )
    abstract = (
        f"{do}\n\nParagraph 1: a\n\nParagraph 2: b\n\nThe following is an abstract.\n\nOf b."
        f"\n\n{do}\n\nIs: "
    )
    counted = f"{do}\n\nParagraph 1: a\n\nParagraph 2: a\n\n{do}\n\nThe answer is: "
    rows = [
        {"task": "narrativeqa", "idx": 0, "prompt": question, "gold": ["Ann"]},
        {"task": "passage_retrieval_en", "idx": 1, "prompt": abstract, "gold": ["Paragraph 2"]},
        {"task": "passage_count", "idx": 2, "prompt": counted, "gold": ["1"]},
    ]
    story, summary, number = questions("longbench", write(tmp_path, "longbench.jsonl", rows))

    assert (story.question, story.documents[0].text) == ("Who?", "It rained.\n\nQuestion: Was it?")
    assert summary.question.endswith("\n\nOf b.")
    assert [document.text for document in summary.documents] == ["a", "b"]
    assert [document.text for document in number.documents] == ["a", "a"]


def test_longbench_v2_writes_the_options_into_the_question(tmp_path):
    row = {
        "_id": "v1",
        "domain": "Code",
        "sub_domain": "Repo",
        "difficulty": "hard",
        "length": "short",
        "question": "Which?",
        **{f"choice_{letter}": f"option {letter.lower()}" for letter in "ABCD"},
        "answer": "C",
        "context": "Long.",
    }
    (item,) = questions("longbench_v2", write(tmp_path, "data.json", [row]))

    assert item.question == "Which?\nA. option a\nB. option b\nC. option c\nD. option d"
    assert (item.answers, item.metric) == (("C", "option c"), "choice")


def test_loogle_reads_questions_out_of_a_literal(tmp_path):
    pairs = [
        {"Q": "How many?", "A": "3", "type": "computation", "S": ["Three came."]},
        {"Q": "Who?", "A": "Ann", "S": "Ann came."},
        {
            "Q": "<mask-0> met <mask-1>.",
            "A": {"<mask-0>": "Ann", "<mask-1>": "Bo"},
            "S": "Ann met Bo.",
        },
    ]
    rows = [
        {"input": "Three came. Ann came.", "title": "T", "qa_pairs": repr(pairs), "output": "None"},
        {"input": "Sum me up.", "title": "U", "qa_pairs": "none", "output": "Sum."},
    ]
    three, ann, cloze = questions("loogle", write(tmp_path, "longdep_qa.jsonl", rows))

    assert (three.category, ann.category, cloze.category) == (
        "computation",
        "shortdep_qa",
        "shortdep_cloze",
    )
    assert (three.evidence[0].quote, ann.evidence[0].quote) == ("Three came.", "Ann came.")
    assert (cloze.answers, cloze.metric, cloze.evidence) == (("Ann", "Bo"), "ruler_all", ())


def test_loogle_evaluates_nothing_but_literals(tmp_path):
    row = {"input": "x", "title": "T", "qa_pairs": "[__import__('os').getcwd()]", "output": ""}

    with pytest.raises(InputError, match="row 1 is no row of loogle: malformed"):
        questions("loogle", write(tmp_path, "longdep_qa.jsonl", [row]))
