// One camera's film, frame by frame; where there is no camera, time alone.

import { ConnectionLost, address, videoIsThere } from "./api.js";

const AGAIN_MS = 1500;

export class Film {
  // moved(frame): told whenever another frame is shown.
  constructor(place, moved) {
    this.place = place;
    this.video = place.querySelector("video");
    this.note = place.querySelector(".note");
    this.moved = moved;
    this.shown = null;
    this.frame = 0;
    this.running = false;
    this.last = performance.now();
    this.video.addEventListener("error", () => this.shown && this.video.src && this.tell("The video cannot be played here."));
    this.video.addEventListener("ended", () => this.running && this.go(this.length - 1));
    const seen = (_, { mediaTime }) => {
      this.video.requestVideoFrameCallback(seen);
      this.presented = Math.round(mediaTime * this.fps);
      if (this.running) this.at(Math.min(this.length - 1, this.presented));
    };
    this.video.requestVideoFrameCallback?.(seen);
    requestAnimationFrame((now) => this.tick(now));
  }

  // source: of the film below the page's prefix, without "/video"; null where there is no camera.
  show(source, length, fps, frame = 0) {
    this.clear();
    [this.shown, this.length, this.fps] = [source ?? "", length, fps];
    this.place.classList.toggle("without", source === null);
    this.at(frame);
    if (source === null) this.tell("There is no video: this was recorded without a camera. See how the joints went below.");
    else void this.load(source);
  }

  clear() {
    this.shown = null;
    this.running = false;
    this.presented = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.tell("");
  }

  async load(source) {
    this.tell("The video is being made …");
    while (this.shown === source) {
      try {
        await videoIsThere(source);
        break;
      } catch (error) {
        if (this.shown !== source) return;
        if (!(error instanceof ConnectionLost)) return this.tell(error.message);
        await new Promise((later) => setTimeout(later, AGAIN_MS));
      }
    }
    if (this.shown !== source) return;
    this.video.src = address(`episodes/${source}/video`);
    this.tell("");
    if (this.running) this.play();
    else this.seek();
  }

  get filmed() {
    return this.shown !== "" && Boolean(this.video.getAttribute("src"));
  }

  tell(text) {
    this.note.textContent = text;
    this.note.hidden = text === "";
  }

  toggle() {
    if (this.running) return this.go(this.frame);
    if (this.frame >= this.length - 1) this.go(0);
    this.running = true;
    this.started = [performance.now(), this.frame];
    if (this.filmed) this.play();
    this.moved(this.frame);
  }

  play() {
    this.video.play().catch(() => this.go(this.frame));
  }

  // Stop at a frame.
  go(frame) {
    this.running = false;
    this.video.pause();
    this.at(Math.max(0, Math.min(this.length - 1, frame)));
    this.seek();
  }

  // The middle of the frame's time: whatever is rounded, it is this one.
  seek() {
    if (this.filmed) this.video.currentTime = (this.frame + 0.5) / this.fps;
  }

  at(frame) {
    this.frame = frame;
    this.moved(frame);
  }

  tick(now) {
    // A browser that does not tell of each frame, or no film: by the clock.
    if (this.running && this.filmed && !this.video.requestVideoFrameCallback) {
      this.at(Math.min(this.length - 1, Math.floor(this.video.currentTime * this.fps)));
    } else if (this.running && this.shown === "") {
      const [since, from] = this.started;
      const frame = Math.min(this.length - 1, from + Math.floor(((now - since) / 1000) * this.fps));
      if (frame !== this.frame) this.at(frame);
      if (frame === this.length - 1) this.go(frame);
    }
    requestAnimationFrame((then) => this.tick(then));
  }
}
