"""From a photo to the network's input: the one transform that training and serving share."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

if TYPE_CHECKING:  # a photo is read without PyTorch, but where PyTorch is the backend
    import torch


class Preprocessing(BaseModel):
    """How a photo becomes a tensor; a checkpoint carries the one its network was trained with.

    Attributes:
        size: side of the square input, in pixels.
        mean, std: of each channel, for values between 0 and 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: int = Field(default=260, ge=16, le=2048)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The centred square, the part of a photo that the network sees: left, upper, right, lower, in pixels."""
        side = float(min(width, height))
        left, upper = (width - side) / 2, (height - side) / 2
        return left, upper, left + side, upper + side

    def crop_and_resize(self, photo: Image.Image) -> Image.Image:
        """The centred square, `size` pixels wide (bicubic, antialiased)."""
        return photo.resize(
            (self.size, self.size), Image.Resampling.BICUBIC, box=self.box(*photo.size)
        )

    def normalised(self, square: Image.Image) -> NDArray[np.float32]:
        """An array (3, height, width) of an RGB picture, normalised per channel."""
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        # Laid out by channel while a pixel is still a byte: a quarter of what there is to move later.
        pixels = np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1)).astype(np.float32)
        pixels /= 255
        pixels -= mean[:, None, None]
        pixels /= std[:, None, None]
        return pixels

    def array(self, photo: Image.Image) -> NDArray[np.float32]:
        """The network's input (3, size, size) for an RGB photo, as every backend takes it."""
        return self.normalised(self.crop_and_resize(photo))

    def normalise(self, square: Image.Image) -> "torch.Tensor":
        """What `normalised` gives, as a tensor."""
        import torch

        return torch.from_numpy(self.normalised(square))

    def __call__(self, photo: Image.Image) -> "torch.Tensor":
        """What `array` gives, as a tensor: the same transform for training."""
        return self.normalise(self.crop_and_resize(photo))
