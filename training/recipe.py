"""The recipe: every setting of a training, typed, with unknown names refused."""

import re
import tomllib
from pathlib import Path
from typing import Final, Literal

from calcinosis.common.errors import TrainingError
from calcinosis.model.labels import LABELS, OTHER, check_labels
from calcinosis.training.fit.augment import Augmentation
from calcinosis.training.fit.heads import HeadName, TopHeadName
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

COVERAGE: Final = 0.9
"""Of the prediction sets, for labels of which a recipe says nothing else."""


class Recipe(BaseModel):
    """How a model is made.

    Attributes:
        name: what the checkpoint is called.
        labels: the label set, ending with `other`.
        backbone: as `calcinosis.model.backbones` names it.
        pretrained: begin from the backbone's ImageNet weights.
        input_size: side of the network's input in pixels; the backbone's own unless given.
        method: `probe`, linear heads on frozen features; `finetune`, which begins from a logistic
            regression on them and then trains what is not frozen to name the labels (LP-FT: Kumar et al.
            2022, arXiv:2202.10054); `distil`, which trains it to predict what the teacher says of each view
            instead (Beyer et al. 2022, arXiv:2106.05237), and then fits linear heads to it.
        heads: the linear heads on frozen features, as `calcinosis.training.fit.heads` names them; those and what was
            trained are blended. Training may do without.
        top_heads: of `distil`, those on what was trained: `predicted` reads what it predicts of the teacher,
            `logistic` what it predicts from.
        multi_scale: the heads read each stage from the last frozen one on, and not the last one alone.
        flip_tta: the heads read, and the checkpoint too, the mean over a photo and its mirror image.
        watermark_augmentation: the heads learn each photo a second time, with the mark of its source hidden or, where
            it bears none, with one pasted onto it, so that the mark tells nothing of the label.
        shrinkage: of the covariance of `discriminant`.
        teacher_ridge, teacher_strength: of `distilled` and `predicted`.
        frozen_stages: how many stages of the backbone stay as they were. What they make of each view is
            computed once and kept, so that an epoch is short; with 0, each epoch sees new views.
        views: augmented views kept of each photo, by `kind`.
        plain_share: share of the draws that are no augmented view, but the plain one, its mirror image and
            what has its mark changed, as far as the recipe sees those.
        probe_strength: C of a logistic regression on features (scikit-learn's, on standardised features).
        epochs, batch_size, learning_rate, weight_decay: of AdamW, with a cosine schedule after a short
            linear warm-up. `head_learning_rate` is the linear layer's.
        samples_per_epoch: photos drawn in an epoch.
        condition_share: share of the draws that goes, in equal parts, to the conditions; the rest is
            `other`, half of it look-alikes.
        source_label_weight: weight of a second task, telling the source labels apart (337 conditions
            in the pool), which keeps the features from collapsing onto a few dozen photos; with `distil`, those
            of `other` alone.
        mixup: parameter of the Beta distribution that mixes pairs (Zhang et al. 2018,
            arXiv:1710.09412; Verma et al. 2019, arXiv:1806.05236 for mixing inside); 0 for none.
        label_smoothing: of the second task.
        freeze_batch_norm: keep the batch statistics of the start weights while fine-tuning.
        ema_decay: decay of the running average of the weights, a step.
        coverage: of the prediction sets: a number, or a table per label, where labels that it does not name have
            0.9. What the table asks is refused where a fold's calibration patients are too few for it.
        prior: chances of the labels that the checkpoint's probabilities assume; equal unless given.
        seed: of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    labels: tuple[str, ...] = LABELS
    backbone: str = "package:efficientnet_lite2"
    pretrained: bool = True
    input_size: int | None = Field(default=None, ge=16, le=2048)
    method: Literal["probe", "finetune", "distil"] = "finetune"
    frozen_stages: int = Field(default=0, ge=0)
    views: dict[str, int] = {"target": 16, "lookalike": 3, "distant": 1}
    augmentation: Augmentation = Augmentation()
    plain_share: float = Field(default=0.0, ge=0, le=1)
    heads: tuple[HeadName, ...] = ("logistic",)
    top_heads: tuple[TopHeadName, ...] = Field(default=("predicted",), min_length=1)
    multi_scale: bool = False
    flip_tta: bool = False
    watermark_augmentation: bool = False
    probe_strength: float = Field(default=3e-4, gt=0)
    shrinkage: float = Field(default=0.3, gt=0, le=1)
    teacher_ridge: float = Field(default=1.5, gt=0)
    teacher_strength: float = Field(default=3e-3, gt=0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=2)
    samples_per_epoch: int = Field(default=2400, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    head_learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    condition_share: float = Field(default=0.4, gt=0, lt=1)
    source_label_weight: float = Field(default=0.5, ge=0)
    mixup: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    freeze_batch_norm: bool = True
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    coverage: float | dict[str, float] = COVERAGE
    prior: tuple[float, ...] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _labels_end_with_other(self) -> "Recipe":
        check_labels(self.labels)
        if len(self.labels) < 2 or any(not re.fullmatch(r"[\w-]+", label) for label in self.labels):
            raise ValueError(
                f"labels are a condition or more and {OTHER!r}, of letters, digits, _ and -"
            )
        if self.prior is not None and len(self.prior) != len(self.labels):
            raise ValueError("prior holds one number a label")
        return self

    @model_validator(mode="after")
    def _coverages_are_shares_of_labels(self) -> "Recipe":
        table = self.coverage if isinstance(self.coverage, dict) else {OTHER: self.coverage}
        for label, share in table.items():
            if label not in self.labels or not 0 < share < 1:
                raise ValueError(
                    f"coverage.{label} is no share between 0 and 1 of one of the labels"
                )
        return self

    @model_validator(mode="after")
    def _heads_can_be_fitted(self) -> "Recipe":
        for heads in (self.heads, self.top_heads):
            if len(set(heads)) != len(heads):
                raise ValueError("heads are named once each")
        if self.method == "probe" and not self.heads:
            raise ValueError("a probe has at least one of heads")
        if self.multi_scale and not self.frozen_stages:
            raise ValueError("multi_scale reads from the last frozen stage on: set frozen_stages")
        if self.flip_tta and (self.method == "finetune" or not self.frozen_stages):
            raise ValueError(
                "mirrors is not for finetune: set method to probe or distil, and frozen_stages"
            )
        if self.method == "distil" and not self.frozen_stages:
            raise ValueError("distil asks the teacher about views that are kept: set frozen_stages")
        return self

    @property
    def asks_teacher(self) -> bool:
        """Whether a teacher has a part in it."""
        return self.method == "distil" or "distilled" in self.heads

    @property
    def trainable_stages_see_no_label(self) -> bool:
        """Whether what is trained learns nothing of what the conditions' photos show."""
        return self.method == "distil"

    @property
    def coverages(self) -> tuple[float, ...]:
        """Of each label, in their order."""
        if isinstance(self.coverage, dict):
            return tuple(self.coverage.get(label, COVERAGE) for label in self.labels)
        return (self.coverage,) * len(self.labels)

    @property
    def stated_prior(self) -> tuple[float, ...]:
        """The prior, scaled to sum to 1; equal chances where none is given."""
        prior = self.prior or (1.0,) * len(self.labels)
        return tuple(p / sum(prior) for p in prior)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from TOML.

    Raises:
        TrainingError: `missing_config` or `bad_config`, naming the file and the setting.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise TrainingError(
            "missing_config", "cannot be read; recipes are in training/configs", name=str(path)
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError("bad_config", f"is not TOML: {error}", name=str(path)) from None
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        setting = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise TrainingError("bad_config", f"{setting}: {first['msg']}", name=str(path)) from None
