/** The few shaders everything is drawn with: unlit colours under one fixed light, cheap enough for software GL. */

import { BackSide, Color as ThreeColor, FrontSide, ShaderMaterial, Vector3, type Side } from "three";
import { MARK } from "./appearance.ts";

// Light from above and from two unequal sides: every pair of neighbouring faces of a box differs.
const LIT = /* glsl */ `
  float lightOf(vec3 n) {
    return 0.86 + 0.14 * max(n.y, 0.0) + 0.06 * n.x + 0.11 * max(n.z, 0.0) + 0.05 * min(n.z, 0.0);
  }
`;

/** Solids: `mark` (0 … 1) pulls a thing towards the marking colour. */
export function solidMaterial(side: Side = FrontSide): ShaderMaterial {
  return new ShaderMaterial({
    side,
    uniforms: { mark: { value: 0 }, markColor: { value: new ThreeColor().fromArray([...MARK]) } },
    vertexShader: /* glsl */ `
      attribute vec4 paint;
      varying vec3 shade;
      ${LIT}
      void main() {
        vec3 n = mat3(modelMatrix) * normal;
        shade = paint.rgb * mix(lightOf(n), 1.0, paint.a);
        gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
      }
    `,
    fragmentShader: /* glsl */ `
      uniform float mark;
      uniform vec3 markColor;
      varying vec3 shade;
      void main() { gl_FragColor = vec4(mix(shade, markColor, mark), 1.0); }
    `,
  });
}

/** Floors carry faint tiles, so that motion and distance can be seen. */
export function floorMaterial(): ShaderMaterial {
  return new ShaderMaterial({
    vertexShader: /* glsl */ `
      attribute vec4 paint;
      varying vec3 shade;
      varying vec2 ground;
      void main() {
        shade = paint.rgb;
        ground = position.xz;
        gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
      }
    `,
    fragmentShader: /* glsl */ `
      varying vec3 shade;
      varying vec2 ground;
      void main() {
        vec2 tile = floor(ground * 2.0);
        gl_FragColor = vec4(shade * (0.955 + 0.045 * mod(tile.x + tile.y, 2.0)), 1.0);
      }
    `,
  });
}

/** Soft dark patches under what stands on the floor. `local` runs over a patch in metres, `extent` is its half size. */
export function shadowMaterial(): ShaderMaterial {
  return new ShaderMaterial({
    transparent: true,
    depthWrite: false,
    polygonOffset: true,
    polygonOffsetFactor: -2,
    polygonOffsetUnits: -2,
    vertexShader: /* glsl */ `
      attribute vec2 local;
      attribute vec3 extent;
      varying vec2 place;
      varying vec3 reach;
      void main() {
        place = local;
        reach = extent;
        gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
      }
    `,
    fragmentShader: /* glsl */ `
      varying vec2 place;
      varying vec3 reach;
      void main() {
        vec2 beyond = abs(place) - reach.xy;
        float away = length(max(beyond, 0.0)) / reach.z;
        gl_FragColor = vec4(0.1, 0.08, 0.06, 0.3 * pow(max(1.0 - away, 0.0), 2.0));
      }
    `,
  });
}

/**
 * The rim around a marked object: its back, drawn a little larger.
 *
 * Every corner is pushed away from the object's middle on the screen, which keeps the rim whole at sharp edges, and by
 * so much that it stays visible from across a room.
 */
export function rimMaterial(): ShaderMaterial {
  return new ShaderMaterial({
    side: BackSide,
    uniforms: { rim: { value: new ThreeColor().fromArray([...MARK]) }, middle: { value: new Vector3() } },
    vertexShader: /* glsl */ `
      uniform vec3 middle;
      void main() {
        vec4 corner = modelViewMatrix * vec4(position, 1.0);
        vec4 heart = modelViewMatrix * vec4(middle, 1.0);
        vec2 outward = corner.xy - heart.xy;
        corner.xy += outward / max(length(outward), 1e-4) * max(0.012, -0.006 * corner.z);
        gl_Position = projectionMatrix * corner;
      }
    `,
    fragmentShader: /* glsl */ `
      uniform vec3 rim;
      void main() { gl_FragColor = vec4(rim, 1.0); }
    `,
  });
}
