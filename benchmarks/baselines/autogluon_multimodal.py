"""AutoGluon: `MultiModalPredictor` with a time limit, around timm's network."""

import json
import tempfile
from pathlib import Path

import pandas as pd
import torch
from autogluon.multimodal import MultiModalPredictor
from safetensors.torch import load_file

from calcinosis.benchmarks.baselines.task import ARCHITECTURE, read_task

if __name__ == "__main__":
    task = read_task()
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder, "start")  # a local network, as AutoGluon writes its own
        start.mkdir()
        weights = load_file(task.weights)
        body = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
        torch.save(body, start / "pytorch_model.bin")
        facts = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 260, 260]}
        facts |= {"architecture": ARCHITECTURE, "num_features": 1280}
        (start / "config.json").write_text(json.dumps(facts))
        predictor = MultiModalPredictor(label="label", path=str(Path(folder, "predictor")))
        predictor.fit(
            pd.DataFrame(task.train, columns=["image", "label"]),
            time_limit=task.clock_seconds_to_learn(),
            hyperparameters={
                "model.names": ["timm_image"],
                "model.timm_image.checkpoint_name": str(start),
                "env.num_gpus": 0,
                "env.num_workers": 1,
            },
        )
        found = predictor.predict_proba(pd.DataFrame({"image": task.test}), as_pandas=True)
    task.answer(found[task.labels].to_numpy())
