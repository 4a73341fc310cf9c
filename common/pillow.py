"""What Pillow raises for a file that is no picture, a broken one, or one too large: one list for all."""

from typing import Final

from PIL import Image

PILLOW_ERRORS: Final[tuple[type[Exception], ...]] = (
    OSError,  # with UnidentifiedImageError
    SyntaxError,
    ValueError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)
"""What Pillow's own fuzz test lets a decoder raise (Tests/oss-fuzz in its repository), and `EOFError`."""
