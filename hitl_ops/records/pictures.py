"""Camera pictures as JPEG and back."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError


def encode_jpeg(picture: npt.NDArray[np.uint8], quality: int = 90) -> bytes:
    """A picture [height, width, 3] uint8 RGB as JPEG; other threads run meanwhile."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def decode_jpeg(content: npt.NDArray[np.uint8] | bytes, source: str) -> npt.NDArray[np.uint8]:
    """A JPEG as [height, width, 3] uint8 RGB; zeros after its end are passed over.

    Args:
        content: the JPEG, possibly padded.
        source: where it comes from, named in the error.

    Raises:
        UserError: it is no picture.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(bytes(content))) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError) as error:
        raise UserError(f"{source} is no JPEG ({' '.join(str(error).split())})", "leave the episode out") from None
