// The episode from left to right: progress as it results, the marks, and the moment that is shown.

import { corners } from "./story.js";

const EDGE = 14;
const TOP = 20;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Timeline {
  // chosen(frame): somebody pointed at it.
  constructor(canvas, slider, chosen) {
    this.canvas = canvas;
    this.slider = slider;
    this.told = null;
    const point = (event) => {
      if (this.told === null) return;
      const box = canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - EDGE) / (box.width - 2 * EDGE);
      chosen(Math.round(Math.max(0, Math.min(1, share)) * (this.told.length - 1)));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons > 0 && point(event));
    slider.addEventListener("input", () => chosen(Number(slider.value)));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  show(told) {
    this.told = told;
    this.slider.max = String(told.length - 1);
    this.slider.value = String(told.frame);
    this.slider.setAttribute("aria-valuetext", `frame ${told.frame} of ${told.length}`);
    this.draw();
  }

  draw() {
    const scale = devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (this.told === null || width === 0) return;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const { marks, length, stages, frame } = this.told;
    const [bottom, span] = [height - 10, width - 2 * EDGE];
    const across = (at) => EDGE + (length > 1 ? at / (length - 1) : 0) * span;
    const up = (progress) => bottom - progress * (bottom - TOP);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillStyle = colour("--line");
    for (let stage = 0; stage <= stages; stage += 1) pen.fillRect(EDGE, up(stage / stages), span, 1);
    this.curve(pen, corners(marks, length, stages).map(([at, progress]) => [across(at), up(progress)]), bottom);
    pen.fillStyle = colour("--you");
    pen.fillRect(across(frame) - 1.5, 0, 3, height);
    pen.textAlign = "center";
    for (const mark of marks) {
      const at = across(mark.frame);
      pen.fillStyle = colour(mark.lost ? "--red" : "--teal-dark");
      pen.fillRect(at - 0.5, TOP - 4, 1, bottom - TOP + 4);
      pen.beginPath();
      pen.arc(at, 10, 9, 0, 2 * Math.PI);
      pen.fill();
      pen.fillStyle = "#ffffff";
      pen.fillText(mark.lost ? `−${mark.stage}` : String(mark.stage), at, 10.5);
    }
  }

  curve(pen, points, bottom) {
    pen.beginPath();
    pen.moveTo(points[0][0], bottom);
    for (const [x, y] of points) pen.lineTo(x, y);
    pen.lineTo(points.at(-1)[0], bottom);
    pen.fillStyle = colour("--teal-tint");
    pen.globalAlpha = 0.8;
    pen.fill();
    pen.globalAlpha = 1;
    pen.beginPath();
    for (const [x, y] of points) pen.lineTo(x, y);
    pen.strokeStyle = colour("--teal");
    pen.lineWidth = 2;
    pen.stroke();
  }
}
