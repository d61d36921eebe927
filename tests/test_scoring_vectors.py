"""Every metric and verifier gives the scores of the table, each of known origin."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from palimpsest.evals.scoring import METRICS, VERIFIERS, score

FILE = Path(__file__).parent / "vectors" / "scoring.toml"
VECTORS = tomllib.loads(FILE.read_text(encoding="utf-8"))["vector"]
ORIGINS = {
    "SQuAD", "HotpotQA", "RULER", "LongBench", "LoCoMo", "LongMemEval", "ROUGE",
    "MemAgent", "MemReread", "MemOCR", "hand", "guard",
}  # fmt: skip


@pytest.mark.parametrize(
    "vector", VECTORS, ids=[f"{one['metric']}-{number}" for number, one in enumerate(VECTORS)]
)
def test_a_score_is_what_its_source_says(vector):
    scored = score(vector["metric"], vector["prediction"], vector["answers"])
    assert scored == pytest.approx(vector["expected"], abs=1e-12), vector["source"]


def test_there_are_many_vectors_each_with_its_source():
    assert len(VECTORS) >= 100
    assert {vector["source"].partition(":")[0] for vector in VECTORS} == ORIGINS


def test_every_metric_and_verifier_has_vectors():
    counted = Counter(vector["metric"] for vector in VECTORS)
    assert set(counted) == {*METRICS, *VERIFIERS}
    assert min(counted.values()) >= 3


def test_every_metric_and_verifier_is_documented():
    documented = (FILE.parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in documented for name in [*METRICS, *VERIFIERS])
