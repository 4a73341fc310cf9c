"""torchvision: the defaults of references/classification/train.py, whose 90 epochs are cut to the budget."""

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as t

from calcinosis.benchmarks.baselines.task import BATCH, read_task

CROP, RESIZE, EPOCHS, STEP = 224, 256, 90, 30
to_tensor = [t.ToTensor(), t.Normalize((0.5,) * 3, (0.5,) * 3)]  # as the start weights were trained
for_training = t.Compose([t.RandomResizedCrop(CROP), t.RandomHorizontalFlip(), *to_tensor])
for_answering = t.Compose([t.Resize(RESIZE), t.CenterCrop(CROP), *to_tensor])


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
    epochs = task.epochs(size=CROP)
    train = Photos([(path, task.labels.index(label)) for path, label in task.train], for_training)
    loader = DataLoader(train, BATCH, shuffle=True, drop_last=True, num_workers=1)
    network = task.start_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    steps = max(1, epochs * STEP // EPOCHS)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=steps, gamma=0.1)
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in range(epochs):
        network.train()
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss_of(network(inputs), labels).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    test = DataLoader(
        Photos([(path, 0) for path in task.test], for_answering), BATCH, num_workers=1
    )
    with torch.inference_mode():
        task.answer(torch.cat([network(inputs).softmax(1) for inputs, _ in test]).numpy())
