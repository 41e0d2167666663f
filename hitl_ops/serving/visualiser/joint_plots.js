// Small plots, one a joint: where it was when the policy was asked, and the chunks it was told, the newest strongest.
// And the time of the last answers, stacked.

const CHUNKS = 6;
const DOTS = 120;
const BEFORE_S = 4;
const LEAST_SPAN = 0.05;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

export class JointPlots {
  constructor(place) {
    this.place = place;
    this.plots = [];
    this.names = "";
    this.chunks = [];
    this.dots = [];
  }

  take(robot) {
    const names = robot.joints.join("\n");
    if (names !== this.names) this.build(robot.joints, names);
    const step = 1 / (robot.frequency_hz || 50);
    this.chunks.push({ at: robot.at, step, actions: robot.actions });
    this.dots.push({ at: robot.at, state: robot.state });
    if (this.chunks.length > CHUNKS) this.chunks.shift();
    if (this.dots.length > DOTS) this.dots.shift();
    this.draw();
  }

  build(joints, names) {
    this.names = names;
    this.chunks = [];
    this.dots = [];
    this.plots = joints.map((name) => {
      const plot = document.createElement("div");
      plot.className = "joint";
      const line = document.createElement("p");
      const label = document.createElement("span");
      const value = document.createElement("span");
      label.className = "label";
      label.textContent = name;
      label.title = name;
      value.className = "value";
      line.append(label, value);
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${name}: position and chunks`);
      plot.append(line, canvas);
      return { plot, value, canvas };
    });
    this.place.replaceChildren(...this.plots.map((one) => one.plot));
  }

  draw() {
    const last = this.chunks.at(-1);
    if (!last) return;
    const seen = colour("--accent");
    const told = colour("--told");
    const grid = colour("--line");
    const ahead = last.actions.length * last.step;
    const from = last.at - BEFORE_S;
    const to = last.at + ahead;
    this.plots.forEach(({ value, canvas }, joint) => {
      const { pen, width, height } = prepared(canvas);
      value.textContent = last.actions.length ? this.dots.at(-1).state[joint].toFixed(2) : "";
      const chunks = this.chunks.filter((chunk) => chunk.at + chunk.actions.length * chunk.step > from);
      const dots = this.dots.filter((dot) => dot.at >= from);
      let low = Infinity;
      let high = -Infinity;
      for (const chunk of chunks) {
        for (const action of chunk.actions) {
          low = Math.min(low, action[joint]);
          high = Math.max(high, action[joint]);
        }
      }
      for (const dot of dots) {
        low = Math.min(low, dot.state[joint]);
        high = Math.max(high, dot.state[joint]);
      }
      const spare = Math.max(0, LEAST_SPAN - (high - low)) / 2 + 0.08 * Math.max(high - low, LEAST_SPAN);
      low -= spare;
      high += spare;
      const x = (at) => ((at - from) / (to - from)) * width;
      const y = (angle) => height - ((angle - low) / (high - low)) * height;
      pen.strokeStyle = grid;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x(last.at), 0);
      pen.lineTo(x(last.at), height);
      pen.stroke();
      pen.strokeStyle = told;
      chunks.forEach((chunk, age) => {
        const newest = age === chunks.length - 1;
        pen.globalAlpha = newest ? 1 : 0.15 + (0.35 * (age + 1)) / chunks.length;
        pen.lineWidth = newest ? 1.8 : 1;
        pen.beginPath();
        chunk.actions.forEach((action, number) => pen.lineTo(x(chunk.at + number * chunk.step), y(action[joint])));
        pen.stroke();
      });
      pen.globalAlpha = 1;
      pen.fillStyle = seen;
      for (const dot of dots) {
        pen.beginPath();
        pen.arc(x(dot.at), y(dot.state[joint]), 2.2, 0, 2 * Math.PI);
        pen.fill();
      }
    });
  }
}

export function drawLatencies(canvas, latencies) {
  const { pen, width, height } = prepared(canvas);
  if (latencies.length === 0) return;
  const most = Math.max(...latencies.map(([total]) => total), 1);
  const ceiling = most * 1.15;
  const bar = Math.min(width / latencies.length, 8);
  const parts = [colour("--told"), colour("--accent"), colour("--rest")];
  latencies.forEach(([total, queue, infer], number) => {
    let base = height;
    [queue, infer, Math.max(0, total - queue - infer)].forEach((part, kind) => {
      const tall = (part / ceiling) * height;
      pen.fillStyle = parts[kind];
      pen.fillRect(number * bar, base - tall, Math.max(bar - 1, 0.5), tall);
      base -= tall;
    });
  });
  pen.fillStyle = colour("--soft");
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.fillText(`${most.toFixed(1)} ms at most`, width - 4, 12);
}
