// COMPARE: before and after in one place, divided by a line; both move and zoom together.

import { make, news } from "./element.js";
import { ask } from "./server.js";
import { words } from "./words.js";

const ZOOMS = [1, 2, 4];
const STEP = 0.2; // of what is seen, that an arrow key moves
const REST = 120; // ms without movement before sharp pixels are fetched

class Compare extends HTMLElement {
  connectedCallback() {
    this.layers = ["before", "after"].map((side) => make("img", { class: `layer ${side}`, alt: words[side], draggable: "false" }));
    this.films = ["before", "after"].map((side) =>
      make("video", { class: `layer ${side}`, "aria-label": words[side], playsinline: true, hidden: true }));
    this.films[0].muted = true;
    this.line = make("div", { class: "line", "aria-hidden": "true" });
    this.stage = make(
      "div", { class: "stage", tabindex: 0, role: "group", "aria-label": words.picture },
      ...this.layers, ...this.films, this.line,
      make("span", { class: "tag left", "aria-hidden": "true" }, words.before),
      make("span", { class: "tag right", "aria-hidden": "true" }, words.after),
    );
    this.divider = make("input", { type: "range", min: 0, max: 100, value: 50, step: 0.5, class: "divider", "aria-label": words.divider });
    this.way = make("select", {}, make("option", { value: "plain" }, words.asBlocks), make("option", { value: "smooth" }, words.asSmooth));
    this.difference = make("input", { type: "checkbox" });
    this.blink = make("button", { type: "button" }, words.blink);
    this.number = make("input", { type: "number", min: 1, value: 1 });
    this.frames = make(
      "span", { class: "buttons frames" },
      make("button", { type: "button", onclick: () => this.toFrame(this.frame - 1), "aria-label": words.earlierFrame }, "‹"),
      make("label", {}, `${words.frame} `, this.number),
      make("button", { type: "button", onclick: () => this.toFrame(this.frame + 1), "aria-label": words.laterFrame }, "›"),
    );
    this.playing = make("button", { type: "button", "aria-pressed": "false", onclick: () => this.play() }, words.play);
    this.frames.append(this.playing);
    this.said = make("p", { class: "quiet", role: "status" });
    this.title_ = make("h2", { id: "compare" });
    const zoom = (label, factor) => make("button", { type: "button", onclick: () => this.zoomTo(factor) }, label);
    this.dialog = make(
      "dialog",
      { class: "wide", "aria-labelledby": "compare" },
      this.title_,
      this.stage,
      this.divider,
      make(
        "p", { class: "buttons" },
        zoom(words.fit, 0), ...ZOOMS.map((factor) => zoom(`${factor}:1`, factor)), this.blink, this.frames,
      ),
      make(
        "p", { class: "buttons" },
        make("label", {}, `${words.beforeAs} `, this.way),
        make("label", { class: "check" }, this.difference, make("span", {}, words.difference)),
        make("button", { type: "button", onclick: () => this.dialog.close() }, words.close),
      ),
      this.said,
      news(),
    );
    this.append(this.dialog);
    this.divider.addEventListener("input", () => this.divide());
    this.way.addEventListener("change", () => this.fetch());
    this.difference.addEventListener("change", () => this.stage.classList.toggle("differ", this.difference.checked));
    this.number.addEventListener("change", () => this.toFrame(this.number.value - 1));
    for (const [name, on] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false]]) {
      this.blink.addEventListener(name, () => this.showBefore(on));
    }
    for (const name of ["keydown", "keyup"]) this.stage.addEventListener(name, (event) => this.key(event));
    for (const name of ["keydown", "keyup"]) {
      this.blink.addEventListener(name, (event) => {
        if (event.key === " " || event.key === "Enter") this.showBefore(name === "keydown");
      });
    }
    this.pointers = new Map();
    this.turn = 0;
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      this.stage.addEventListener(name, (event) => this.point(event));
    }
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    }, { passive: false });
    this.films[1].addEventListener("timeupdate", () => {
      const [before, after] = this.films;
      // A tenth of a second apart can be seen.
      if (Math.abs(before.currentTime - after.currentTime) > 0.1) before.currentTime = after.currentTime;
    });
    this.films[1].addEventListener("ended", () => this.play(false));
    this.films[1].addEventListener("error", () => {
      if (this.playing.ariaPressed === "true") this.said.textContent = words.cannotPlay;
    });
    this.dialog.addEventListener("close", () => this.play(false));
    new ResizeObserver(() => this.full && this.place()).observe(this.stage);
  }

  async show(item) {
    this.item = item;
    this.frame = 0;
    this.full = this.drawn = null;
    // What was asked for an earlier picture is not shown in this one.
    this.turn += 1;
    this.title_.textContent = item.name;
    this.number.value = 1;
    this.frames.hidden = !item.clip;
    this.number.max = item.frames ?? 1;
    for (const layer of this.layers) layer.removeAttribute("src");
    this.dialog.showModal();
    this.stage.focus();
    this.divide();
    if (await this.open()) this.zoomTo(0);
  }

  async open() {
    // Whether the picture is there, and is still the one that is wanted.
    const { item, frame } = this;
    const wanted = () => item === this.item && frame === this.frame;
    this.said.textContent = words.loading;
    try {
      const about = await ask("GET", `/items/${item.id}/size?frame=${frame}`);
      if (!wanted()) return false;
      this.full = about.after;
      this.said.textContent = "";
      return true;
    } catch (error) {
      if (wanted()) this.said.textContent = error.message;
      return false;
    }
  }

  play(on = this.playing.ariaPressed !== "true") {
    // Both in one place, as large as the stage lets them.
    this.playing.ariaPressed = String(on);
    this.playing.textContent = on ? words.stopPlaying : words.play;
    for (const layer of this.layers) layer.hidden = on;
    ["before", "after"].forEach((side, n) => {
      const film = this.films[n];
      film.hidden = !on;
      if (on) {
        film.src = `/items/${this.item.id}/play/${side}`;
        film.play().catch(() => {});
      } else {
        film.pause();
        film.removeAttribute("src");
      }
    });
    this.divide();
  }

  async toFrame(frame) {
    this.play(false);
    const wanted = Math.max(0, Math.min(Number(frame) || 0, (this.item.frames ?? 1) - 1));
    this.frame = wanted;
    this.number.value = wanted + 1;
    if (await this.open()) this.place();
  }

  // What is seen: `scale` pixels of the screen for one of the result, and the middle as a share of the picture.

  get view() {
    const ratio = devicePixelRatio || 1;
    const wide = this.stage.clientWidth * ratio;
    const high = this.stage.clientHeight * ratio;
    return { wide, high, ratio };
  }

  fitting() {
    const { wide, high } = this.view;
    return Math.min(wide / this.full[0], high / this.full[1]);
  }

  zoomTo(factor) {
    if (!this.full) return;
    this.scale = factor || this.fitting();
    this.middle ??= [0.5, 0.5];
    if (!factor) this.middle = [0.5, 0.5];
    this.place();
  }

  zoomBy(factor, x, y) {
    if (!this.full) return;
    const box = this.stage.getBoundingClientRect();
    const { ratio } = this.view;
    const away = [(x - box.left - box.width / 2) * ratio, (y - box.top - box.height / 2) * ratio];
    const before = this.scale;
    this.scale = Math.max(Math.min(this.fitting(), 1), Math.min(this.scale * factor, 16));
    this.middle = this.middle.map((m, n) => m + (away[n] / before - away[n] / this.scale) / this.full[n]);
    this.place();
  }

  moveBy(across, down) {
    const { ratio } = this.view;
    this.middle = [
      this.middle[0] - (across * ratio) / this.scale / this.full[0],
      this.middle[1] - (down * ratio) / this.scale / this.full[1],
    ];
    this.place();
  }

  place() {
    const { wide, high } = this.view;
    // The part that is seen, as shares of the picture.
    this.seen = [wide, high].map((size, n) => Math.min(1, size / this.scale / this.full[n]));
    this.middle = this.middle.map((m, n) => Math.max(this.seen[n] / 2, Math.min(1 - this.seen[n] / 2, m)));
    // Until sharp pixels are there, the old ones are stretched.
    if (this.drawn) this.stretch();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(), this.drawn ? REST : 0);
  }

  stretch() {
    const { box, scale } = this.drawn;
    const { ratio, wide, high } = this.view;
    const zoom = this.scale / scale;
    const left = (box[0] - this.middle[0]) * this.full[0] * this.scale + wide / 2;
    const top = (box[1] - this.middle[1]) * this.full[1] * this.scale + high / 2;
    for (const layer of this.layers) {
      layer.style.left = `${left / ratio}px`;
      layer.style.top = `${top / ratio}px`;
      layer.style.width = `${(this.drawn.size[0] * zoom) / ratio}px`;
      layer.style.height = `${(this.drawn.size[1] * zoom) / ratio}px`;
    }
    this.divide();
  }

  async fetch() {
    if (!this.full || !this.seen) return;
    const box = [this.middle[0] - this.seen[0] / 2, this.middle[1] - this.seen[1] / 2, ...this.seen];
    const scale = this.scale;
    const size = this.seen.map((share, n) => Math.max(1, Math.min(4096, Math.round(share * this.full[n] * scale))));
    const turn = (this.turn += 1);
    const numbers = box.map((share) => Math.max(0, share).toFixed(7)).join(",");
    const parts = ["before", "after"].map((side) => {
      const way = side === "before" ? this.way.value : scale <= 1 ? "smooth" : "plain";
      const image = new Image();
      image.src = `/items/${this.item.id}/part?side=${side}&frame=${this.frame}&box=${numbers}&size=${size}&way=${way}`;
      return image;
    });
    try {
      await Promise.all(parts.map((image) => image.decode()));
    } catch {
      if (turn === this.turn) this.said.textContent = words.reasons.notShown;
      return;
    }
    // A later question was asked meanwhile.
    if (turn !== this.turn) return;
    this.said.textContent = "";
    this.layers.forEach((layer, n) => (layer.src = parts[n].src));
    this.drawn = { box, scale, size };
    this.stretch();
  }

  divide() {
    const share = Number(this.divider.value) / 100;
    const wide = this.stage.clientWidth;
    this.line.style.left = `${share * wide}px`;
    for (const after of [this.layers[1], this.films[1]]) {
      const left = share * wide - after.offsetLeft;
      after.style.clipPath = `inset(0 0 0 ${Math.max(0, Math.min(left, after.offsetWidth))}px)`;
    }
  }

  showBefore(on) {
    this.stage.classList.toggle("blink", on);
  }

  key(event) {
    if (event.key === " ") {
      event.preventDefault();
      this.showBefore(event.type === "keydown");
      return;
    }
    if (event.type !== "keydown" || !this.full) return;
    const { clientWidth: wide, clientHeight: high } = this.stage;
    const box = this.stage.getBoundingClientRect();
    const keys = {
      ArrowLeft: () => this.moveBy(STEP * wide, 0),
      ArrowRight: () => this.moveBy(-STEP * wide, 0),
      ArrowUp: () => this.moveBy(0, STEP * high),
      ArrowDown: () => this.moveBy(0, -STEP * high),
      "+": () => this.zoomBy(1.5, box.left + box.width / 2, box.top + box.height / 2),
      "-": () => this.zoomBy(1 / 1.5, box.left + box.width / 2, box.top + box.height / 2),
      0: () => this.zoomTo(0),
      1: () => this.zoomTo(1),
      2: () => this.zoomTo(2),
      4: () => this.zoomTo(4),
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  }

  point(event) {
    if (!this.full) return;
    const { pointerId: id, clientX: x, clientY: y } = event;
    if (event.type === "pointerdown") {
      this.stage.setPointerCapture(id);
      this.pointers.set(id, [x, y]);
    } else if (event.type === "pointermove") {
      const before = this.pointers.get(id);
      if (!before) return;
      const others = [...this.pointers].filter(([other]) => other !== id).map(([, at]) => at);
      if (others.length) {
        const far = ([a, b]) => Math.hypot(a - others[0][0], b - others[0][1]) || 1;
        this.zoomBy(far([x, y]) / far(before), (x + others[0][0]) / 2, (y + others[0][1]) / 2);
      } else this.moveBy(x - before[0], y - before[1]);
      this.pointers.set(id, [x, y]);
    } else this.pointers.delete(id);
  }
}

customElements.define("isr-compare", Compare);
