"""From a photo to the network's input: the one transform that training and serving share."""

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class Preprocessing(BaseModel):
    """How a photo becomes a tensor; a checkpoint carries the one its network was trained with.

    Attributes:
        size: side of the square input, in pixels.
        crop: share of the shorter side that the centred square covers.
        mean, std: of each channel, for values between 0 and 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: int = Field(default=260, ge=16, le=2048)
    crop: float = Field(default=1.0, gt=0, le=1)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a photo that the network sees: left, upper, right, lower, in pixels."""
        side = self.crop * min(width, height)
        left, upper = (width - side) / 2, (height - side) / 2
        return left, upper, left + side, upper + side

    def crop_and_resize(self, photo: Image.Image) -> Image.Image:
        """The centred square, `size` pixels wide (bicubic, antialiased)."""
        return photo.resize(
            (self.size, self.size), Image.Resampling.BICUBIC, box=self.box(*photo.size)
        )

    def normalise(self, square: Image.Image) -> torch.Tensor:
        """A float tensor (3, height, width) of an RGB picture, normalised per channel."""
        pixels = np.asarray(square, dtype=np.float32) / 255
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        normalised = (pixels - mean) / std
        return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))

    def __call__(self, photo: Image.Image) -> torch.Tensor:
        """The network's input, a float tensor (3, size, size), for an RGB photo."""
        return self.normalise(self.crop_and_resize(photo))
