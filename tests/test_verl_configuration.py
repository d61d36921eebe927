"""What a recipe becomes in verl's configuration, against what the papers' scripts say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.training.recipes import known_keys, load_recipe
from palimpsest.training.verl.mapping import OURS, settings
from palimpsest.training.verl.unheld import REFUSED, UNHELD, notes, refuse
from palimpsest.training.verl.version import check_version

RECIPES = Path(__file__).parents[1] / "recipes"
RUN = Path("/runs/mine")

verl = pytest.mark.verl
its_warnings = pytest.mark.filterwarnings("ignore")
"""Those of verl and of what it imports are not ours to mend."""

# What the published training scripts set, in verl's names: MemAgent's for 7B and 14B, MemOCR's
# train.sh, MemReread's train_4B.sh. The comments are the scripts' own words.
ACTOR, ROLLOUT, REF = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "ref"))
COMMON = {
    f"{ACTOR}.optim.lr": 1e-6,  # AdamW, lr 1e-6
    f"{ACTOR}.optim.lr_scheduler_type": "constant",  # constant
    f"{ACTOR}.optim.lr_warmup_steps": 20,  # 20 warm-up steps
    f"{ACTOR}.optim.weight_decay": 0.01,  # wd 0.01
    f"{ACTOR}.optim.betas": [0.9, 0.999],  # betas 0.9/0.999
    f"{ACTOR}.optim.clip_grad": 1.0,  # grad clip 1.0
    f"{ACTOR}.clip_ratio_low": 0.2,  # clip_low 0.2
    f"{ACTOR}.clip_ratio_high": 0.2,  # clip_high 0.20: no clip-higher
    f"{ACTOR}.clip_ratio_c": 3.0,  # dual-clip c = 3.0
    f"{ACTOR}.entropy_coeff": 0.0,  # entropy coefficient 0
    f"{ACTOR}.use_kl_loss": True,  # KL as a term of the loss
    f"{ACTOR}.kl_loss_coef": 0.001,  # coefficient 0.001
    f"{ACTOR}.kl_loss_type": "low_var_kl",  # k3
    f"{ACTOR}.loss_agg_mode": "token-mean",  # token-mean
    f"{ACTOR}.ppo_epochs": 1,  # ppo_epochs 1
    f"{ACTOR}.use_dynamic_bsz": True,  # dynamic batch
    "algorithm.norm_adv_by_std_in_grpo": False,  # no division by the standard deviation
    "algorithm.use_kl_in_reward": False,  # no KL in the reward
    "algorithm.filter_groups.enable": False,  # no dynamic sampling in recurrent mode
    "critic.enable": False,  # no critic
    "actor_rollout_ref.model.enable_gradient_checkpointing": True,  # gradient checkpointing
    "actor_rollout_ref.model.use_remove_padding": True,  # remove-padding
    f"{ROLLOUT}.temperature": 1.0,  # T = 1.0
    "trainer.n_gpus_per_node": 8,  # nodes x 8 GPUs
}
MEMAGENT = {
    f"{ROLLOUT}.n": 16,  # n = 16
    f"{ROLLOUT}.top_p": 1.0,  # top_p 1.0
    f"{ROLLOUT}.gpu_memory_utilization": 0.6,  # vLLM gpu util 0.6
    f"{ROLLOUT}.max_num_batched_tokens": 16384,  # max_num_batched_tokens 16384
    f"{ROLLOUT}.name": "vllm",
    f"{ROLLOUT}.log_prob_max_token_len_per_gpu": 32768,  # 32768 rollout log-prob
    f"{REF}.log_prob_max_token_len_per_gpu": 32768,  # 32768 ref
    f"{ACTOR}.ppo_max_token_len_per_gpu": 16384,  # 16384 tokens/GPU actor
    f"{ACTOR}.fsdp_config.param_offload": True,  # parameters
    f"{ACTOR}.fsdp_config.optimizer_offload": True,  # and optimiser offloaded
    f"{REF}.fsdp_config.param_offload": True,  # ref too
    "data.max_prompt_length": 8192,  # prompt/response 8192/1024: they size the engine
    "data.max_response_length": 1024,
    "trainer.save_freq": 10,  # save every 10
    "trainer.test_freq": 5,  # test every 5
    "trainer.val_before_train": True,  # validation before training
}
PUBLISHED = {
    "memagent": {
        **MEMAGENT,
        "data.train_batch_size": 128,  # 128 prompts
        f"{ACTOR}.ppo_mini_batch_size": 8,  # 8 prompts: 16 updates a step
        f"{ACTOR}.fsdp_config.fsdp_size": 8,  # fsdp_size 8
        f"{ROLLOUT}.tensor_model_parallel_size": 1,  # TP 1
        "trainer.nnodes": 4,  # 4 nodes
    },
    "memagent-14b": {
        **MEMAGENT,
        "data.train_batch_size": 256,  # 256 prompts
        f"{ACTOR}.ppo_mini_batch_size": 16,  # 16 prompts: 16 updates a step
        f"{ACTOR}.fsdp_config.fsdp_size": 16,  # fsdp_size 16
        f"{ROLLOUT}.tensor_model_parallel_size": 2,  # TP 2
        "trainer.nnodes": 16,  # 16 nodes
    },
    "memocr": {
        "data.train_batch_size": 64,  # 64 prompts a step
        f"{ROLLOUT}.n": 16,  # 16 rollouts
        f"{ACTOR}.ppo_mini_batch_size": 16,  # ppo_mini_batch 16 prompts: 4 updates, as it is meant
        f"{ACTOR}.ppo_max_token_len_per_gpu": 16384,  # at most 16,384 tokens/GPU
        f"{ROLLOUT}.log_prob_max_token_len_per_gpu": 32768,  # log-prob 32,768
        f"{REF}.log_prob_max_token_len_per_gpu": 32768,
        f"{ACTOR}.fsdp_config.fsdp_size": 8,  # FSDP size 8
        f"{ACTOR}.fsdp_config.param_offload": False,  # no offload
        f"{ACTOR}.fsdp_config.optimizer_offload": False,
        f"{ROLLOUT}.tensor_model_parallel_size": 1,  # TP 1
        f"{ROLLOUT}.gpu_memory_utilization": 0.5,  # memory fraction 0.5
        f"{ROLLOUT}.top_p": 0.999,  # top_p 0.999
        "trainer.test_freq": 10,  # validation every 10 steps
        "trainer.save_freq": 20,  # checkpoint every 20
        "trainer.total_training_steps": 1000,  # the reported checkpoint is of step 1000
        "trainer.nnodes": 8,  # 8 nodes x 8 H800
    },
    "memreread": {
        "data.train_batch_size": 64,  # batch 64
        f"{ROLLOUT}.n": 4,  # n = 4
        f"{ACTOR}.ppo_mini_batch_size": 16,  # mini 16: 4 updates a step
        f"{ACTOR}.ppo_max_token_len_per_gpu": 20480,  # 20480 tokens/GPU actor
        f"{REF}.log_prob_max_token_len_per_gpu": 40960,  # 40960 ref
        f"{ROLLOUT}.log_prob_max_token_len_per_gpu": 32768,  # 32768 rollout
        f"{ROLLOUT}.max_num_batched_tokens": 20480,  # max_num_batched 20480
        f"{ROLLOUT}.max_num_seqs": 1024,  # max_num_seqs 1024
        "data.max_prompt_length": 10240,  # max_prompt 10240
        "data.max_response_length": 1024,  # response 1024
        "data.apply_chat_template_kwargs": {"enable_thinking": False},  # update_thinking False
        "trainer.save_freq": 10,  # save 10
        "trainer.test_freq": 5,  # test 5
        "trainer.nnodes": 1,  # 1 node x 8 GPUs
    },
}
# Where we do otherwise on purpose: what the script has, what we have, and why.
DEVIATIONS = {
    # The script's held-out questions are answered four times by chance; ours once, by the most
    # probable tokens.
    f"{ROLLOUT}.val_kwargs.n": (4, 1),
    f"{ROLLOUT}.val_kwargs.temperature": (1.0, 0.0),
    # The script's rows come in the order of the file.
    "data.shuffle": (False, True),
    # Probabilities before the update are the sampler's; the script computes them anew.
    "algorithm.rollout_correction.bypass_mode": (False, True),
}
ONE_DEVIATES = {
    # SGLang's package wants another version of openai than ours, so it comes by an image or not.
    "memocr": {f"{ROLLOUT}.name": ("sglang", "vllm")},
    # 0.95 of each GPU for the server leaves the model no room beside it.
    "memreread": {f"{ROLLOUT}.gpu_memory_utilization": (0.95, 0.6)},
}


def recipe_of(name, *overrides, folder="model"):
    given = [f"model.folder={folder}", "data.path=rows.parquet", *overrides]
    return load_recipe(RECIPES / f"{name}.toml", given)


def values_of(recipe):
    return {setting.key: setting.value for setting in settings(recipe, RUN)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_papers_recipe_says_what_its_script_says(name):
    values = values_of(recipe_of(name))
    published = COMMON | PUBLISHED[name]
    assert {key: values[key] for key in published} == published
    ours = {key: own for key, (_, own) in (DEVIATIONS | ONE_DEVIATES.get(name, {})).items()}
    assert {key: values[key] for key in ours} == ours


@verl
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_papers_recipe_composes_with_the_installed_verl(name, tmp_path):
    from omegaconf import OmegaConf

    from palimpsest.training.verl.carried import unpacked
    from palimpsest.training.verl.configuration import compose, write

    recipe = recipe_of(name)
    config = compose(recipe, tmp_path, ray_address="10.0.0.1:6379")
    for setting in settings(recipe, tmp_path):
        kept = OmegaConf.select(config, setting.key)
        plain = OmegaConf.to_container(kept) if OmegaConf.is_config(kept) else kept
        assert plain == setting.value, setting.key
    write(config, tmp_path / "verl.yaml")
    again = OmegaConf.load(tmp_path / "verl.yaml")
    OmegaConf.resolve(again)
    assert unpacked(again) == recipe
    assert again.actor_rollout_ref.rollout.prompt_length == config.data.max_prompt_length
    assert again.ray_kwargs.ray_init.address == "10.0.0.1:6379"


@verl
@its_warnings
@pytest.mark.parametrize("name", PUBLISHED)
def test_verl_finds_nothing_wrong_with_a_papers_recipe(name, tmp_path):
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    from palimpsest.training.verl.configuration import compose

    config = compose(recipe_of(name), tmp_path)
    assert need_reference_policy(config)
    assert not need_critic(config)
    validate_config(config, use_reference_policy=True, use_critic=False)
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert (rollout.prompt_length, rollout.response_length) == (
        config.data.max_prompt_length,
        config.data.max_response_length,
    )


def test_every_key_of_a_recipe_is_handed_on_or_told_about():
    full = recipe_of("memagent", "model.lora.rank=8", "model.template.enable_thinking=false")
    handed = {origin for setting in settings(full, RUN) for origin in setting.origins}
    known = {*handed, *OURS, *UNHELD, *REFUSED, "cluster.overrides"}
    keys = set(known_keys())
    leaves = {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
    lost = {
        key for key in leaves if not any(key == one or key.startswith(f"{one}.") for one in known)
    }
    assert lost == set()
    assert {*handed, *OURS, *UNHELD, *REFUSED} <= keys


def mapping_table():
    """The table of docs/scale.md."""
    full = recipe_of("memocr", "model.lora.rank=8", "model.template.enable_thinking=false")
    made = {}
    for setting in settings(full, RUN):
        for origin in setting.origins:
            made.setdefault(origin, []).append(setting.key.replace("actor_rollout_ref.", "a."))
    rows = [f"| `{key}` | {', '.join(f'`{one}`' for one in keys)} |" for key, keys in made.items()]
    return "\n".join(["| recipe | verl (`a.` is `actor_rollout_ref.`) |", "|---|---|", *rows])


def test_the_docs_have_the_mapping_as_it_is():
    text = (RECIPES.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    between = text.partition("<!-- mapping -->\n")[2].partition("\n<!-- end -->")[0]
    assert between == mapping_table()


def test_what_verl_does_not_do_is_named():
    quiet = recipe_of("memagent", "evaluation.every=0", "log.curves=false")
    assert notes(quiet) == ()
    loud = recipe_of(
        "memagent", "sampling.concurrency=8", "sampling.batch_tokens=9", "model.threads=2",
        "log.rollouts=tokens", "sampling.top_p=0.9", "sampling.temperature=0.7",
    )  # fmt: skip
    assert {note.key for note in notes(loud)} == set(UNHELD)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.device=cuda:1", "model.device"),
        ("model.lora.alpha=0.5", "model.lora.alpha"),
        ("optimiser.schedule=linear", "optimiser.schedule"),
        ("warm_start={steps=1, lessons=1}", "warm_start"),
        ("early_stop.patience=3", "early_stop"),
        ("early_stop.target=0", "early_stop"),
        ("batch.updates=99999", "batch.updates"),
    ],
)
def test_what_a_run_cannot_go_without_is_refused(override, key):
    with pytest.raises(ConfigurationError, match=f"verl: {key}: ") as refused:
        refuse(recipe_of("memagent", override))
    assert refused.value.hint


def test_a_tiny_model_is_refused(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text('steps = 1\n[model.tiny]\n[data]\ntask = "toy-echo"\n[reader]\n')
    with pytest.raises(ConfigurationError, match=r"model\.tiny"):
        refuse(load_recipe(file))


def test_none_has_a_number_where_verl_has_no_word_for_it():
    values = values_of(
        recipe_of(
            "memagent", "loss.dual=0", "optimiser.clip_norm=0", "loss.kl=0", "loss.old=recomputed"
        )
    )
    assert values[f"{ACTOR}.clip_ratio_c"] == 1e9
    assert values[f"{ACTOR}.optim.clip_grad"] == 1e9
    assert values[f"{ACTOR}.use_kl_loss"] is False
    assert values["algorithm.rollout_correction.bypass_mode"] is False


def test_adapters_are_the_language_models_alone():
    values = values_of(recipe_of("memocr", "model.lora={rank=32, alpha=64}"))
    assert values["actor_rollout_ref.model.lora_rank"] == 32
    assert values["actor_rollout_ref.model.lora_alpha"] == 64
    assert "q_proj" in values["actor_rollout_ref.model.target_modules"]
    assert values["actor_rollout_ref.model.exclude_modules"] == ".*visual.*"


def test_keys_of_verls_own_come_last_in_one_piece_or_nested():
    recipe = recipe_of(
        "memagent",
        'cluster.overrides={"trainer.nnodes"=1, actor_rollout_ref={actor={strategy="fsdp"}}, '
        '"+ray_kwargs.extra"=3}',
    )
    made = {setting.key: setting for setting in settings(recipe, RUN)}
    assert made["trainer.nnodes"].value == 1
    assert made[f"{ACTOR}.strategy"].value == "fsdp"
    assert made["ray_kwargs.extra"].text == "+ray_kwargs.extra=3"


@verl
def test_a_key_that_verl_does_not_have_is_named(tmp_path):
    from palimpsest.training.verl.configuration import compose

    with pytest.raises(ConfigurationError, match=r"no key trainer\.nodes \(cluster\.overrides\)"):
        compose(recipe_of("memagent", 'cluster.overrides={"trainer.nodes"=1}'), tmp_path)


@verl
def test_a_dry_run_shows_what_would_run_and_does_nothing(tmp_path, capsys, monkeypatch):
    from palimpsest.cli import main

    monkeypatch.chdir(tmp_path)
    arguments = [
        "train", str(RECIPES / "memocr.toml"), "--engine", "verl", "--dry-run",
        "--set", "model.folder=none", "--set", "data.path=none.parquet",
    ]  # fmt: skip

    def shown(*more):
        with pytest.raises(SystemExit) as exited:
            main([*arguments, *more])
        assert not exited.value.code
        return capsys.readouterr().out

    text = shown()
    assert "servers   64 of vllm, a GPU each" in text
    assert "model     not yet: there is no model in" in text
    assert "trainer.nnodes=8    # cluster.nodes" in text
    assert "python -m verl.trainer.main_ppo --config-path" in text
    told = json.loads(shown("--json"))
    assert told["configuration"]["trainer"]["nnodes"] == 8
    assert [check["ok"] for check in told["checks"]][:2] == [True, False]
    assert {"key": "trainer.nnodes", "value": 8, "recipe": ["cluster.nodes"]} in told["settings"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["0.8.0", "0.9.0", "0.10.0", "0.10.0.dev0", "1.0"])
def test_a_verl_that_does_not_fit_is_refused(version, tmp_path, monkeypatch):
    installed(version, tmp_path, monkeypatch)
    with pytest.raises(ConfigurationError, match=rf"verl {version} is installed.*>=0\.9\.1,<0\.10"):
        check_version()


@pytest.mark.parametrize("version", ["0.9.1", "0.9.7"])
def test_a_verl_that_fits_is_taken(version, tmp_path, monkeypatch):
    installed(version, tmp_path, monkeypatch)
    assert check_version() == version


def installed(version, folder, monkeypatch):
    """As if there were such a verl, before any other one."""
    place = folder / f"verl-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: verl\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_a_model_is_exported_only_from_a_whole_checkpoint(tmp_path):
    from palimpsest.training.verl.exporting import exported

    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    with pytest.raises(InputError, match="no run of verl's"):
        exported(run, out)
    (run / "verl.yaml").write_text("")
    with pytest.raises(InputError, match="no checkpoint of step 4") as refused:
        exported(run, out, step=4)
    assert refused.value.hint == "there are: none"
    actor = run / "checkpoints" / "global_step_4" / "actor"
    actor.mkdir(parents=True)
    (run / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("4")
    with pytest.raises(InputError, match="no whole checkpoint"):
        exported(run, out)
    (actor / "fsdp_config.json").write_text('{"world_size": 2}')
    (actor / "model_world_size_2_rank_0.pt").touch()
    with pytest.raises(InputError, match="lacks 1 of 2 files, such as model_world_size_2_rank_1"):
        exported(run, out)
    out.mkdir()
    (out / "a").touch()
    with pytest.raises(InputError, match="not empty"):
        exported(run, out)


@verl
@its_warnings
def test_an_exported_model_is_the_one_that_was_trained(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from palimpsest.training.tiny import tiny_text, tiny_tokenizer
    from palimpsest.training.verl.exporting import exported

    run = tmp_path / "run"
    actor = run / "checkpoints" / "global_step_4" / "actor"
    actor.mkdir(parents=True)
    (run / "verl.yaml").write_text("")
    (run / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("4")
    tokenizer = tiny_tokenizer()
    model = tiny_text(tokenizer, width=32, layers=1, heads=2)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(actor / "huggingface")
    tokenizer.save_pretrained(actor / "huggingface")
    (actor / "fsdp_config.json").write_text('{"world_size": 1}')
    torch.save(model.state_dict(), actor / "model_world_size_1_rank_0.pt")

    made = exported(run, tmp_path / "out")
    assert made == (tmp_path / "out", 4, None)
    loaded = AutoModelForCausalLM.from_pretrained(made.model)
    assert loaded.dtype == torch.bfloat16
    kept = loaded.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(kept[name], weight.bfloat16()), name
    assert AutoTokenizer.from_pretrained(made.model).get_vocab() == tokenizer.get_vocab()
