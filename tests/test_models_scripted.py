from __future__ import annotations

import ast
import asyncio
import subprocess
import sys

import pytest

import palimpsest.models
from palimpsest.errors import ModelError, TransientError
from palimpsest.models import (
    Completion,
    MeteredModel,
    Model,
    Sampling,
    ScriptedModel,
    Usage,
    user,
)

SAMPLING = Sampling(max_tokens=50)


def ask(model: Model, text: str = "question") -> Completion:
    return asyncio.run(model.complete(user(text), SAMPLING))


def test_a_script_is_followed_in_order_and_calls_are_kept():
    model = ScriptedModel(["one", Completion(text="two", finish_reason="length")])
    assert [ask(model, "a").text, ask(model, "b").finish_reason] == ["one", "length"]
    assert [call.messages for call in model.calls] == [user("a"), user("b")]
    assert model.calls[0].sampling == SAMPLING


def test_a_scripted_exception_is_raised_in_its_turn():
    model = ScriptedModel([TransientError("overloaded"), "after"])
    with pytest.raises(TransientError):
        ask(model)
    assert ask(model).text == "after"


def test_a_function_answers_any_number_of_requests():
    model = ScriptedModel(lambda messages, _: str(messages[0]["content"]).upper())
    assert [ask(model, text).text for text in ("a", "b")] == ["A", "B"]


def test_a_script_that_runs_out_says_so():
    model = ScriptedModel(["one"], name="reader")
    ask(model)
    with pytest.raises(ModelError, match=r"'reader' ran out: this is call 2"):
        ask(model)


def test_usage_is_estimated_from_the_texts():
    small = ask(ScriptedModel(["yes"]), "short").usage
    large = ask(ScriptedModel(["yes"]), "a much longer question " * 20).usage
    assert small.completion == large.completion > 0
    assert large.prompt > small.prompt > 0


def test_a_meter_adds_up_calls_usage_and_failures():
    answer = Completion(text="x", usage=Usage(prompt=10, completion=2, reasoning=1))
    model = MeteredModel(ScriptedModel([answer, ModelError("no"), answer], latency_s=0.01))
    ask(model)
    with pytest.raises(ModelError):
        ask(model)
    ask(model)
    totals = model.totals
    assert (totals.calls, totals.failures) == (3, 1)
    assert totals.usage == Usage(prompt=20, completion=4, reasoning=2)
    assert totals.seconds >= 0.03


def test_every_public_name_is_listed_in_order():
    listed = palimpsest.models.__all__
    with open(palimpsest.models.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    imported = {
        name.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for name in node.names
    }
    assert listed == sorted(listed)
    assert set(listed) == imported


def test_importing_the_models_loads_no_runtime():
    heavy = ("openai", "xllamacpp", "rapidocr", "onnxruntime", "torch", "huggingface_hub")
    script = f"import sys, palimpsest.models; print(*(set({heavy}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
