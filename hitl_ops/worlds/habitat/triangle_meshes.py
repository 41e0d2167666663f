"""Plain triangle meshes of GLB and PLY files, as receptacles are annotated with them; only what NumPy can read.

Formats: glTF 2.0 binary (https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html) without extensions that a reader
must know, and PLY (http://paulbourke.net/dataformats/ply/) as text or little-endian.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triangles = NDArray[np.float64]
"""[n, 3, 3]: three corners of each triangle, in the file's frame."""

_MOST_BYTES = 64 * 2**20
_COMPONENTS: dict[int, np.dtype[Any]] = {
    5121: np.dtype("u1"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
_WIDTHS = {"SCALAR": 1, "VEC3": 3}
_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "<i1"),
    **dict.fromkeys(("uchar", "uint8"), "<u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}


class UnreadMesh(Exception):
    """A mesh that is not understood; says why in a few words."""


def read_meshes(path: Path) -> list[Triangles]:
    """The meshes of a file, each apart.

    Raises:
        UnreadMesh: the file is missing, too large, or not plain.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadMesh(f"more than {_MOST_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError:
        raise UnreadMesh("the mesh's file is missing") from None
    readers = {".glb": _glb, ".ply": _ply}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnreadMesh(f"a mesh of kind '{path.suffix}'")
    try:
        found = [mesh for mesh in reader(data) if len(mesh)]
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, StopIteration, struct.error):
        raise UnreadMesh("a damaged mesh") from None
    if not found or not all(np.isfinite(mesh).all() for mesh in found):
        raise UnreadMesh("a mesh without triangles")
    return found


# --- GLB ------------------------------------------------------------------------------------------------------------


def _glb(data: bytes) -> list[Triangles]:
    magic, version, length = struct.unpack_from("<4sII", data)
    if magic != b"glTF" or version != 2 or length > len(data):
        raise ValueError("no GLB")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<I4s", data, at)
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    document = json.loads(chunks[b"JSON"])
    if document.get("extensionsRequired"):
        raise UnreadMesh(f"a mesh that needs {', '.join(map(str, document['extensionsRequired']))[:60]}")
    meshes: list[Triangles] = []
    for root in document["scenes"][document.get("scene", 0)]["nodes"]:
        _visit(document, chunks.get(b"BIN\0", b""), root, np.eye(4), meshes, set())
    return meshes


def _visit(
    document: dict[str, Any],
    binary: bytes,
    index: int,
    above: NDArray[np.float64],
    meshes: list[Triangles],
    seen: set[int],
) -> None:
    if index in seen:
        raise ValueError("nodes that are no tree")
    seen.add(index)
    node = document["nodes"][index]
    matrix = above @ _matrix(node)
    if "mesh" in node:
        parts = [_primitive(document, binary, one) for one in document["meshes"][node["mesh"]]["primitives"]]
        meshes.append(np.concatenate(parts) @ matrix[:3, :3].T + matrix[:3, 3])
    for child in node.get("children", ()):
        _visit(document, binary, child, matrix, meshes, seen)


def _matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    matrix[:3, :3] = rotation_matrix(w, x, y, z) * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix


def _primitive(document: dict[str, Any], binary: bytes, primitive: dict[str, Any]) -> Triangles:
    if primitive.get("mode", 4) != 4:
        raise UnreadMesh("a mesh of lines or points")
    corners = _accessor(document, binary, primitive["attributes"]["POSITION"]).astype(np.float64)
    if "indices" not in primitive:
        return corners.reshape(-1, 3, 3)
    return corners[_accessor(document, binary, primitive["indices"]).reshape(-1, 3).astype(np.int64)]


def _accessor(document: dict[str, Any], binary: bytes, index: int) -> NDArray[Any]:
    accessor = document["accessors"][index]
    if "sparse" in accessor or document["buffers"][0].get("uri"):
        raise UnreadMesh("a mesh that is not plain")
    view = document["bufferViews"][accessor["bufferView"]]
    kind, width, count = _COMPONENTS[accessor["componentType"]], _WIDTHS[accessor["type"]], accessor["count"]
    stride = view.get("byteStride", kind.itemsize * width)
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    if count < 0 or stride < kind.itemsize * width or start < 0:
        raise ValueError("an accessor beyond its buffer")
    # NumPy refuses what reaches beyond the buffer.
    values: NDArray[Any] = np.ndarray((count, width), kind, binary, start, (stride, kind.itemsize))
    return values if width > 1 else values[:, 0]


def rotation_matrix(w: float, x: float, y: float, z: float) -> NDArray[np.float64]:
    """[3, 3] of a quaternion of length 1."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


# --- PLY ------------------------------------------------------------------------------------------------------------


def _ply(data: bytes) -> list[Triangles]:
    head, end, body = data.partition(b"end_header\n")
    lines = [line.split() for line in head.decode("ascii").splitlines()]
    if not end or lines[0] != ["ply"]:
        raise ValueError("no PLY")
    form = next(line[1] for line in lines if line[:1] == ["format"])
    elements: list[tuple[str, int, list[list[str]]]] = []
    for line in lines:
        if line[:1] == ["element"]:
            elements.append((line[1], int(line[2]), []))
        elif line[:1] == ["property"]:
            elements[-1][2].append(line[1:])
    if not all(0 <= count <= len(body) for _, count, _ in elements):
        raise ValueError("more than there is")
    rows: dict[str, Any] = {}
    if form == "ascii":
        words = iter(body.split())
        for name, count, properties in elements:
            rows[name] = [_ply_words(words, properties) for _ in range(count)]
    elif form == "binary_little_endian":
        at = 0
        for name, count, properties in elements:
            rows[name] = []
            for _ in range(count):
                row, at = _ply_bytes(body, at, properties)
                rows[name].append(row)
    else:
        raise UnreadMesh(f"a PLY of format '{form}'")
    corners = np.array([[row["x"], row["y"], row["z"]] for row in rows["vertex"]], dtype=np.float64)
    faces = [row.get("vertex_indices", row.get("vertex_index")) for row in rows["face"]]
    if not all(len(face) == 3 for face in faces):
        raise UnreadMesh("a mesh that is not of triangles")
    chosen = np.array(faces, dtype=np.int64).reshape(-1, 3)
    if chosen.size and chosen.min() < 0:
        raise ValueError("a corner that is none")
    return [corners[chosen]]


def _ply_words(words: Any, properties: list[list[str]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for kind, *more in properties:
        if kind == "list":
            row[more[-1]] = [int(next(words)) for _ in range(int(next(words)))]
        else:
            row[more[0]] = float(next(words))
    return row


def _ply_bytes(body: bytes, at: int, properties: list[list[str]]) -> tuple[dict[str, Any], int]:
    row: dict[str, Any] = {}
    for kind, *more in properties:
        count = 1
        if kind == "list":
            counted = np.dtype(_PLY_TYPES[more[0]])
            count, at = int(np.frombuffer(body, counted, 1, at)[0]), at + counted.itemsize
        form = np.dtype(_PLY_TYPES[more[1] if kind == "list" else kind])
        values = np.frombuffer(body, form, count, at)
        row[more[-1]], at = (values if kind == "list" else values[0]), at + count * form.itemsize
    return row, at
