"""Made-up word lists, an essay, questions and books for the tests of generators."""

import random
from itertools import product

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from palimpsest.datasets.item import Passage
from palimpsest.datasets.ruler.resources import Question, Quiz, Resources
from palimpsest.sources import FileTokenizer

_STARTS = ("ba", "co", "du", "fe", "gi", "ho", "ju", "ka", "le", "mi", "no", "pu", "ra", "se")
_ENDS = ("ldor", "mmin", "rnet", "lsa", "nkle", "stur", "vick", "zzen", "ppal", "ggo", "tthi", "bb")


def _sentence(choice, topic):
    verbs = ("counts", "repairs", "remembers", "sells", "paints", "follows")
    things = ("boats", "clocks", "maps", "letters", "bridges", "lamps", "songs")
    return (
        f"The {choice.choice(WORDS)} of {topic} {choice.choice(verbs)} {choice.choice(WORDS)} "
        f"{choice.choice(things)} near the {choice.choice(WORDS)} harbour each winter."
    )


def _prose(seed, sentences, topic):
    choice = random.Random(seed)
    return " ".join(_sentence(choice, topic) for _ in range(sentences))


WORDS = tuple("".join(pair) for pair in product(_STARTS, _ENDS))


def _squad():
    paragraphs, questions = [], []
    for article, part in product(range(40), range(4)):
        place, year = len(paragraphs), f"{1100 + 9 * article + part}"
        text = f"{_prose(place, 3, f'town {article}')} Its mill {part} burned down in {year}."
        paragraphs.append(Passage(title=f"Town {article}", text=text))
        if article < 6 and part == 0:
            asked = f"When did mill {part} of town {article} burn down?"
            questions.append(Question(f"s{article}", asked, (year,), (place,), (place,)))
    return Quiz(tuple(questions), tuple(paragraphs))


def _hotpotqa():
    paragraphs, questions = [], []
    for number in range(6):
        first = len(paragraphs)
        born = f"Painter {number} was born in Harbour{number}."
        river = f"Harbour{number} lies on the river Wend{number}."
        texts = [
            born,
            river,
            *(_prose((number, other).__hash__(), 2, "hills") for other in range(8)),
        ]
        paragraphs += [
            Passage(title=f"Page {number}.{part}", text=text) for part, text in enumerate(texts)
        ]
        questions.append(
            Question(
                f"h{number}",
                f"On which river lies the birthplace of painter {number}?",
                (f"Wend{number}",),
                tuple(range(first, first + 10)),
                (first, first + 1),
                ((first, born), (first + 1, river)),
            )
        )
    return Quiz(tuple(questions), tuple(paragraphs))


RESOURCES = Resources(
    adjectives=WORDS[:90],
    nouns=tuple(f"{word}s" for word in WORDS),
    verbs=WORDS[60:],
    essay="\n".join(_prose(seed, 6, "the old town") for seed in range(150)),
    squad=_squad(),
    hotpotqa=_hotpotqa(),
    passages=tuple(
        Passage(title=f"Island {number}", text=_prose(5000 + number, 4, f"island {number}"))
        for number in range(2500)
    ),
)


def file_tokenizer(folder):
    """An exact tokenizer, trained on the essay."""
    encoder = Tokenizer(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, show_progress=False)
    encoder.train_from_iterator([RESOURCES.essay[:50_000]], trainer)
    encoder.save(str(folder / "tokenizer.json"))
    return FileTokenizer(folder / "tokenizer.json")
