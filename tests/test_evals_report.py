"""What is said of runs: every number by hand, every text of a model as a text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from rich.console import Console

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.report import as_markdown, as_text, load_runs, report_of
from palimpsest.evals.report.costs import answering_tokens
from palimpsest.evals.report.lines import against_budget, against_cost, against_length
from palimpsest.evals.report.page import as_page
from palimpsest.evals.report.plots import curve_image
from palimpsest.evals.report.summary import memory_kind
from palimpsest.evals.run import CONFIG_FILE, RESULTS_FILE, Scored, load_run
from sample_runs import BUDGETS, LENGTHS, REASONS, SEEDS, config, made_up, sample_runs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return sample_runs(tmp_path_factory.mktemp("runs"), items=7)


@pytest.fixture(scope="module")
def runs(folders):
    return load_runs(folders)


@pytest.fixture(scope="module")
def report(runs):
    return report_of(runs)


@pytest.fixture(scope="module")
def page(report, runs):
    return as_page(report, runs)


def keep(folder, reader, results, **changed):
    """A run folder of these results."""
    folder.mkdir()
    made = config(reader, 20).model_copy(update=changed)
    (folder / CONFIG_FILE).write_text(made.model_dump_json())
    lines = "".join(result.model_dump_json() + "\n" for result in results)
    (folder / RESULTS_FILE).write_text(lines)
    return folder


def result(number, seed=0, *, scores=None, length=8192, reader="memocr", **changed):
    """One with these values of f1 at each budget; failed without them."""
    made = made_up(reader, number, length, seed)
    failed = scores is None
    answers = [
        Scored(budget=budget, prediction="", scores={"f1": score, "exact_match": float(score == 1)})
        for budget, score in zip(BUDGETS, scores or (0.0,) * 4, strict=True)
    ]
    update = {
        "answers": tuple(answers),
        "status": "failed" if failed else "answered",
        "reason": "no room" if failed else "",
        "cost": None if failed else 0.5,
        "prompt": 100,
        "completion": 10,
        **changed,
    }
    return made.model_copy(update=update)


def test_means_are_by_hand_and_a_failure_stays_in_the_denominator(tmp_path):
    made = [result(0, scores=(1, 1, 1, 0)), result(1, scores=(1 / 3, 0, 0, 0)), result(2)]
    run = keep(tmp_path / "run", "memocr", made, seeds=(0,), lengths=(8192,))
    summary = report_of(load_runs([run])).runs[0]
    at_1024 = summary.cells[0]
    assert (at_1024.items, at_1024.readings, at_1024.budget) == (3, 3, 1024)
    assert at_1024.scores["f1"].mean == pytest.approx((1 + 1 / 3) / 3, abs=1e-15)
    assert at_1024.scores["exact_match"].mean == pytest.approx(1 / 3, abs=1e-15)
    assert summary.cells[3].scores["f1"] == (0, 0, 0)
    [spending] = summary.spending
    assert (spending.failed, spending.reasons) == (1, {"no room": 1})
    assert (spending.cost, spending.priced, spending.prompt) == (1.0, 2, 300)
    assert summary.overall == ()


def test_seeds_of_an_item_are_not_taken_for_items(tmp_path):
    alike = [result(n, seed, scores=(n % 2,) * 4) for n in range(6) for seed in range(8)]
    once = [one for one in alike if one.seed == 0]
    many = keep(tmp_path / "many", "memocr", alike, seeds=tuple(range(8)), lengths=(8192,))
    few = keep(tmp_path / "few", "memocr", once, seeds=(0,), lengths=(8192,))
    cells = [run.cells[0] for run in report_of(load_runs([many, few])).runs]
    assert cells[0].scores == cells[1].scores
    assert [(cell.items, cell.readings) for cell in cells] == [(6, 48), (6, 6)]


def test_intervals_do_not_depend_on_which_item_ended_first(tmp_path):
    made = [result(n, scores=(n / 7, n % 2, 1, 0)) for n in range(7)]
    folders = [
        keep(tmp_path / name, "memocr", ended, seeds=(0,), lengths=(8192,))
        for name, ended in (("one", made), ("other", [*made[3:], *made[:3]]))
    ]
    one, other = report_of(load_runs(folders)).runs
    assert one.cells == other.cells


def test_a_budget_without_an_answer_counts_as_wrong(tmp_path):
    lacking = result(0, scores=(1, 1, 1, 1))
    lacking = lacking.model_copy(update={"answers": lacking.answers[:2]})
    made = [lacking, result(1, scores=(1, 1, 1, 1))]
    run = keep(tmp_path / "run", "memocr", made, seeds=(0,), lengths=(8192,))
    cells = report_of(load_runs([run])).runs[0].cells
    assert [cell.scores["f1"].mean for cell in cells] == [1, 1, 0.5, 0.5]


def test_each_item_counts_by_its_own_metric(tmp_path):
    made = [
        result(0, scores=(0.25,) * 4),
        result(1, scores=(1,) * 4, metric="exact_match"),
    ]
    run = keep(tmp_path / "run", "memocr", made, seeds=(0,), lengths=(8192,))
    summary = report_of(load_runs([run])).runs[0]
    assert summary.headline == "headline"
    assert summary.cells[0].scores["headline"].mean == 0.625


def test_what_is_missing_and_capped_is_counted(report, folders, tmp_path):
    for run in report.runs:
        results = load_run(folders[report.runs.index(run)]).results
        for spending in run.spending[:-1]:
            own = [one for one in results if one.length == spending.length]
            assert spending.capped == sum(one.status == "partial" for one in own)
            assert spending.failed == sum(one.status == "failed" for one in own)
            assert spending.missing == 0
    made = [result(n, seed, scores=(1,) * 4) for n in range(3) for seed in SEEDS]
    part = [*made, result(0, scores=(1,) * 4, length=32768)]
    run = keep(tmp_path / "part", "memocr", part, lengths=(*LENGTHS, 131072))
    summary = report_of(load_runs([run])).runs[0]
    assert [spending.missing for spending in summary.spending] == [0, 5, 5]
    assert summary.pending == (131072,)
    assert "nothing is read yet at 131,072" in as_markdown(report_of(load_runs([run])))


def test_a_run_without_results_is_told(tmp_path):
    run = keep(tmp_path / "empty", "memocr", [])
    runs = load_runs([run])
    report = report_of(runs)
    assert report.runs[0].cells == ()
    assert "nothing is read yet" in as_markdown(report)
    assert "</html>" in as_page(report, runs)


def test_runs_are_compared_on_what_they_share(tmp_path):
    mine = [result(n, scores=(1, 1, 1, 1)) for n in (0, 1, 2)]
    theirs = [result(n, scores=(1, 0, 0, 0), reader="memagent") for n in (1, 2, 3)]
    theirs[1] = theirs[1].model_copy(update={"question": "Another?"})
    text = keep(tmp_path / "text", "memagent", theirs, seeds=(0,), lengths=(8192,))
    visual = keep(tmp_path / "visual", "memocr", mine, seeds=(0,), lengths=(8192,))
    [found] = report_of(load_runs([text, visual])).comparisons
    assert (found.run, found.baseline, found.visual_against_text) == ("visual", "text", True)
    assert [one.items for one in found.differences] == [1, 1, 1, 1]
    assert [one.scores["f1"].mean for one in found.differences] == [0, 1, 1, 1]
    assert found.unshared.only_run == ("item-000 at 8,192",)
    assert found.unshared.only_baseline == ("item-003 at 8,192",)
    assert found.unshared.unlike == ("item-002 at 8,192",)
    told = as_markdown(report_of(load_runs([text, visual])))
    assert "visual minus text (visual against text memory)" in told
    assert "1 with another question or other answers: item-002" in told


def test_unequal_numbers_of_seeds_are_paired_by_item(tmp_path):
    mine = [result(0, seed, scores=(value,) * 4) for seed, value in enumerate((1, 0))]
    mine.append(result(1, scores=(1,) * 4))
    theirs = [result(n, scores=(0,) * 4) for n in (0, 1)]
    one = keep(tmp_path / "one", "memocr", theirs, seeds=(0,), lengths=(8192,))
    two = keep(tmp_path / "two", "memocr", mine, lengths=(8192,))
    [found] = report_of(load_runs([one, two])).comparisons
    assert found.differences[0].scores["f1"].mean == 0.75


def test_a_run_without_budgets_is_compared_at_each_of_the_others(tmp_path):
    whole = result(0, scores=(1, 1, 1, 1))
    answer = whole.answers[0].model_copy(update={"budget": None})
    whole = whole.model_copy(update={"answers": (answer,)})
    floor = keep(
        tmp_path / "full", "memocr", [whole], budgets=(None,), lengths=(8192,), seeds=(0,),
        settings={"context_tokens": 6144},
    )  # fmt: skip
    paged = [result(0, scores=(1, 0, 0, 0))]
    visual = keep(tmp_path / "visual", "memocr", paged, lengths=(8192,), seeds=(0,))
    report = report_of(load_runs([floor, visual]))
    [found] = report.comparisons
    assert [one.scores["f1"].mean for one in found.differences] == [0, -1, -1, -1]
    assert "1,024 against whole" in as_markdown(report)
    assert report.runs[0].memory == "none"


def test_runs_of_other_tasks_are_not_compared(folders, tmp_path):
    other = keep(tmp_path / "squad", "memocr", [result(0, scores=(1,) * 4)], task="squad")
    report = report_of(load_runs([*folders, other]))
    assert [(one.run, one.baseline) for one in report.comparisons] == [("memocr", "memagent")]


def test_the_memory_is_known_by_the_reader_at_the_core():
    made = config("memocr", 1)
    wrapped = {"rereads": 2, "base": {"reader": "memocr", **made.settings}}
    assert memory_kind(made.model_copy(update={"settings": wrapped})) == "visual"
    assert memory_kind(config("memagent", 1)) == "text"


def test_labels_are_as_short_as_they_can_be(folders, tmp_path):
    (tmp_path / "b").mkdir()
    again = keep(tmp_path / "b" / "memocr", "memocr", [result(0, scores=(1,) * 4)])
    labels = list(load_runs([folders[1], again]))
    assert labels == [f"{folders[1].parent.name}/memocr", "b/memocr"]
    with pytest.raises(InputError, match="named twice"):
        load_runs([folders[0], folders[0]])
    with pytest.raises(InputError, match="no run is named"):
        load_runs([])


def test_the_json_holds_every_number_unrounded(report):
    told = json.loads(report.model_dump_json())
    cell = told["runs"][0]["cells"][0]
    assert cell["scores"]["f1"] == report.runs[0].cells[0].scores["f1"]._asdict()
    assert told["comparisons"][0]["differences"][0]["p_values"]["f1"] <= 1


def test_categories_are_told_by_budget(report):
    found = {(cell.category, cell.length, cell.budget): cell for cell in report.runs[0].categories}
    assert len(found) == 2 * len(LENGTHS) * len(BUDGETS)
    assert found["bridge", 8192, 64].items == 4
    assert "| bridge | 8,192 | 4 |" in as_markdown(report)


def test_texts_are_no_markup_in_markdown_and_no_commands_in_a_terminal(tmp_path):
    made = [result(n, reason=reason) for n, reason in enumerate(REASONS)]
    run = keep(tmp_path / "run", "memocr", made, lengths=(8192,), seeds=(0,))
    report = report_of(load_runs([run]))
    markdown = as_markdown(report)
    assert "<script" not in markdown
    assert "&lt;script&gt;" in markdown
    row = next(line for line in markdown.split("\n") if "alert" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    console = Console(width=100, highlight=False, markup=False, force_terminal=False)
    with console.capture() as captured:
        as_text(report, console)
    assert "\x1b" not in captured.get()
    assert "\u202e" not in captured.get()
    assert '<script>alert("not run")</script>' in captured.get()


def test_no_number_is_cut_in_a_narrow_terminal(report):
    console = Console(width=40, highlight=False, markup=False, force_terminal=False)
    with console.capture() as captured:
        as_text(report, console)
    lines = [line for line in captured.get().split("\n") if re.match(r" *8,192 +1,024", line)]
    assert len(lines) == 3
    assert all("…" not in line and line.count("[") == 3 for line in lines)


class Elements(HTMLParser):
    """The elements of a page, with the text of its data."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.texts = {}
        self._open = None

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self._open = tag, dict(attributes).get("id")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        self.texts.setdefault(self._open, []).append(data)


def elements(page):
    parser = Elements()
    parser.feed(page)
    return parser


def test_the_page_asks_for_nothing_and_runs_one_script_alone(page):
    parser = elements(page)
    scripts = [attributes for tag, attributes in parser.found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    policy = next(a["content"] for tag, a in parser.found if "http-equiv" in a)
    script = "".join(parser.texts["script", None])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    for tag, attributes in parser.found:
        assert tag not in ("link", "img", "iframe", "object", "base", "foreignobject")
        assert not any(name.startswith("on") for name in attributes)
        assert all(
            attributes.get(name, "#").startswith("#") for name in ("href", "xlink:href", "src")
        )
    assert not re.search(r"url\((?!#)", page)


def test_texts_of_models_and_data_are_texts_on_the_page(tmp_path):
    made = [result(n, reason=reason) for n, reason in enumerate(REASONS)]
    folder = keep(tmp_path / "run", "memocr", made, seeds=(0,), lengths=(8192,))
    runs = load_runs([folder])
    page = as_page(report_of(runs), runs)
    parser = elements(page)
    assert not any(tag == "b" for tag, _ in parser.found)
    data = json.loads("".join(parser.texts["script", "data"]))
    assert data["items"][0]["question"] == made[0].question
    reasons = [one["reason"] for one in data["items"]]
    assert reasons[:2] == list(REASONS[:2])
    assert not re.search("[\x1b\u202e]", page)
    assert reasons[3].endswith("long…")
    assert len(reasons[3]) == 1000
    assert page.count("</script>") == 2
    cells = "".join(text for texts in parser.texts.values() for text in texts)
    assert REASONS[1] in cells


def test_the_pages_plots_take_the_colours_of_its_style_sheet(page):
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) == len(LENGTHS) + 2 * len(BUDGETS)
    assert all("var(--series-1)" in plot and "var(--ink)" in plot for plot in plots)
    assert not any(re.search(r"#0[0-9a-f]{5}\b", plot) for plot in plots)
    ids = re.findall(r'<clipPath id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_is_the_same_every_time(tmp_path):
    made = [result(0, scores=(1,) * 4)]
    runs = load_runs([keep(tmp_path / "run", "memocr", made, seeds=(0,), lengths=(8192,))])
    pages = {as_page(report_of(runs), runs) for _ in range(2)}
    assert len(pages) == 1


def test_lines_go_over_the_budgets_with_what_answering_read(runs, report):
    costs = answering_tokens(runs)
    panels = against_budget(report.runs, costs)
    assert [panel.title for panel in panels] == [
        "hotpotqa, 8,192 tokens",
        "hotpotqa, 32,768 tokens",
    ]
    text, visual = panels[0].lines
    assert (text.memory, visual.memory) == ("text", "visual")
    assert [(point.x, point.cost) for point in visual.points] == [
        (budget, 180 + budget) for budget in BUDGETS
    ]
    assert text.points[0].cost == 180 + 800
    assert text.points[1].score == report.runs[0].cells[1].scores["f1"]
    assert panels[0].y_label == "f1"
    with pytest.raises(InputError, match="no run has the metric 'bleu'"):
        against_budget(report.runs, costs, "bleu")


def test_lines_go_over_the_lengths_and_over_money(report):
    panels = against_length(report.runs, "tokens", "substring")
    assert [panel.title for panel in panels] == [
        f"hotpotqa, budget {budget}" for budget in ("1,024", "256", "64", "16")
    ]
    first = panels[0].lines[0].points[0]
    spending = report.runs[0].spending[0]
    assert first.x == 8192
    assert first.cost == (spending.prompt + spending.completion) / spending.readings
    dear = against_cost(report.runs)
    assert dear[0].x_label == "US dollars a reading"
    assert dear[0].lines[0].points[0].x == spending.cost / spending.priced


def test_contexts_as_given_lie_at_their_mean_length(tmp_path):
    made = [result(n, scores=(1,) * 4, length=8192, source_tokens=n * 100) for n in (10, 20)]
    given = [one.model_copy(update={"length": None}) for one in made]
    run = keep(tmp_path / "run", "memocr", given, lengths=(None,), seeds=(0,))
    panels = against_length(report_of(load_runs([run])).runs)
    assert panels[0].lines[0].points[0].x == 1500
    assert panels[0].lines[0].points[0].name == "as given"


@pytest.mark.parametrize(
    ("image_format", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_curves_are_drawn_and_are_the_same_every_time(runs, report, image_format, begins):
    panels = against_budget(report.runs, answering_tokens(runs))[:1]
    drawn = curve_image(panels, image_format)
    assert drawn.startswith(begins)
    assert curve_image(panels, image_format) == drawn


def test_any_label_can_be_drawn(tmp_path):
    name = "שלום $x_1$ <b> " + "long" * 30
    run = keep(tmp_path / name, "memocr", [result(0, scores=(1,) * 4)], seeds=(0,))
    runs = load_runs([run])
    report = report_of(runs)
    assert curve_image(against_budget(report.runs), "png").startswith(b"\x89PNG")
    assert "&lt;b&gt;" in as_page(report, runs)


def test_without_matplotlib_the_extra_is_named(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match="matplotlib") as caught:
        curve_image(against_budget(report.runs), "png")
    assert "palimpsest-memory[eval]" in caught.value.hint


def test_a_report_imports_no_plots():
    code = (
        "import sys, palimpsest.evals.report, palimpsest.cli.report; "
        "print([m for m in ('matplotlib', 'pyarrow', 'ray', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
