"""Many visitors at once on the demo: is any photo lost or mixed up, how long does one wait, does memory grow?

    python benchmarks/load_demo.py --users 40 --photos 5000

Serves the demo in a process of its own and asks it, as the page does in a browser and each time as a new visit,
from as many threads as users. Every user has drawn photos that nobody else asks about at that time, and the page
of each finding, with its pictures, is known before, so an answer that went to the wrong visitor is noticed.
Prints the waiting time, the server's memory on the way and the temporary files it left; exits with 1 if
anything was lost, mixed up or left.
"""

import argparse
import hashlib
import io
import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from calcinosis.benchmarks.visitor import Server, Visitor, served
from calcinosis.data.synthetic import draw
from calcinosis.model.config import SHIPPED
from calcinosis.model.labels import LABELS
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from calcinosis.page.findings import Reader, finding


@dataclass
class Load:
    """What became of the photos that visitors sent.

    Attributes:
        waits: seconds until each answer.
        lost: photos without an answer.
        wrong: photos whose answer was another's.
        memories: megabytes of the server, at the start and on the way.
        left: temporary files that it had at the end and not at the start.
    """

    waits: list[float] = field(default_factory=list)
    lost: int = 0
    wrong: int = 0
    memories: list[float] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def known_pages(checkpoint: Path, pictures: int) -> list[tuple[bytes, str]]:
    """Drawn photos, and the digest of what the page must show for each; no two are alike.

    Raises:
        ValueError: if two are.
    """
    reader = Predictor(checkpoint, threads=1, skip_ood_check=True)
    told_with = Reader(reader.config, reader.prior.tolist())
    known = []
    for number in range(pictures):
        content = as_jpeg(draw(LABELS[number % len(LABELS)], number, (640, 480)))
        photo = open_photo(content)
        html = finding(reader.predict_group([photo]), [photo], told_with, "en")
        known.append((content, digest(html)))
    if len({page for _, page in known}) < pictures:
        raise ValueError("two photos have the same finding, pictures and all")
    return known


def load(server: Server, known: list[tuple[bytes, str]], *, users: int, photos: int) -> Load:
    """Let users ask, each for one finding before the next, until all photos are sent."""
    free: queue.SimpleQueue[Visitor] = queue.SimpleQueue()
    for _ in range(users):
        free.put(Visitor(server.address))
    before, seen = server.files(), Load(memories=[server.memory()])

    def visit(job: int) -> tuple[float, str]:
        visitor = free.get()
        started = time.perf_counter()
        try:
            said = digest(visitor.ask([known[job % len(known)][0]]))
        except Exception as error:
            print(f"photo {job} got no finding: {type(error).__name__}: {error}")
            said = ""
        finally:
            free.put(visitor)
        return time.perf_counter() - started, said

    with ThreadPoolExecutor(users) as visitors:
        for job, (wait, said) in enumerate(visitors.map(visit, range(photos))):
            seen.waits.append(wait)
            seen.lost += not said
            seen.wrong += bool(said) and said != known[job % len(known)][1]
            if (job + 1) % max(1, photos // 10) == 0:
                seen.memories.append(server.memory())
    seen.left = sorted({*server.files()} - {*before})
    return seen


def as_jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def digest(html: str) -> str:
    return hashlib.sha256(html.encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=200, help="that differ")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    known = known_pages(arguments.checkpoint, max(arguments.pictures, arguments.users))
    with served(arguments.checkpoint) as server:
        seen = load(server, known, users=arguments.users, photos=arguments.photos)
    p50, p95 = np.percentile(seen.waits, (50, 95))
    print(
        f"{arguments.photos} photos, {arguments.users} users: {seen.lost} lost, {seen.wrong} mixed up"
    )
    print(f"waiting time: p50 {p50:.2f} s, p95 {p95:.2f} s, longest {max(seen.waits):.2f} s")
    print("memory of the server in MB:", " ".join(f"{value:.0f}" for value in seen.memories))
    print(f"temporary files left: {len(seen.left)}", *seen.left)
    sys.exit(1 if seen.lost or seen.wrong or seen.left else 0)


if __name__ == "__main__":
    main()
