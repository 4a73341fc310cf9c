"""timm: the defaults of its train.py, whose 300 epochs and 3 of warm-up are cut to the budget.

Its batch of 128 is gathered from four of 32, as with `--batch-size 32 --grad-accum-steps 4`: at once it takes 24 GB.
`--channels-last` is an option of train.py as well.
"""

import timm
import torch
from PIL import Image
from timm.data import create_transform
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch.utils.data import DataLoader, Dataset

from calcinosis.benchmarks.baselines.task import read_task

BATCH, GATHERED, EPOCHS, WARM_UP = 32, 4, 300, 3


class Photos(Dataset):
    def __init__(self, items, transform):
        self.items, self.transform = items, transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        path, label = self.items[i]
        return self.transform(Image.open(path).convert("RGB")), label


if __name__ == "__main__":
    task = read_task()
    epochs = task.epochs()
    network = task.start_network().to(memory_format=task.layout)
    settings = timm.data.resolve_data_config({}, model=network)
    for_training = create_transform(
        **settings, is_training=True, color_jitter=0.4, hflip=0.5, scale=(0.08, 1.0)
    )
    for_answering = create_transform(**settings)
    train = Photos([(path, task.labels.index(label)) for path, label in task.train], for_training)
    loader = DataLoader(train, BATCH, shuffle=True, drop_last=True, num_workers=1)
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=epochs,
        warmup_epochs=WARM_UP * epochs // EPOCHS,
        warmup_lr=1e-4,
        min_lr=1e-6,
    )
    loss_of = LabelSmoothingCrossEntropy(0.1)
    for epoch in range(epochs):
        network.train()
        for step, (inputs, labels) in enumerate(loader, 1):
            loss = loss_of(network(inputs.to(memory_format=task.layout)), labels)
            (loss / GATHERED).backward()
            if step % GATHERED == 0 or step == len(loader):
                optimizer.step()
                optimizer.zero_grad()
        schedule.step(epoch + 1)
    network.eval()
    test = DataLoader(Photos([(path, 0) for path in task.test], for_answering), 32, num_workers=1)
    with torch.inference_mode():
        task.answer(torch.cat([network(inputs).softmax(1) for inputs, _ in test]).numpy())
