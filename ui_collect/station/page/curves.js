// Small plots, one a joint: where it was, where it was told to be, and an upright line at the moment that is shown.

const LEAST_SPAN = 0.05;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Curves {
  constructor(place, legend) {
    this.place = place;
    this.legend = legend;
    this.plots = [];
    this.seconds = 0;
    this.drawnAt = -1;
    new ResizeObserver(() => (this.drawnAt = -1)).observe(place);
  }

  clear() {
    this.plots = [];
    this.place.replaceChildren();
    this.legend.hidden = true;
  }

  show(told) {
    this.seconds = told.seconds;
    this.drawnAt = -1;
    this.plots = [...told.joints, ...told.environment].map((curve) => {
      const element = document.createElement("div");
      element.className = "curve";
      const line = document.createElement("p");
      const [label, value] = [document.createElement("span"), document.createElement("span")];
      label.textContent = curve.name;
      label.title = curve.name;
      line.append(label, value);
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${curve.name} over time`);
      element.append(line, canvas);
      // within: what is to be seen of the scale in any case.
      const all = [...curve.values, ...(curve.told ?? []), ...(curve.within ?? [])];
      const [low, high] = [Math.min(...all), Math.max(...all)];
      const spare = Math.max(0, LEAST_SPAN - (high - low)) / 2 + 0.08 * Math.max(high - low, LEAST_SPAN);
      return { element, value, canvas, curve, low: low - spare, high: high + spare };
    });
    this.place.replaceChildren(...this.plots.map((plot) => plot.element));
    this.legend.hidden = this.plots.length === 0;
  }

  draw(at) {
    // Ten times a second is as much as an eye follows in so many plots.
    if (Math.abs(at - this.drawnAt) < 0.1 && this.drawnAt >= 0) return;
    this.drawnAt = at;
    const share = this.seconds > 0 ? Math.min(1, at / this.seconds) : 0;
    const [seen, told, line] = [colour("--teal"), "#c2610c", colour("--ink")];
    for (const plot of this.plots) {
      const { pen, width, height } = prepared(plot.canvas);
      const stroke = (values, style, thickness) => {
        pen.strokeStyle = style;
        pen.lineWidth = thickness;
        pen.beginPath();
        const across = width / Math.max(1, values.length - 1);
        values.forEach((value, n) => pen.lineTo(n * across, height * (1 - (value - plot.low) / (plot.high - plot.low))));
        pen.stroke();
      };
      if (plot.curve.told !== null) stroke(plot.curve.told, told, 1);
      stroke(plot.curve.values, seen, 1.6);
      pen.fillStyle = line;
      pen.fillRect(Math.min(width - 1.5, share * width), 0, 1.5, height);
      plot.value.textContent = plot.curve.values[Math.round(share * (plot.curve.values.length - 1))].toFixed(2);
    }
  }
}

function prepared(canvas) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}
