import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from palimpsest.datasets.hub import MIRROR, HubName, hub_rows
from palimpsest.errors import InputError
from palimpsest.evals.tasks import find_task

HOTPOT = {
    "id": "h1",
    "question": "Where was the author of Anna born?",
    "answer": "Tula",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": {"title": ["Anna", "Author"], "sent_id": [0, 7]},
    "context": {
        "title": ["Other", "Anna", "Author"],
        "sentences": [["Not it."], ["Anna is a novel.", " It is long."], ["He was from Tula."]],
    },
}
SQUAD = [
    {
        "id": "s1",
        "title": "The_Moon",
        "context": "The Moon orbits Earth.",
        "question": "What does the Moon orbit?",
        "answers": {"text": ["Earth", "Earth"], "answer_start": [16, 16]},
    },
    {
        "id": "s2",
        "title": "The_Moon",
        "context": "The Moon orbits Earth.",
        "question": "Who lives there?",
        "answers": {"text": [], "answer_start": []},
    },
]
TRIVIA = {
    "question": "Which is the largest planet?",
    "question_id": "t1",
    "answer": {"value": "Jupiter", "aliases": ["Jupiter", "Planet Jupiter"]},
    "entity_pages": {"title": ["Saturn"], "wiki_context": ["Saturn has rings."]},
    "search_results": {"title": ["Planets"], "search_context": ["The largest is Jupiter."]},
}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv(MIRROR, str(tmp_path))

    def publish(name, file, rows):
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)

    return publish


def test_a_name_has_a_configuration_and_a_split():
    name = HubName.parse("hub:owner/name.v2@distractor:validation")

    assert name == HubName("owner/name.v2", "distractor", "validation")
    assert str(name) == "hub:owner/name.v2@distractor:validation"
    assert HubName.parse("hub:owner/name") == HubName("owner/name")
    with pytest.raises(InputError, match="names no dataset of the hub"):
        HubName.parse("hub:name")


def test_the_validation_split_is_read_unless_another_is_named(mirror):
    mirror("o/squad", "data/train-00000-of-00001.parquet", SQUAD[:1])
    mirror("o/squad", "data/validation-00000-of-00001.parquet", SQUAD[1:])

    assert [row["id"] for row in hub_rows(HubName("o/squad"))] == ["s2"]
    assert [row["id"] for row in hub_rows(HubName("o/squad", split="train"))] == ["s1"]


def test_the_only_split_needs_no_name(mirror):
    mirror("o/squad", "data/train-00000-of-00001.parquet", SQUAD)

    assert [row["id"] for row in hub_rows(HubName("o/squad"))] == ["s1", "s2"]


def test_a_configuration_is_chosen_by_name(mirror, tmp_path):
    mirror("o/hotpot", "distractor/validation-00000-of-00001.parquet", [HOTPOT])
    mirror("o/hotpot", "fullwiki/validation-00000-of-00001.parquet", [HOTPOT | {"id": "f1"}])
    (tmp_path / "o/hotpot/README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: distractor\n  data_files:\n"
        "  - split: validation\n    path: distractor/validation-*\n"
        "- config_name: fullwiki\n  data_files:\n"
        "  - split: validation\n    path: fullwiki/validation-*\n---\n"
    )

    assert [row["id"] for row in hub_rows(HubName("o/hotpot", "fullwiki"))] == ["f1"]
    with pytest.raises(InputError, match=r"hub:o/hotpot: .*(distractor|onfig)"):
        list(hub_rows(HubName("o/hotpot")))


def test_what_the_mirror_lacks_is_an_input_error(mirror):
    mirror("o/squad", "data/train-00000-of-00001.parquet", SQUAD)

    with pytest.raises(InputError, match="hub:o/none: no folder"):
        list(hub_rows(HubName("o/none")))
    with pytest.raises(InputError, match="hub:o/squad:nosplit"):
        list(hub_rows(HubName("o/squad", split="nosplit")))


def test_hotpotqa_loads_from_columns_of_the_hub(mirror):
    mirror("hotpotqa/hotpot_qa", "data/validation-00000-of-00001.parquet", [HOTPOT])

    (item,) = find_task("hotpotqa").questions("hub:hotpotqa/hotpot_qa")

    assert [document.title for document in item.documents] == ["Other", "Anna", "Author"]
    assert item.documents[1].text == "Anna is a novel. It is long."
    assert item.gold == (1, 2)
    assert [(one.document, one.quote) for one in item.evidence] == [(1, "Anna is a novel.")]
    assert (item.id, item.answers, item.category) == ("h1", ("Tula",), "bridge")


def test_squad_and_triviaqa_load_from_columns_of_the_hub(mirror):
    mirror("rajpurkar/squad_v2", "data/validation-00000-of-00001.parquet", SQUAD)
    mirror("mandarjoshi/trivia_qa", "data/validation-00000-of-00001.parquet", [TRIVIA])

    answerable, impossible = find_task("squad").questions("hub:rajpurkar/squad_v2:validation")
    (trivia,) = find_task("triviaqa").questions("hub:mandarjoshi/trivia_qa")

    assert (answerable.answers, answerable.metric) == (("Earth",), "f1")
    assert (impossible.answers, impossible.metric) == ((), "abstain")
    assert answerable.documents[0].title == "The Moon"
    assert trivia.answers == ("Jupiter", "Planet Jupiter")
    assert [document.title for document in trivia.documents] == ["Saturn", "Planets"]
    assert trivia.gold == (1,)


def test_nq_open_loads_from_columns_of_the_hub(mirror):
    row = {"question": "who wrote it", "answer": ["Ann", "Ann Lee"]}
    mirror("google-research-datasets/nq_open", "data/validation-0.parquet", [row])

    (item,) = find_task("nq").questions("hub:google-research-datasets/nq_open")

    assert (item.answers, item.documents, item.metric) == (("Ann", "Ann Lee"), (), "f1")
