"""Features of the frozen start network, for the baselines that learn no more than a last layer."""

from collections.abc import Sequence

import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from calcinosis.benchmarks.baselines.task import BATCH, Task


class Photos(Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.transform(Image.open(self.paths[i]).convert("RGB"))


def features(task: Task, paths: Sequence[str]) -> np.ndarray:
    """(paths, channels), of timm's transform for answering."""

    def compute(new: Sequence[str]) -> np.ndarray:
        network = task.start_network(num_classes=0).eval()
        transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
        loader = DataLoader(Photos(new, transform), BATCH, num_workers=1)
        with torch.inference_mode():
            return torch.cat([network(inputs) for inputs in loader]).numpy()

    return task.kept_features(paths, compute)
