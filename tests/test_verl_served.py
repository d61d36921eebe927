"""Agents against verl's servers: tokens in, tokens out, and what may go wrong on the way."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from types import SimpleNamespace

import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.datasets.item import Item, Passage
from palimpsest.errors import InputError, ModelError, TransientError, WindowError
from palimpsest.models.model import Sampling, user
from palimpsest.sources.tokens import EstimateTokenizer
from palimpsest.training.agents import Outcome, roll_out
from palimpsest.training.encoding import Encoder
from palimpsest.training.families import Eyes, Family
from palimpsest.training.recipe import Recipe
from palimpsest.training.recorder import Recorder
from palimpsest.training.tiny import tiny_tokenizer
from palimpsest.training.verl.rows import Rows, item_file, write_items, write_questions
from palimpsest.training.verl.served import ServedModel, encoder_of

TOKENIZER = tiny_tokenizer()
END = TOKENIZER.eos_token_id
ASKED = {"top_k": -1, "repetition_penalty": 1.0, "temperature": 0.3, "logprobs": False}
WARM = Sampling(max_tokens=8, temperature=1.0, seed=7)


class Server:
    """Answers with given texts and keeps the calls."""

    def __init__(self, *texts, **changes):
        self.calls = []
        self._texts = iter(texts)
        self._changes = changes

    async def generate(self, request_id, *, prompt_ids, sampling_params, image_data=None):
        text = next(self._texts)
        self.calls.append(SimpleNamespace(**{k: v for k, v in locals().items() if k != "self"}))
        ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
        told = {
            "token_ids": ids,
            "log_probs": [-0.25] * len(ids),
            "stop_reason": "completed",
            "extra_fields": {"global_steps": 4},
        }
        return SimpleNamespace(**told | self._changes)


def encoder(*, seeing=False, window=200):
    image = TOKENIZER.convert_tokens_to_ids("<|image_pad|>")
    eyes = Eyes(14, 2, 2, (0.5,) * 3, (0.5,) * 3, image) if seeing else None
    return Encoder(TOKENIZER, Family("Qwen2", window, eyes), frozenset({END}))


def ask(server, messages, sampling=WARM, **settings):
    model = ServedModel(server, encoder(**settings), ASKED)
    return asyncio.run(model.sample(messages, sampling)), model


def test_what_was_sampled_is_kept_token_by_token():
    server = Server("red<|im_end|>")
    sample, model = ask(server, user("Which?"))
    assert sample.completion.text == "red"
    assert sample.completion.finish_reason == "stop"
    assert sample.completion.token_ids == (*TOKENIZER("red")["input_ids"], END)
    assert sample.completion.logprobs == (-0.25,) * 4
    prompt = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"
    assert TOKENIZER.decode(server.calls[0].prompt_ids) == prompt
    assert sample.prompt_ids == tuple(server.calls[0].prompt_ids)
    assert model.versions == [4]


def test_the_server_is_told_limits_ends_and_what_it_must_not_sample():
    server = Server("red<|im_end|>")
    ask(server, user("Which?"))
    asked = server.calls[0].sampling_params
    assert (asked["temperature"], asked["max_tokens"], asked["logprobs"]) == (1.0, 8, True)
    assert (asked["top_k"], asked["stop_token_ids"]) == (-1, [END])
    banned = {TOKENIZER.decode([token]) for token in asked["logit_bias"]}
    assert {"<|image_pad|>", "<|vision_start|>", "<|im_start|>"} <= banned
    assert "<|im_end|>" not in banned
    assert "seed" not in asked


def test_a_seed_is_told_to_servers_that_take_one():
    server = Server("red<|im_end|>")
    model = ServedModel(server, encoder(), ASKED, seed_key="seed")
    asyncio.run(model.sample(user("Which?"), WARM))
    assert server.calls[0].sampling_params["seed"] == 7


def test_an_answer_of_all_its_tokens_without_an_end_was_cut_off():
    sample, _ = ask(Server("redredre"), user("Which?"))
    assert sample.completion.finish_reason == "length"


def test_images_go_along_as_pixels_with_a_place_for_each_cell():
    file = io.BytesIO()
    Image.new("RGB", (56, 28), (10, 20, 30)).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    server = Server("red<|im_end|>")
    sample, _ = ask(server, user("Which?", url), seeing=True)
    (image,) = server.calls[0].image_data
    assert (image.size, image.getpixel((0, 0))) == ((56, 28), (10, 20, 30))
    assert sample.prompt_ids.count(TOKENIZER.convert_tokens_to_ids("<|image_pad|>")) == 2
    assert sample.images == (file.getvalue(),)


def test_what_goes_on_from_an_answer_goes_on_from_its_tokens():
    server = Server("red<|im_end|>", "blue<|im_end|>")
    model = ServedModel(server, encoder(), ASKED)

    async def talk():
        recorder = Recorder(model, temperature=1.0)
        first = await recorder.complete(user("Which?"), WARM)
        said = [*user("Which?"), {"role": "assistant", "content": first.text}, *user("And now?")]
        await recorder.complete(said, WARM)
        return recorder.conversations()

    (one,) = asyncio.run(talk())
    begun = [*server.calls[0].prompt_ids, *TOKENIZER("red")["input_ids"], END]
    assert server.calls[1].prompt_ids[: len(begun)] == begun
    assert sum(one.mask) == len("red") + len("blue") + 2
    assert server.calls[0].request_id == server.calls[1].request_id


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"stop_reason": "aborted"}, TransientError),
        ({"token_ids": [], "log_probs": []}, TransientError),
        ({"log_probs": None}, ModelError),
        ({"token_ids": [TOKENIZER.convert_tokens_to_ids("<|image_pad|>")] * 4}, ModelError),
    ],
    ids=["aborted", "empty", "no log-probabilities", "banned"],
)
def test_an_answer_that_cannot_be_learnt_from_is_an_error(changes, error):
    with pytest.raises(error):
        ask(Server("red<|im_end|>", **changes), user("Which?"))


def test_a_prompt_over_the_window_is_not_sent():
    server = Server()
    with pytest.raises(WindowError, match="window of 20"):
        ask(server, user("Which of all the words?"), window=20)
    with pytest.raises(InputError):
        ask(server, user("Which?"), Sampling(max_tokens=0))
    assert not server.calls


def test_an_error_of_the_server_costs_its_rollout_and_nothing_else():
    class Gone(Server):
        async def generate(self, request_id, **call):
            raise RuntimeError("the actor died")

    async def agent(item, recorder):
        answer = await recorder.named("final").complete(user(item.question), WARM)
        return Outcome(recorder.conversations(), {"standard": 1.0}, answer=answer.text)

    item = Item(task="t", id="i", question="Which?", answers=("red",))

    async def both():
        models = [ServedModel(one, encoder(), ASKED) for one in (Gone(), Server("red<|im_end|>"))]
        return [await roll_out(agent, item, model) for model in models]

    lost, kept = asyncio.run(both())
    assert (lost.scores, lost.conversations) == ({"standard": 0.0}, ())
    assert "the actor died" in lost.failure
    assert (kept.scores, kept.answer) == ({"standard": 1.0}, "red")


def test_ends_of_a_model_are_those_of_its_folder(tmp_path):
    from palimpsest.training.tiny import tiny_text

    tiny_text(TOKENIZER).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 5]}))
    assert encoder_of(tmp_path, TOKENIZER, {}).ends == {3, 5, END}


# rows


def items(count):
    return [
        Item(
            task="words",
            id=f"word-{number}",
            question=f"Which word is number {number}?",
            answers=("réd\N{LINE SEPARATOR}",),
            documents=(Passage(title="", text="says red\n" * number),),
        )
        for number in range(count)
    ]


def test_a_row_says_where_its_item_stands(tmp_path):
    written = items(5)
    write_items(written, tmp_path / "train.jsonl")
    rows = Rows([str(tmp_path / "train.jsonl")], max_samples=4)
    assert len(rows) == 4
    row = rows[3]
    assert row["raw_prompt"][0]["content"] == "Which word is number 3?"
    assert row["reward_model"]["ground_truth"] == list(written[3].answers)
    assert item_file(row["item_file"]).item(row["item_place"]) == written[3]
    assert "says red" not in json.dumps(row)


def test_no_question_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no question"):
        write_items([], tmp_path / "train.jsonl")


@pytest.mark.parametrize(("limit", "rows"), [(6, 6), (None, 12)])
def test_the_questions_of_a_recipe_are_written(tmp_path, limit, rows):
    table = {
        "steps": 3,
        "model": {"tiny": {}},
        "data": {"task": "toy-echo"} | ({"limit": limit} if limit else {}),
        "reader": {"name": "memagent"},
        "batch": {"prompts": 2},
        "filter": {"keep": "informative", "refills": 1},
        "evaluation": {"items": 4},
    }
    recipe = Recipe.model_validate(table)
    files = asyncio.run(write_questions(recipe, EstimateTokenizer(), tmp_path))
    assert len(Rows(str(files.training))) == rows
    held_out = Rows(str(files.held_out))
    assert [item_file(row["item_file"]).item(place).id for place, row in enumerate(held_out)] == [
        f"held_out-{number}" for number in range(4)
    ]
