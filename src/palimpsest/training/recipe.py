"""What a training run is made of, as one record: the contents of a recipe file.

    recipe = load_recipe(Path("recipes/memagent.toml"), ["steps=100", "batch.prompts=8"])

Every table of the file is a class here and every key a field, with its unit in its line. What a
recipe leaves out has the value that stands here. Reading files and command lines is `recipes`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
"""0 for none."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TinyModel(_Part):
    """A small model of random weights (`training.tiny`)."""

    family: Literal["qwen2", "qwen3", "qwen2_5_vl", "qwen3_vl"] = "qwen2"
    width: Count = 64
    """Of the hidden states."""
    layers: Count = 2
    heads: Count = 4
    vision_width: Count = 32
    vision_layers: Count = 2
    vision_heads: Count = 2
    patch_px: Count | None = None
    """Side of a patch, a quarter of a cell; default the family's."""
    window: Count = 4096
    """Most tokens of prompt and answer together."""
    deviation: float = Field(0.02, gt=0)
    """Of the random weights; 1 / sqrt(width) learns faster."""
    pieces: tuple[str, ...] = ()
    """Words that are one token each, besides those of the world."""


class Adapters(_Part):
    """LoRA; without this table all weights are trained."""

    rank: Count = 16
    alpha: float = Field(32.0, gt=0)
    """The adapters' output is scaled by alpha / rank."""
    layers: tuple[str, ...] = ()
    """Names of linear layers; all of the language model's where none is named."""


class ModelPart(_Part):
    """What is trained: a folder of Hugging Face's shape, or a tiny model."""

    folder: Path | None = None
    tiny: TinyModel | None = None
    lora: Adapters | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What is computed in. Trained weights are kept in float32."""
    device: str | None = None
    """cuda, cuda:1, cpu; default the first GPU where there is one."""
    threads: Count | None = None
    """Of the processor; default 1 for a tiny model, else as many as PyTorch takes."""
    gradient_checkpointing: bool = False
    """A third slower, in a fraction of the memory."""
    window: Count | None = None
    """Most tokens of prompt and answer together; default the model's own."""
    template: dict[str, Any] = {}
    """Variables of the chat template, such as enable_thinking for Qwen3."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.folder is None) == (self.tiny is None):
            raise ValueError("give either a folder or the shapes of a tiny model")
        return self


class DataPart(_Part):
    """Where questions come from."""

    task: str = ""
    """A benchmark (hotpotqa:train, ruler) or a world (toy-echo); empty for a file of rows."""
    path: Path | None = None
    """The task's folder or file; without a task a file of items or of MemAgent's rows."""
    tokens: Count | None = None
    """Of the contexts; default as the benchmark gives them."""
    limit: Count | None = None
    """Most questions; default all, and in a world without end."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.task and self.path is None:
            raise ValueError("name a task, or the path of a file of rows")
        return self


class ReaderPart(_Part):
    """The reader that is trained, as `palimpsest ask --reader` names it."""

    name: str = "memagent"
    settings: dict[str, Any] = {}
    faithful: bool = False
    """The settings of its paper, under those given here."""
    prompts: Path | None = None
    """A prompt file; default the world's wording, or ours."""


class AgentPart(_Part):
    """Another agent than a reader: any async function of an item and a recorder."""

    path: str = Field(pattern=r"^[\w.]+:\w+$")
    """module:name"""
    settings: dict[str, Any] = {}
    """Where there are any, the name is called with them and gives the agent."""


class RewardPart(_Part):
    """What an answer is worth, 0 to 1."""

    name: str = "strict"
    """Of `training.rewards.REWARDS`, or module:name of a function."""
    workers: CountOrNone = 0
    """Processes for a reward that takes long; 0 for none, in the trainer itself."""
    timeout_s: float = Field(10.0, gt=0)
    """For one answer, with workers."""


class ObjectivesPart(_Part):
    """MemOCR's further tasks; without this table the question alone is asked."""

    weights: dict[str, float] = {"standard": 1.0, "low_budget": 0.7, "cloze": 0.3}
    low_budgets: tuple[Count, ...] = (32,)
    """Visual tokens; one is drawn for each group."""
    gaps: Count = 3


class CreditPart(_Part):
    """How outcomes become advantages (`training.credit`)."""

    kind: Literal["shared", "multi_task", "rea"] = "shared"
    by_std: bool = False
    """Divides by the group's standard deviation, as GRPO does and the papers do not."""
    threshold: Share = 0.9
    """rea: a rollout is right when its reward is over this."""
    efficiency_cap: Annotated[float, Field(ge=0)] | Literal["none"] = 1 / 3
    """rea: how much of its share of correctness few rereads may add to a rollout."""
    state_alpha: Share = 0.0
    """The part of credit by steps; 0 for none."""
    recall: Literal["best", "mean"] = "best"
    """Credit by steps looks at the answer of which most is in the memory, or at all of them."""


class SamplingPart(_Part):
    """How rollouts are sampled."""

    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    concurrency: Count = 64
    """Rollouts at once."""
    batch_tokens: Count = 65_536
    """Most in one batch of answers, padding included."""


class OptimiserPart(_Part):
    """AdamW."""

    learning_rate: float = Field(1e-6, gt=0)
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, ge=0)
    """Of the gradient; 0 for no limit."""
    warmup_steps: CountOrNone = 0
    """Steps over which the learning rate grows from nothing."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How it falls after that, to nothing at the last step."""


class BatchPart(_Part):
    """What a step takes in."""

    prompts: Count = 16
    """Questions, each a group of rollouts."""
    rollouts: Count = 8
    """Of each group."""
    updates: Count = 4
    """Of the weights, however many conversations there are."""
    tokens: Count = 16_384
    """Most in one forward pass, padding included."""


class OverlongPart(_Part):
    """DAPO's soft punishment of long answers; none without this table."""

    limit: Count
    """Tokens of one answer from which on the whole of it counts."""
    margin: CountOrNone
    """Tokens before that over which it grows."""
    factor: float = Field(1.0, gt=0)
    """The most that is taken from the reward."""


class LossPart(_Part):
    """PPO's clipped loss, by tokens."""

    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.2, gt=0)
    dual: float = Field(3.0, ge=0)
    """Bound on the loss at negative advantage, a multiple of it; 0 for none."""
    kl: float = Field(0.0, ge=0)
    """Weight of the distance (k3) to the model that training began with."""
    entropy: float = Field(0.0, ge=0)
    """Weight of the entropy that is rewarded."""
    old: Literal["sampler", "recomputed"] = "sampler"
    """Where the probabilities before the update come from: as they were sampled, or computed anew
    as the papers' code does."""
    overlong: OverlongPart | None = None


class FilterPart(_Part):
    """DAPO's dynamic sampling: groups without an advantage make way for others."""

    keep: Literal["all", "informative"] = "all"
    refills: CountOrNone = 3
    """Most further rounds of questions in a step."""


class EvaluationPart(_Part):
    """Questions that are held out, asked while training goes on."""

    every: CountOrNone = 10
    """Steps, and before the first and after the last; 0 for never."""
    items: Count = 64
    data: DataPart | None = None
    """Default a part of the training questions, which is not trained on."""
    temperature: float = Field(0.0, ge=0)
    """0 for the most probable answer."""
    top_p: float = Field(1.0, gt=0, le=1)
    repeats: Count = 1
    """Of each question; of use with a temperature only."""


class EarlyStopPart(_Part):
    """When training ends before its last step, by the held-out score."""

    patience: CountOrNone = 0
    """Evaluations without a gain; 0 for no end."""
    gain: float = Field(0.0, ge=0)
    """What counts as one: more than this over the best."""
    target: Share | None = None
    """A score that is enough."""


class CheckpointPart(_Part):
    """What a run that was stopped goes on from."""

    every: Count = 10
    """Steps."""
    keep: Count = 2
    """The last ones; the best by the held-out score stays, too."""


class WarmStartPart(_Part):
    """Imitation before reinforcement."""

    readings: tuple[Path, ...] = ()
    """Folders of readings of the data's questions, such as an evaluation's."""
    runs: tuple[Path, ...] = ()
    """Training runs that logged tokens."""
    lessons: CountOrNone = 0
    """Questions that the world's own teacher shows."""
    lowest_score: Share = 1.0
    """What is worse is not imitated."""
    steps: CountOrNone
    """Updates."""
    conversations: Count = 32
    """In each."""
    learning_rate: float = Field(1e-5, gt=0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.readings or self.runs or self.lessons):
            raise ValueError("name readings, runs, or a number of lessons to learn from")
        return self


class LogPart(_Part):
    """What a run leaves beside log.jsonl."""

    to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ("tensorboard",)
    rollouts: Literal["text", "tokens", "none"] = "text"
    """What was written, step by step; with tokens a warm start can learn from it."""
    curves: bool = True
    """Whether curves.png is drawn."""


class ClusterPart(_Part):
    """The machines of `--engine verl`; the embedded engine takes no notice of them."""

    nodes: Count = 1
    gpus: Count = 8
    """Of each node."""
    shard: CountOrNone = 0
    """GPUs that hold the weights between them, copied to the next so many; 0 for all of them."""
    offload: bool = False
    """Keeps weights and moments in the nodes' memory while the GPUs sample."""
    server: Literal["vllm", "sglang"] = "vllm"
    """What samples."""
    tensor_parallel: Count = 1
    """GPUs of one server."""
    server_memory: float = Field(0.6, gt=0, lt=1)
    """Share of a GPU's memory that a server may take."""
    server_tokens: Count = 16_384
    """Most that a server takes into one pass."""
    server_sequences: Count = 256
    """Most that a server writes at once."""
    prompt_tokens: Count = 8192
    """With answer_tokens the window of a server, where model.window gives none."""
    answer_tokens: Count = 2048
    probability_tokens: Count = 32_768
    """Most on one GPU in a pass that computes probabilities without learning."""
    reference_tokens: Count | None = None
    """The same for the reference of loss.kl; default probability_tokens."""
    overrides: dict[str, Any] = {}
    """Keys of verl's own configuration, over what this recipe makes of them."""


class Recipe(_Part):
    """A whole run."""

    model: ModelPart
    data: DataPart
    reader: ReaderPart | None = None
    agent: AgentPart | None = None
    reward: RewardPart = RewardPart()
    objectives: ObjectivesPart | None = None
    credit: CreditPart = CreditPart()
    sampling: SamplingPart = SamplingPart()
    optimiser: OptimiserPart = OptimiserPart()
    batch: BatchPart = BatchPart()
    loss: LossPart = LossPart()
    filter: FilterPart = FilterPart()
    evaluation: EvaluationPart = EvaluationPart()
    early_stop: EarlyStopPart = EarlyStopPart()
    checkpoints: CheckpointPart = CheckpointPart()
    warm_start: WarmStartPart | None = None
    log: LogPart = LogPart()
    cluster: ClusterPart | None = None
    steps: CountOrNone
    """Of reinforcement; 0 for the warm start alone."""
    seed: int = 0

    @model_validator(mode="after")
    def _one_agent(self) -> Self:
        if (self.reader is None) == (self.agent is None):
            raise ValueError("name either a reader or an agent")
        if not self.steps and self.warm_start is None:
            raise ValueError("with 0 steps and no warm_start there is nothing to do")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """How much each task's score counts."""
        return self.objectives.weights if self.objectives else {"standard": 1.0}
