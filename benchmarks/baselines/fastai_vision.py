"""fastai: `vision_learner` and `fine_tune`, as in its computer vision tutorial."""

import pandas as pd
from fastai.vision.all import (
    ImageDataLoaders,
    Resize,
    aug_transforms,
    error_rate,
    vision_learner,
)

from calcinosis.benchmarks.baselines.task import ARCHITECTURE, BATCH, SIZE, read_task

task = read_task()
photos = ImageDataLoaders.from_df(
    pd.DataFrame(task.train, columns=["path", "label"]),
    path="/",
    valid_pct=0.2,
    seed=42,
    bs=BATCH,
    num_workers=1,
    item_tfms=Resize(460),
    batch_tfms=aug_transforms(size=SIZE, min_scale=0.75),
)
overlay = {"file": str(task.weights), "url": "", "hf_hub_id": None}
learner = vision_learner(photos, ARCHITECTURE, metrics=error_rate, pretrained_cfg_overlay=overlay)
learner.fine_tune(task.epochs(epochs_apart=1))  # one more epoch goes to the head alone
probabilities, _ = learner.get_preds(dl=photos.test_dl(task.test))
columns = [list(photos.vocab).index(label) for label in task.labels]
task.answer(probabilities[:, columns].numpy())
