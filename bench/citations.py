"""How well a memory's lines are traced to the sentences they were made from.

    python bench/citations.py --data $PALIMPSEST_DATA [--record calls.sqlite] [--json]

Two kinds of memories over the paragraphs of HotpotQA and 2WikiMultihopQA, whose rows name the
sentences that support their answer:

- oracle: a drafter that writes down the supporting sentences of each chunk, reworded by rule
  (clauses swapped, articles, pronouns and asides dropped, dates in another form), as prose, list
  items under a heading, rows of a table or several in one line, and that carries what it wrote
  along, reworded again now and then;
- drafted: what a model wrote for `memories.py`, answered from that bench's record.

Prints precision and recall of the cited sentences against the supporting ones with 95% bootstrap
intervals over rows; the aligner was developed on the first half of the rows, so the second is
given apart. A model notes more than what supports the answer, so for drafted memories precision
says little; with it come the part of the lines that are supported, and for lines with a name or a
number the part of which the cited sentences (with their paragraph's title) have every number and
half of the names. Answers are cited too (for drafted memories, the accepted answers).

`altered` is the oracle's memories with a number of each line that has one, or else a name, changed
for another of the row: the part of these lines that is still called supported.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.errors import PalimpsestError
from palimpsest.evals import mean_interval
from palimpsest.memory import Answer, MemoryVersion, Reading
from palimpsest.memory.citations import Citation, LineCitation, citations
from palimpsest.memory.words import plain, words_of
from palimpsest.models import RecordedModel, ScriptedModel
from palimpsest.readers import MemAgent, MemOCR
from palimpsest.readers.drafting import Scan
from palimpsest.readers.reader import Session
from palimpsest.sources import Source

FILES = ("hotpotqa/dev_distractor_500.jsonl.gz", "2wikimultihopqa/dev_500.jsonl.gz")
EMBEDDED = "qwen2.5-coder-1.5b-instruct-q4_k_m"
MOST_REWORDED = 0.3
"""How often a line that is carried along is reworded again."""
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_AMERICAN = re.compile(rf"\b({_MONTH}) (\d{{1,2}}), (\d{{4}})\b")
_BRITISH = re.compile(rf"\b(\d{{1,2}}) ({_MONTH}) (\d{{4}})\b")
_ASIDE = re.compile(r"\s*\((?![^)]*\d{4})[^()]*\)")
_ARTICLES = re.compile(r"\b(?:the|a|an|The|A|An)\s+")
_SUBJECT = re.compile(r"^(?:He|She|It|They) ")

Row = dict[str, Any]
Rule = Callable[[str, str], str]


class Place(NamedTuple):
    """One sentence of a row: characters of the source's text."""

    start: int
    end: int


@dataclass(frozen=True)
class Item:
    """A row as a source, with the places of its sentences."""

    question: str
    answer: str
    source: Source
    sentences: dict[tuple[str, int], Place]
    gold: frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Score:
    precision: float
    recall: float
    answer_precision: float
    answer_recall: float
    supported: float
    correct: float
    lines: int


class Altered(NamedTuple):
    """Of one row's lines that were made false, the part that is still called supported."""

    numbers: float | None
    names: float | None


def main() -> None:
    options = _options()
    started = time.monotonic()
    rows = list(_rows(options.data, options.rows))
    scores = [_scored(item, _oracle(item, number)) for number, item in enumerate(rows)]
    half = len(scores) // 2
    groups = {"oracle": scores, "oracle, first half": scores[:half],
              "oracle, second half": scores[half:]}  # fmt: skip
    if options.record:
        groups["drafted"] = list(_drafted(options))
    summary = {name: _summary(group) for name, group in groups.items()}
    altered = _altered_summary([_altered(item, number) for number, item in enumerate(rows)])
    if options.json:
        print(json.dumps({**summary, "altered": altered}, indent=1))
    else:
        print(_table(summary))
        for what, interval in altered.items():
            mean, low, high = interval.values()
            print(f"\naltered {what} still supported: {mean:.3f} [{low:.3f}, {high:.3f}]")
        print(f"\n{time.monotonic() - started:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PALIMPSEST_DATA"))
    parser.add_argument("--rows", type=int, default=200, help="half of each set")
    parser.add_argument("--record", type=Path, help="calls.sqlite of memories.py")
    parser.add_argument("--drafted", type=int, default=50, help="memories to take from it")
    parser.add_argument("--model", default=EMBEDDED, help="name of the model that was recorded")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of benchmark rows: --data or PALIMPSEST_DATA")
    options.data = Path(options.data)
    return options


def _rows(data: Path, count: int) -> Iterator[Item]:
    """Rows of both sets by turns."""
    files = [_read(data / file) for file in FILES]
    pairs = zip(*files, strict=False)
    yield from islice((_item(row) for pair in pairs for row in pair), count)


def _read(file: Path) -> Iterator[Row]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _item(row: Row) -> Item:
    documents = [
        (title, " ".join(sentence.strip() for sentence in sentences))
        for title, sentences in row["context"]
    ]
    return _placed(row, Source.from_documents(documents))


def _single(row: Row) -> Item:
    """The same as one text, as `memories.py` gives it to the model."""
    paragraphs = (f"{title}\n{''.join(sentences)}" for title, sentences in row["context"])
    return _placed(row, Source.from_text("\n\n".join(paragraphs)))


def _placed(row: Row, source: Source) -> Item:
    places: dict[tuple[str, int], Place] = {}
    at = 0
    for title, sentences in row["context"]:
        for number, sentence in enumerate(map(str.strip, sentences)):
            if sentence and (begin := source.text.find(sentence, at)) >= 0:
                at = begin + len(sentence)
                places.setdefault((title, number), Place(begin, at))
    gold = frozenset((title, number) for title, number in row["supporting_facts"])
    return Item(row["question"], row["answer"], source, places, gold & places.keys())


def _oracle(item: Item, number: int) -> Reading:
    return asyncio.run(_read_by_oracle(item, random.Random(number)))


async def _read_by_oracle(item: Item, chance: random.Random) -> Reading:
    reader = MemAgent(chunk_tokens=400, memory_tokens=8000)
    begun = await reader.begin(item.source, item.question, ScriptedModel([]))
    drafts: list[str] = []
    facts: list[tuple[str, str]] = []
    for span in begun.header.chunks:
        facts = [
            (title, _reworded(title, text, chance) if chance.random() < MOST_REWORDED else text)
            for title, text in facts
        ]
        for key in sorted(item.gold):
            place = item.sentences[key]
            if span.start <= place.start < span.end:
                sentence = item.source.text[place.start : place.end]
                facts.append((key[0], _reworded(key[0], sentence, chance)))
        drafts.append(_memory(facts, chance) or "Nothing yet.")
    model = ScriptedModel([*drafts, rf"\boxed{{{item.answer}}}"])
    reading = await reader.read(item.source, item.question, model)
    reading.raise_for_status()
    return reading


def _altered(item: Item, number: int) -> Altered:
    """The oracle's last memory, each line made false by one number or one name."""
    reading = _oracle(item, number)
    last = reading.memories[-1]
    titles = [document.name for document in item.source.documents]
    shares = []
    for change in (_with_other_number, _with_other_name):
        lines = last.text.splitlines()
        false = {at: change(line, titles) for at, line in enumerate(lines)}
        false = {at: line for at, line in false.items() if line != lines[at]}
        text = "\n".join(false.get(at, line) for at, line in enumerate(lines))
        version = last.model_copy(update={"text": text})
        records = [version if isinstance(one, MemoryVersion) and one is last else one
                   for one in reading.records]  # fmt: skip
        cited = citations(Reading(reading.opening, records), item.source)
        found = [line.supported for line in cited.lines
                 if line.line in false and not line.label]  # fmt: skip
        shares.append(_mean(found) if found else None)
    return Altered(*shares)


def _with_other_number(line: str, _: Sequence[str]) -> str:
    return re.sub(r"\b\d{2,4}\b", lambda found: str(int(found[0]) + 7), line, count=1)


def _with_other_name(line: str, titles: Sequence[str]) -> str:
    """The title that the line is about for another one of the row."""
    for title in sorted(titles, key=len, reverse=True):
        if title in line:
            return line.replace(title, titles[titles.index(title) - 1])
    return line


def _altered_summary(shares: Sequence[Altered]) -> dict[str, dict[str, float]]:
    return {
        "numbers": mean_interval(
            [one.numbers for one in shares if one.numbers is not None]
        )._asdict(),
        "names": mean_interval([one.names for one in shares if one.names is not None])._asdict(),
    }


def _reworded(title: str, sentence: str, chance: random.Random) -> str:
    rules: tuple[Rule, ...] = (_swapped, _without_articles, _named, _other_dates, _without_asides)
    for rule in chance.sample(rules, k=chance.randint(1, 3)):
        sentence = rule(title, sentence)
    return sentence


def _swapped(_: str, sentence: str) -> str:
    """The part before the first comma after the rest."""
    first, comma, rest = sentence.rstrip(".").partition(", ")
    balanced = first.count("(") == first.count(")")
    return f"{rest}, {first}." if comma and balanced and len(rest) > len(first) else sentence


def _without_articles(_: str, sentence: str) -> str:
    return _ARTICLES.sub("", sentence)


def _named(title: str, sentence: str) -> str:
    """The title in the pronoun's place."""
    return _SUBJECT.sub(f"{title} ", sentence)


def _other_dates(_: str, sentence: str) -> str:
    if _AMERICAN.search(sentence):
        return _AMERICAN.sub(r"\2 \1 \3", sentence)
    months = _MONTH.split("|")
    return _BRITISH.sub(
        lambda date: f"{date[3]}-{months.index(date[2]) + 1:02d}-{int(date[1]):02d}", sentence
    )


def _without_asides(_: str, sentence: str) -> str:
    return _ASIDE.sub("", sentence)


def _memory(facts: Sequence[tuple[str, str]], chance: random.Random) -> str:
    """Notes in one of four forms."""
    form = chance.choice(("prose", "items", "table", "joined"))
    if not facts:
        return ""
    if form == "prose":
        return "\n".join(text for _, text in facts)
    if form == "table":
        rows = (f"| {title} | {text.replace('|', '/')} |" for title, text in facts)
        return "\n".join(("| of | what is said |", "|---|---|", *rows))
    titles = list(dict.fromkeys(title for title, _ in facts))
    if form == "joined":
        return "\n".join(
            f"- **{one}**: {' '.join(text for title, text in facts if title == one)}"
            for one in titles
        )
    return "\n\n".join(
        "\n".join((f"# {one}", *(f"- {text}" for title, text in facts if title == one)))
        for one in titles
    )


def _drafted(options: argparse.Namespace) -> Iterator[Score]:
    model = RecordedModel(None, options.record, "replay", name=options.model)
    reader = MemOCR(order="section_first", chunk_tokens=1024, memory_tokens=192)
    found = 0
    for row in _read(options.data / FILES[0]):
        item = _single(row)
        try:
            reading = asyncio.run(_draft(item, reader, model))
        except PalimpsestError:
            continue
        if reading.memory:
            yield _scored(item, reading)
            found += 1
        if found == options.drafted:
            return


async def _draft(item: Item, reader: MemOCR, model: RecordedModel) -> Reading:
    reading = await reader.begin(item.source, item.question, model)
    await reader.draft(Session(item.source, model, reading, None), Scan(item.question))
    reading.add(Answer(question=0, text=item.answer, boxed=True))
    return reading


def _scored(item: Item, reading: Reading) -> Score:
    cited = citations(reading, item.source)
    facts = [line for line in cited.lines if not line.label]
    checked = [_is_correct(line, item) for line in facts if line.supported and _telling(line)]
    precision, recall = _against_gold(item, (line.spans for line in cited.lines))
    of_answer = _against_gold(item, (answer.spans for answer in cited.answers))
    return Score(
        precision, recall, *of_answer,
        supported=_mean([line.supported for line in facts]),
        correct=_mean(checked),
        lines=len(facts),
    )  # fmt: skip


def _against_gold(item: Item, spans: Iterable[Sequence[Citation]]) -> tuple[float, float]:
    """Precision and recall; nothing cited is of no precision."""
    cited = {
        key
        for one in (span for several in spans for span in several)
        for key, place in item.sentences.items()
        if _same(item.source, one, place)
    }
    right = len(cited & item.gold)
    return right / max(1, len(cited)), right / max(1, len(item.gold))


def _same(source: Source, citation: Citation, place: Place) -> bool:
    """Whether half of the shorter is in both."""
    for location in source.locate(place.start, place.end):
        if location.document == citation.document:
            common = min(location.end, citation.end) - max(location.start, citation.start)
            shorter = min(location.end - location.start, citation.end - citation.start)
            return common * 2 > shorter
    return False


def _telling(line: LineCitation) -> bool:
    words = words_of(plain(line.text))
    return bool(words.names or words.numbers)


def _is_correct(line: LineCitation, item: Item) -> bool:
    """Whether the cited sentences, with the titles of their paragraphs, have every number of a
    line and half of its names."""
    words = words_of(plain(line.text))
    have = set()
    for span in line.spans:
        text = next(one.text for one in item.source.documents if one.name == span.document)
        opening = text.rfind("\n\n", 0, span.start) + 1
        title = text[opening:].strip().partition("\n")[0]
        have.update(words_of(f"{span.document} {title} {span.quote}").all)
    names = words.names - words.numbers
    return words.numbers <= have and len(names & have) * 2 >= len(names)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0


def _summary(scores: Sequence[Score]) -> dict[str, Any]:
    names = ("precision", "recall", "answer_precision", "answer_recall", "supported", "correct")
    means = {name: mean_interval([getattr(one, name) for one in scores]) for name in names}
    return {
        "rows": len(scores),
        "lines": sum(one.lines for one in scores),
        **{name: interval._asdict() for name, interval in means.items()},
    }


def _table(summary: dict[str, dict[str, Any]]) -> str:
    columns = ("precision", "recall", "answer_precision", "answer_recall", "supported", "correct")
    lines = [
        f"| memories | rows | lines | {' | '.join(one.replace('_', ' ') for one in columns)} |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for name, row in summary.items():
        cells = [
            f"{row[one]['mean']:.3f} [{row[one]['low']:.3f}, {row[one]['high']:.3f}]"
            for one in columns
        ]
        lines.append(f"| {name} | {row['rows']} | {row['lines']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
