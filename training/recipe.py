"""The recipe: every setting of a training, typed, with unknown names refused."""

import re
import tomllib
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from calcinosis.common.errors import TrainingError
from calcinosis.model.calibration import check_prior
from calcinosis.model.labels import LABELS, OTHER, check_labels
from calcinosis.training.fit.augment import Augmentation

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
        method: `probe`, a linear head on the pretrained network as it is; or `finetune`, which first trains
            the stages that are not frozen to name the source labels (some 400 diseases).
        frozen_stages: how many stages of the backbone stay as they were. Their feature maps are computed
            once for each view and kept, so that an epoch is short.
        frozen_blocks: how many blocks of the next stage stay as they were, too.
        C: of the head, a logistic regression (scikit-learn's, on standardised features).
        multi_scale: the head reads every stage from the last frozen one on, each by its mean and by GeM
            pooling, and not the mean of the last stage alone.
        flip_tta: the head reads, and the checkpoint too, the mean over a photo and its mirror image.
        avoid_marks: no view that is trained on shows the mark of its source, so that none tells of a label:
            the stages learn from the largest square without one, and the head from it and the centre crop.
        augmented_views: views kept of each photo for fine-tuning.
        augmentation: how far an augmented view strays from the centre crop.
        unaugmented_share: share of the samples that are no augmented view, but that square or crop.
        epochs, batch_size, learning_rate, weight_decay: of AdamW, with a cosine schedule after a short
            linear warm-up. `head_learning_rate` is that of the layer that names the source labels.
        samples_per_epoch: photos drawn in an epoch.
        label_balance: from 0, where every photo of a source is drawn alike, to 1, where every source label
            is.
        label_smoothing: of the source labels.
        mixup: parameter of the Beta distribution that mixes pairs of photos (Zhang et al. 2018,
            arXiv:1710.09412; Verma et al. 2019, arXiv:1806.05236 for mixing inside the network); 0 for none.
        erased: share of the samples of which a rectangle is erased (Zhong et al. 2020, arXiv:1708.04896).
        dropout: of the features that name the source labels.
        freeze_batch_norm: keep the pretrained batch statistics while fine-tuning.
        ema_decay: decay, per step, of the exponential moving average (EMA) of the weights.
        coverage: of the prediction sets: a number, or a table per label, where labels that it does not name
            have 0.9. What the table asks is refused where a fold's calibration patients are too few for it.
        prior: chances of the labels that the checkpoint's probabilities assume; equal unless given.
        seed: of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    labels: tuple[str, ...] = LABELS
    backbone: str = "package:efficientnet_lite2"
    pretrained: bool = True
    input_size: int | None = Field(default=None, ge=16, le=2048)
    method: Literal["probe", "finetune"] = "finetune"
    frozen_stages: int = Field(default=0, ge=0)
    frozen_blocks: int = Field(default=0, ge=0)
    C: float = Field(default=3e-4, gt=0)
    multi_scale: bool = False
    flip_tta: bool = False
    avoid_marks: bool = False
    augmented_views: int = Field(default=1, ge=0)
    augmentation: Augmentation = Augmentation()
    unaugmented_share: float = Field(default=0.5, ge=0, le=1)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=2)
    samples_per_epoch: int = Field(default=2400, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    head_learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    label_balance: float = Field(default=0.5, ge=0, le=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    erased: float = Field(default=0.0, ge=0, le=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
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
        if self.prior is not None:
            check_prior(self.prior, len(self.labels))
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
    def _features_can_be_read(self) -> "Recipe":
        if self.multi_scale and not self.frozen_stages:
            raise ValueError("multi_scale reads from the last frozen stage on: set frozen_stages")
        if self.flip_tta and not self.frozen_stages:
            raise ValueError("flip_tta keeps the mirror image's feature maps: set frozen_stages")
        return self

    @property
    def coverages(self) -> tuple[float, ...]:
        """Of each label, in their order."""
        if isinstance(self.coverage, dict):
            return tuple(self.coverage.get(label, COVERAGE) for label in self.labels)
        return (self.coverage,) * len(self.labels)

    @property
    def normalised_prior(self) -> tuple[float, ...]:
        """The prior, scaled to sum to 1; equal chances where none is given."""
        prior = self.prior or (1.0,) * len(self.labels)
        return tuple(check_prior(prior, len(self.labels)).tolist())


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
