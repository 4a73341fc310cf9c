"""Damaged files through the demo's endpoint: each must end in a finding or in a typed error.

    python benchmarks/fuzz_photos.py --files 5000

Drawn pictures are saved as JPEG, PNG, WebP, HEIC and others, and then bytes are flipped, cut out, doubled,
exchanged or cut short. Prints what came of them, and the slowest; exits with 1 if anything was unexpected.
"""

import argparse
import base64
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from calcinosis.model.heic import can_decode
from calcinosis.model.predictor import Predictor
from calcinosis.page.server import Answers
from PIL import Image

from tests.drawings import draw, encode, write_tiny_checkpoint


def seeds() -> list[bytes]:
    """Whole files of every kind that someone may send."""
    photo = draw("milium", size=(160, 140))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    kinds = (
        encode(photo, "JPEG", quality=85, exif=exif),
        encode(photo, "JPEG", quality=85, progressive=True),
        encode(photo.convert("CMYK"), "JPEG"),
        encode(photo, "PNG", exif=exif),
        encode(photo.convert("P"), "PNG", transparency=0),
        encode(photo.convert("LA"), "PNG"),
        encode(photo, "WEBP", quality=80, exif=exif),
        encode(photo, "WEBP", lossless=True),
        encode(photo, "GIF"),
        encode(photo, "TIFF"),
        b"\0\0\0\x20ftypheic\0\0\0\0mif1heic" + bytes(400),
        *_heic(photo, exif),
    )
    return [bytes(kind) for kind in kinds]


def _heic(photo: Image.Image, exif: Image.Exif) -> list[bytes]:
    """Whole HEIC files, where the plug-in is installed; each is decoded in a process of its own."""
    if not can_decode():
        return []
    from pillow_heif import register_heif_opener

    register_heif_opener()
    photo.info["exif"] = exif.tobytes()
    return [encode(photo, "HEIF", quality=60), encode(photo.convert("RGBA"), "HEIF", quality=60)]


def mutate(content: bytes, chance: random.Random) -> bytes:
    """A damaged copy."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        place = chance.randrange(max(1, len(damaged)))
        match chance.randrange(6):
            case 0:
                damaged[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del damaged[place : place + chance.randrange(1, 64)]
            case 2:
                damaged[place:place] = chance.randbytes(chance.randrange(1, 64))
            case 3:
                damaged[place : place + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff")
                )
            case 4:
                damaged[place:place] = damaged[place : place + chance.randrange(1, 512)]
            case _:
                del damaged[chance.randrange(len(damaged) + 1) :]
    return bytes(damaged)


def fuzz(answers: Answers, files: int, seed: int) -> tuple[Counter[str], float]:
    """What came of damaged files, by outcome or code of the error, and the seconds of the slowest."""
    chance = random.Random(seed)  # noqa: S311 - the same files for the same seed
    whole = seeds()
    ends: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(files):
        sent = base64.b64encode(mutate(chance.choice(whole), chance)).decode()
        started = time.perf_counter()
        answer = answers.finding_v1(sent)
        slowest = max(slowest, time.perf_counter() - started)
        ends[answer["outcome"] if "outcome" in answer else f"error: {answer['error']['code']}"] += 1
    return ends, slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reader = Predictor(write_tiny_checkpoint(Path(folder)))
    ends, slowest = fuzz(Answers(reader, {}, ()), arguments.files, arguments.seed)
    for end, count in ends.most_common():
        print(f"{count:6}  {end}")
    print(f"slowest: {slowest:.2f} s")
    sys.exit(1 if ends["error: unexpected"] else 0)


if __name__ == "__main__":
    main()
