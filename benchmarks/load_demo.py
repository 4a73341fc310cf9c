"""Many visitors at once on the demo: is any photo lost or mixed up, how long does one wait, does memory grow?

    python benchmarks/load_demo.py --users 20 --photos 200

Serves the demo in a process of its own and asks its endpoint from as many threads as users, each with drawn
photos whose findings are known. Prints p50 and p95 of the waiting time and the server's memory on the way.
"""

import argparse
import base64
import io
import multiprocessing
import queue
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from calcinosis.data.synthetic import draw
from calcinosis.model.config import SHIPPED
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from gradio_client import Client
from PIL import Image


def serve_demo(checkpoint: Path, port: int) -> None:
    """The demo with no limit on how often one address asks."""
    from calcinosis.page import server as app

    page = app.build_app(Predictor(checkpoint, threads=1, skip_ood_check=True))
    app.launch(page, server_port=port, readings_per_minute=1e9, quiet=True)


def memory(process: int) -> float:
    """Megabytes that a process has in memory (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    arguments = parser.parse_args()

    kinds = [(label, seed) for seed in range(4) for label in LABELS]
    contents = [as_jpeg(draw(label, seed, (640, 480))) for label, seed in kinds]
    reader = Predictor(arguments.checkpoint, skip_ood_check=True)
    expected = [reader.read(content).as_json() for content in contents]

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = multiprocessing.get_context("spawn").Process(
        target=serve_demo, args=(arguments.checkpoint, port), daemon=True
    )
    server.start()
    address = f"http://127.0.0.1:{port}"
    wait_for(port)
    free: queue.SimpleQueue[Client] = queue.SimpleQueue()
    for _ in range(arguments.users):
        free.put(Client(address, verbose=False, analytics_enabled=False))
    memories = [memory(server.pid or 0)]
    waits: list[float] = []
    wrong = lost = 0

    def visit(job: int) -> tuple[float, bool, bool]:
        kind = job % len(contents)
        sent = base64.b64encode(contents[kind]).decode()
        client = free.get()  # a user waits for one finding before asking for the next
        started = time.perf_counter()
        try:
            answer = client.predict(sent, "en", api_name="/finding_v1")
        except Exception as error:
            print(f"photo {job} got no finding: {type(error).__name__}: {error}")
            return time.perf_counter() - started, True, False
        finally:
            free.put(client)
        return time.perf_counter() - started, False, not alike(answer, expected[kind])

    with ThreadPoolExecutor(arguments.users) as visitors:
        for done, (wait, is_lost, is_wrong) in enumerate(
            visitors.map(visit, range(arguments.photos)), 1
        ):
            waits.append(wait)
            lost += is_lost
            wrong += is_wrong
            if done % max(1, arguments.photos // 10) == 0:
                memories.append(memory(server.pid or 0))
    server.terminate()
    p50, p95 = np.percentile(waits, (50, 95))
    print(f"{arguments.photos} photos, {arguments.users} users: {lost} lost, {wrong} mixed up")
    print(f"waiting time: p50 {p50:.2f} s, p95 {p95:.2f} s, longest {max(waits):.2f} s")
    print("memory of the server in MB:", " ".join(f"{value:.0f}" for value in memories))


def as_jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def alike(answer: dict[str, object], expected: dict[str, object]) -> bool:
    """The same finding; probabilities may differ in the last digit with the number of threads."""
    rounded = [
        {**one, "probabilities": {k: round(p, 3) for k, p in one["probabilities"].items()}}  # type: ignore[attr-defined]
        for one in (answer, expected)
    ]
    return rounded[0] == rounded[1]


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the demo did not start")


if __name__ == "__main__":
    main()
