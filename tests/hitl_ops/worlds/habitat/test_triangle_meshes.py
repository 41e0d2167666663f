"""Meshes of receptacles: what another library wrote is read as it reads it; damaged files are refused, and no more."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from hitl_ops.worlds.habitat.triangle_meshes import UnreadMesh, read_meshes


def plates() -> trimesh.Scene:
    """Two plates, one of them turned and larger than its own mesh."""
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((0.8, 0.01, 0.4)), geom_name="first")
    turned = trimesh.transformations.rotation_matrix(0.7, (0, 1, 0), (0.1, 0, 0)) @ np.diag((2.0, 1.0, 2.0, 1.0))
    scene.add_geometry(trimesh.creation.cylinder(0.2, 0.02), geom_name="second", transform=turned)
    return scene


def written(folder: Path, kind: str) -> Path:
    file = folder / ("plates.glb" if kind == "glb" else "plates.ply")
    if kind == "glb":
        file.write_bytes(plates().export(file_type="glb"))
    else:
        file.write_bytes(plates().to_mesh().export(file_type="ply", encoding=kind))
    return file


@pytest.mark.parametrize("kind", ["glb", "ascii", "binary"])
def test_a_mesh_is_read_as_its_writer_reads_it(tmp_path: Path, kind: str) -> None:
    found = read_meshes(written(tmp_path, kind))
    assert len(found) == (2 if kind == "glb" else 1), "each mesh of a file apart"
    ours = np.concatenate(found)
    theirs = plates().to_mesh().triangles
    assert ours.shape == theirs.shape
    assert np.allclose(np.sort(ours.reshape(-1, 3), axis=0), np.sort(theirs.reshape(-1, 3), axis=0), atol=1e-4)
    area = np.linalg.norm(np.cross(ours[:, 1] - ours[:, 0], ours[:, 2] - ours[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(plates().to_mesh().area, rel=1e-3)


@pytest.mark.parametrize("kind", ["glb", "ascii", "binary"])
def test_damage_is_told_as_such(tmp_path: Path, kind: str) -> None:
    file = written(tmp_path, kind)
    whole, luck = file.read_bytes(), random.Random(kind)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(luck.randint(1, 4)):
            damaged[luck.randrange(min(len(whole), 2000))] = luck.randrange(256)
        file.write_bytes(damaged[: luck.choice((len(whole), luck.randrange(len(whole))))])
        try:
            assert all(mesh.shape[1:] == (3, 3) and np.isfinite(mesh).all() for mesh in read_meshes(file))
        except UnreadMesh:
            refused += 1
    assert refused > 50


def glb(document: dict[str, object]) -> bytes:
    body = json.dumps(document).encode()
    body += b" " * (-len(body) % 4)
    return struct.pack("<4sII", b"glTF", 2, 20 + len(body)) + struct.pack("<I4s", len(body), b"JSON") + body


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.glb", glb({"extensionsRequired": ["KHR_draco_mesh_compression"]}), "KHR_draco"),
        ("a.glb", glb({"scenes": [{"nodes": [0]}], "nodes": [{"children": [0, 0]}]}), "damaged"),
        ("a.glb", glb({"scenes": [{"nodes": []}], "nodes": []}), "without triangles"),
        ("a.ply", b"ply\nformat binary_big_endian 1.0\nend_header\n", "binary_big_endian"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement face 99999999999\nend_header\n", "damaged"),
        ("a.obj", b"v 0 0 0\n", ".obj"),
    ],
)
def test_what_is_not_plain_is_told(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadMesh, match=said):
        read_meshes(tmp_path / name)
    with pytest.raises(UnreadMesh, match="missing"):
        read_meshes(tmp_path / "nowhere.glb")
