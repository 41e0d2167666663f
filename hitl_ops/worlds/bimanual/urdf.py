"""Bodies as URDF text, written from their parts."""

from __future__ import annotations

from collections.abc import Sequence

from hitl_ops.worlds.bimanual.geometry import Link, Part, Vec3


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def _shape(part: Part) -> str:
    if part.shape == "box":
        return f'<box size="{_numbers(part.size)}"/>'
    return f'<cylinder radius="{part.size[0] / 2:.9g}" length="{part.size[2]:.9g}"/>'


def _body(name: str, mass: float, parts: Sequence[Part], middle: Vec3 | None = None) -> str:
    """A link: its inertia is that of a box around its parts, a little enlarged so that small links stay stable."""
    ends = [
        (min(p.center[a] - min(p.size) / 2 for p in parts), max(p.center[a] + min(p.size) / 2 for p in parts))
        for a in range(3)
    ]
    center = middle or tuple((low + high) / 2 for low, high in ends)
    extent = [max(0.05, high - low) for low, high in ends]
    x, y, z = (mass / 12 * (sum(e * e for e in extent) - extent[a] ** 2) for a in range(3))
    lines = [
        f'<link name="{name}"><inertial><origin xyz="{_numbers(center)}"/><mass value="{mass:.9g}"/>'
        f'<inertia ixx="{x:.9g}" iyy="{y:.9g}" izz="{z:.9g}" ixy="0" ixz="0" iyz="0"/></inertial>'
    ]
    for number, part in enumerate(parts):
        where = f'<origin xyz="{_numbers(part.center)}" rpy="{_numbers(part.rpy)}"/><geometry>{_shape(part)}</geometry>'
        color = _numbers((*part.color, 1.0))
        if part.seen:
            lines.append(f'<visual>{where}<material name="{name}_{number}"><color rgba="{color}"/></material></visual>')
        if part.solid:
            lines.append(f"<collision>{where}</collision>")
    return "".join([*lines, "</link>"])


def body_urdf(name: str, mass: float, parts: Sequence[Part], middle: Vec3) -> str:
    """One rigid body with its centre of mass at ``middle``."""
    return f'<?xml version="1.0"?><robot name="{name}">{_body(name, mass, parts, middle)}</robot>'


def chain_urdf(name: str, links: Sequence[Link]) -> str:
    """A chain of links and joints."""
    pieces = []
    for link in links:
        pieces.append(_body(link.name, link.mass, link.parts))
        if link.parent:
            lower, upper = link.limits
            pieces.append(
                f'<joint name="{link.name}" type="{link.kind}"><parent link="{link.parent}"/>'
                f'<child link="{link.name}"/><origin xyz="{_numbers(link.origin)}"/><axis xyz="{_numbers(link.axis)}"/>'
                f'<limit lower="{lower}" upper="{upper}" effort="100" velocity="10"/></joint>'
            )
    return f'<?xml version="1.0"?><robot name="{name}">{"".join(pieces)}</robot>'
