// What is seen of an episode: its video, or, where there is no camera, time alone, by which the curves are drawn.

import { ConnectionLost, address, videoIsThere } from "./api.js";

const AGAIN_MS = 1500;
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Screen {
  // moved(seconds): told at every picture.
  constructor(place, moved) {
    this.place = place;
    this.video = place.querySelector("video");
    this.note = place.querySelector(".note");
    this.button = document.getElementById("play");
    this.slider = document.getElementById("moment");
    this.clock = document.getElementById("clock");
    this.moved = moved;
    this.length = 0;
    this.at = 0;
    this.running = false;
    this.shown = null;
    this.button.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value) * this.length));
    this.video.addEventListener("error", () => this.shown && this.tell("The video cannot be played here."));
    this.last = performance.now();
    requestAnimationFrame((now) => this.tick(now));
  }

  show(item) {
    this.shown = item.key;
    this.length = item.seconds;
    this.at = 0;
    this.filmed = item.cameras.length > 0;
    this.place.classList.toggle("without", !this.filmed);
    this.video.removeAttribute("src");
    this.video.load();
    this.running = !still.matches;
    if (this.filmed) void this.load(item.key);
    else this.tell("There is no video: this was recorded without a camera. See how the joints went below.");
  }

  clear() {
    this.shown = null;
    this.running = false;
    this.video.removeAttribute("src");
    this.video.load();
  }

  async load(key) {
    this.tell("The video is being made …");
    while (this.shown === key) {
      try {
        await videoIsThere(key);
        break;
      } catch (error) {
        if (this.shown !== key) return;
        if (!(error instanceof ConnectionLost)) return this.tell(error.message);
        await new Promise((later) => setTimeout(later, AGAIN_MS));
      }
    }
    if (this.shown !== key) return;
    this.video.src = address(`episodes/${key}/video`);
    this.tell("");
    if (this.running) this.video.play().catch(() => (this.running = false));
  }

  tell(text) {
    this.note.textContent = text;
    this.note.hidden = text === "";
  }

  toggle() {
    if (this.at >= this.length - 0.05) this.go(0);
    this.running = !this.running;
    if (!this.filmed || !this.video.src) return;
    if (this.running) this.video.play().catch(() => (this.running = false));
    else this.video.pause();
  }

  go(seconds) {
    this.at = seconds;
    if (this.filmed && this.video.src) this.video.currentTime = seconds;
  }

  tick(now) {
    const passed = (now - this.last) / 1000;
    this.last = now;
    if (this.shown !== null) {
      if (this.filmed) {
        if (this.video.src && this.video.readyState > 0) this.at = this.video.currentTime;
        if (this.video.ended) this.running = false;
      } else if (this.running) {
        this.at = Math.min(this.length, this.at + passed);
        this.running = this.at < this.length;
      }
      this.button.textContent = this.running ? "Pause" : "Play";
      this.slider.value = this.length > 0 ? String(this.at / this.length) : "0";
      this.clock.textContent = `${this.at.toFixed(1)} of ${this.length.toFixed(1)} s`;
      this.moved(this.at);
    }
    requestAnimationFrame((then) => this.tick(then));
  }
}
