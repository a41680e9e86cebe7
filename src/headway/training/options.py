"""The recipe's `optimization` and `training` sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from headway.errors import did_you_mean
from headway.importing import Choice
from headway.types import Options

OPTIMIZERS = {
    "adamw": "torch.optim.AdamW",
    "adam": "torch.optim.Adam",
    "nadam": "torch.optim.NAdam",
    "radam": "torch.optim.RAdam",
    "adamax": "torch.optim.Adamax",
    "adafactor": "torch.optim.Adafactor",
    "rmsprop": "torch.optim.RMSprop",
    "sgd": "torch.optim.SGD",
}
"""Short name -> class of every optimizer that is known by one."""

ADAM_FAMILY = ("adamw", "adam", "nadam", "radam", "adamax")
"""The optimizers that `adam_beta1`, `adam_beta2` and `adam_epsilon` are for."""

SCHEDULES = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "step",
    "one_cycle",
    "reduce_lr_on_plateau",
)


def _known_or_own(name: str) -> str:
    if name not in SCHEDULES and "." not in name:
        raise ValueError(
            f"there is no such schedule.{did_you_mean(name, SCHEDULES)} Use one of {', '.join(SCHEDULES)}, or the "
            "import path of your own class (my_module.MyClass)"
        )
    return name


Schedule = Annotated[
    str,
    AfterValidator(_known_or_own),
    # Editors offer the names, and let the import path of a class of the user's own pass.
    WithJsonSchema({"anyOf": [{"enum": list(SCHEDULES)}, {"type": "string", "pattern": r"\."}]}),
]

Sampling = Literal["proportional", "square_root"] | Annotated[float, Field(ge=1)]
"""How often each of several tasks has its turn; see `headway.training.loaders.shares`."""

WITHOUT_WARMUP = {
    "constant": "choose constant_with_warmup",
    "reduce_lr_on_plateau": "choose another schedule",
}
"""Schedules that begin at the full learning rate -> what to do where a warm-up is wanted."""


class Distillation(Options):
    """What is learnt from a teacher beside the labels."""

    teacher: str = Field(min_length=1)
    """A finished run of the same task, labels and tokenizer, which answers every batch."""
    temperature: float = Field(2.0, gt=0)
    """Softens both sides; above 1 the teacher's small probabilities count more."""
    alpha: float = Field(0.5, ge=0, le=1)
    """Weight of the distance to the teacher; the loss over the labels gets the rest."""


TaskName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class MultiTask(Options):
    """Further tasks that are learnt at the same time, over the same backbone."""

    tasks: dict[TaskName, dict[str, Any]] = Field(min_length=1)
    """Name -> its `task` and `data` as in a recipe; and, where they differ, its `model` (head, pooling, pooling_layers)
    and its `optimization` (loss, class_weights, label_smoothing_factor). All else is shared."""
    sampling: Sampling = "proportional"
    """How many batches of an epoch each task gets: `proportional` to its rows, `square_root` of them, or a temperature
    T (rows ** (1 / T))."""


class OptimizationOptions(Options):
    """How the weights are moved: loss, optimizer and learning-rate schedule."""

    optimizer: Choice = Choice(name="adamw")
    """What moves the weights: `adamw`, `adam`, `nadam`, `radam`, `adamax`, `adafactor`, `rmsprop`, `sgd`, or the import
    path of your own torch.optim.Optimizer. Options stand beside the name: {name: sgd, momentum: 0.9}."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate."""
    layerwise_lr_decay: float | None = Field(None, gt=0, le=1)
    """Factor of the learning rate from each layer to the one below it: the head and the top layer learn at
    `learning_rate`, the embeddings slowest. Empty: all at the same."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay, in the optimizer's own way (`adamw`: decoupled); biases and normalisation weights are never
    decayed."""
    used_embeddings_only: bool = True
    """Hand the optimizer only the embeddings of words that occur in the training texts. The others have no gradient, so
    the result is the same; with `weight_decay`, `adafactor` or an optimizer of your own all are trained."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the first moment; for the Adam family (`adamw`, `adam`, `nadam`, `radam`, `adamax`)."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the second moment; for the Adam family."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """Term that keeps the division finite; for the Adam family."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradients are scaled down to this L2 norm; 0 leaves them as they are."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches whose gradients are added up before one optimizer step."""
    lr_scheduler_type: Schedule = "linear"
    """Shape of the learning rate over the run, by the names of transformers, plus `step` and `one_cycle`; or the import
    path of your own torch.optim.lr_scheduler.LRScheduler."""
    lr_scheduler_kwargs: dict[str, bool | int | float | str | list[int | float]] = Field(default_factory=dict)
    """Further arguments of the schedule (`num_cycles`, `power`; `step_size` in epochs and `gamma` for `step`)."""
    warmup_ratio: float = Field(0.0, ge=0, lt=1)
    """Share of all optimizer steps over which the learning rate rises from 0."""
    warmup_steps: int = Field(0, ge=0)
    """Optimizer steps over which the learning rate rises from 0; wins over `warmup_ratio` where above 0."""
    loss: Choice | None = None
    """Loss by short name, `{name: focal, gamma: 2.0}`, or import path of your own; empty takes the task's own."""
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """Weight of each label in the loss: `balanced` (rows / (labels x rows of the label)) or label -> weight."""
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1)
    """Share of each target that is spread evenly over all labels."""
    distillation: Distillation | None = None
    """Learn from a trained model, too: {teacher: runs/large, temperature: 2, alpha: 0.5}."""

    @model_validator(mode="after")
    def _sets_what_the_optimizer_has(self) -> OptimizationOptions:
        name = self.optimizer.name
        elsewhere = {"lr": "learning_rate", "weight_decay": "weight_decay"}
        if name in ADAM_FAMILY:
            elsewhere |= {"betas": "adam_beta1 and optimization.adam_beta2", "eps": "adam_epsilon"}
        else:
            own = {"adam_beta1", "adam_beta2", "adam_epsilon"}
            for option in self.model_dump(include=own, exclude_defaults=True):
                raise ValueError(
                    f"{option} is not for the optimizer {name!r}; leave it out, and write options of the optimizer's "
                    "own beside its name"
                )
        for option, place in elsewhere.items():
            if option in self.optimizer.options:
                raise ValueError(f"optimizer does not take {option!r}; set optimization.{place}")
        return self

    @model_validator(mode="after")
    def _warms_up_what_can_rise(self) -> OptimizationOptions:
        name = "warmup_steps" if self.warmup_steps else "warmup_ratio"
        if (self.warmup_steps or self.warmup_ratio) and self.lr_scheduler_type in WITHOUT_WARMUP:
            instead = WITHOUT_WARMUP[self.lr_scheduler_type]
            raise ValueError(
                f"{name} does nothing with lr_scheduler_type {self.lr_scheduler_type!r}; set it to 0, or {instead}"
            )
        return self


class Contrastive(Options):
    """How the backbone learns which texts share a label, before the run itself."""

    num_train_epochs: float = Field(1.0, gt=0)
    """Passes over the pairs."""
    pairs_per_row: int = Field(8, ge=1)
    """Other texts of its label that each row is paired with (`num_iterations` in setfit)."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate; it rises over the first tenth of the steps, and then falls in a line."""
    per_device_train_batch_size: int = Field(32, ge=1)
    """Pairs per batch: a text is told apart from those of other labels in its batch."""


class TrainingOptions(Options):
    """How long and how carefully the run goes on."""

    num_train_epochs: float = Field(3.0, gt=0)
    """Passes over the training rows."""
    max_steps: int = Field(-1, ge=-1)
    """Optimizer steps in all; above 0 it wins over `num_train_epochs`."""
    per_device_train_batch_size: int = Field(32, ge=1)
    """Rows per batch and device in training."""
    per_device_eval_batch_size: int = Field(64, ge=1)
    """Rows of 32 tokens per batch and device in evaluation: batches hold more rows that are shorter and fewer that are
    longer. It never changes a result."""
    group_by_length: bool = True
    """Put rows of similar length in one batch; the order of batches stays random."""
    eval_steps: int | None = Field(None, ge=1)
    """Optimizer steps between two evaluations; empty evaluates after each epoch."""
    max_eval_samples: int | None = Field(None, ge=1)
    """So many rows of validation are scored while training goes on, and of every split before it, for tasks whose
    answers take long (they write texts); always the same rows, drawn at random. After training all are scored. Empty:
    all."""
    save_steps: int = Field(500, ge=1)
    """Optimizer steps between two resume checkpoints; one is also written at each evaluation."""
    logging_steps: int = Field(10, ge=1)
    """Optimizer steps between two logged values of loss and learning rate."""
    gradual_unfreezing: bool = False
    """Train the head and the top layer in the first epoch, and in each further epoch one more layer from the top; the
    embeddings join with the lowest layer."""
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """One run for each seed; more than one gives mean, deviation and interval."""
    metric_for_best_model: str | None = None
    """Validation metric that chooses the best checkpoint (or `loss`); empty takes the task's main metric. Of equal
    scores, the one with the lower loss."""
    early_stopping_patience: int | None = Field(None, ge=1)
    """Evaluations without a better score after which the run ends; empty never stops early."""
    early_stopping_threshold: float = Field(0.0, ge=0)
    """By how much a score must be better to count as better for early stopping."""
    bf16: Literal["auto"] | bool = "auto"
    """Compute in bfloat16 with float32 weights; `auto` does where the processor multiplies bfloat16 in hardware."""
    baselines: bool = True
    """Score the untrained model and simple methods before training."""
    contrastive: Contrastive | None = None
    """For few examples of each label: first tune the backbone to tell texts of different labels apart. `{}` takes the
    defaults of {num_train_epochs: X, pairs_per_row: X, learning_rate: X, per_device_train_batch_size: X}."""
    keep_memory: bool = True
    """On Linux, keep the memory that a step frees for the next one, instead of getting it from the system anew."""
    deterministic: bool = False
    """On CUDA, use deterministic kernels only, so that a resumed run is bit-identical (CPU runs always are)."""

    @model_validator(mode="after")
    def _distinct_seeds(self) -> TrainingOptions:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds holds a seed twice: {list(self.seeds)}")
        return self
