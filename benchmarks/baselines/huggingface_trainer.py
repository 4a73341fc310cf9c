"""Hugging Face: `Trainer` with the settings of its image classification guide, around timm's network."""

import tempfile

import torch
from PIL import Image
from torchvision import transforms as t
from transformers import (
    DefaultDataCollator,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    Trainer,
    TrainingArguments,
)

from calcinosis.benchmarks.baselines.task import ARCHITECTURE, SIZE, read_task

to_tensor = [t.ToTensor(), t.Normalize((0.5,) * 3, (0.5,) * 3)]
for_training = t.Compose([t.RandomResizedCrop(SIZE), *to_tensor])
for_answering = t.Compose([t.Resize(SIZE), t.CenterCrop(SIZE), *to_tensor])


class Photos(torch.utils.data.Dataset):
    def __init__(self, items, transform):
        self.items, self.transform = items, transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        path, label = self.items[i]
        pixels = self.transform(Image.open(path).convert("RGB"))
        return {"pixel_values": pixels, "labels": label}


if __name__ == "__main__":
    task = read_task()
    config = TimmWrapperConfig(architecture=ARCHITECTURE, num_labels=len(task.labels))
    model = TimmWrapperForImageClassification(config)
    model.timm_model.load_state_dict(task.start_network().state_dict())
    train = Photos([(path, task.labels.index(label)) for path, label in task.train], for_training)
    test = Photos([(path, 0) for path in task.test], for_answering)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            remove_unused_columns=False,
            learning_rate=5e-5,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=4,
            per_device_eval_batch_size=16,
            num_train_epochs=task.epochs(),
            warmup_steps=0.1,  # a share, which transformers 4 called warmup_ratio
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            dataloader_num_workers=1,
        )
        trainer = Trainer(
            model=model, args=settings, data_collator=DefaultDataCollator(), train_dataset=train
        )
        trainer.train()
        logits = trainer.predict(test).predictions
    task.answer(torch.tensor(logits).softmax(1).numpy())
