"""The process of its own in which a HEIC file is decoded; `calcinosis.model.heic` starts it.

It is started by its path and imports nothing of ours, so it runs wherever the plug-in can be found. A file comes in
on standard input; on standard output go out `READY` once the plug-in is there, a line of JSON, the colour profile and
the pixels, upright as they come from the decoder.
"""

import io
import json
import sys

READY = b"ready\n"
TOO_LARGE = 3
"""What the process ends with for a picture of more pixels than its first argument allows."""

# Bytes of address space. A drawn photo of 12 megapixels took 0.42 GB, with an alpha channel 0.51 GB, and
# hardly any photo 0.32 GB: VmPeak of the process at its end, on Linux with pillow-heif 1.8.1.
_MAX_MEMORY = 2 * 1024**3
_MAX_SECONDS = 30
"""Of the processor: who started it waits no longer, and may have been killed meanwhile."""


def _set_bounds() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such bound; the time is bounded there too
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_SECONDS, _MAX_SECONDS))


def main() -> None:
    _set_bounds()
    from PIL import Image
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    out = sys.stdout.buffer
    out.write(READY)
    out.flush()  # a decoder that crashes takes nothing of this back
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=("HEIF",)) as picture:
        if picture.width * picture.height > int(sys.argv[1]):
            sys.exit(TOO_LARGE)
        picture.load()
        profile = picture.info.get("icc_profile") or b""
        head = {"mode": picture.mode, "size": picture.size, "profile": len(profile)}
        out.write(json.dumps(head).encode() + b"\n")
        out.write(profile)
        out.write(picture.tobytes())


if __name__ == "__main__":
    main()
