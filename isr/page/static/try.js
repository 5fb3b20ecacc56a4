// TRY: a piece of a file by one to three looks and enlarged the ordinary way, side by side, each with its time and what
// the whole would take.

import { make, news } from "./element.js";
import { chosenBy, LOOKS, looksNow } from "./how.js";
import { ask } from "./server.js";
import { bytes, duration, words } from "./words.js";

const SIDE = 240; // pixels of the square, as the server cuts it
const TRIED = ["best", "quick"]; // where nothing else is chosen
const MOST = 3; // looks at once, beside ordinary enlargement
const PLAIN = "plain";
const WIDE = 900; // pixels of the picture that it is chosen in
const STEP = 0.05; // of the picture, that an arrow key moves

class Try extends HTMLElement {
  connectedCallback() {
    this.heading = make("h2", { id: "try" });
    this.hint = make("p", { class: "quiet" });
    this.image = make("img", { alt: "", draggable: "false" });
    this.square = make("div", { class: "square", "aria-hidden": "true" });
    this.whole = make(
      "div", { class: "whole", tabindex: 0, role: "group", "aria-label": words.tryHint }, this.image, this.square,
    );
    this.begin = make("input", { type: "number", min: 0, value: 0, step: 0.5 });
    this.from = make("label", {}, `${words.tryFrom} `, this.begin);
    this.start = make("button", { type: "button", class: "main", onclick: () => this.go() }, words.tryGo);
    // How often the dialog was opened: what is made for an earlier time is not shown in a later one.
    this.run = 0;
    this.pieces = make("div", { class: "pieces" });
    this.said = make("p", { class: "quiet", role: "status" });
    this.looks = [...LOOKS, "own"].filter((look) => look !== PLAIN).map((look) => {
      const box = make("input", { type: "checkbox", value: look, checked: TRIED.includes(look), onchange: () => this.allow() });
      return make("label", { class: "check" }, box, make("span", {}, words.looks[look][0]));
    });
    this.dialog = make(
      "dialog", { class: "wide", "aria-labelledby": "try" },
      this.heading, this.hint, this.whole,
      make("fieldset", {}, make("legend", {}, words.tryLooks), ...this.looks),
      make("p", { class: "buttons" }, this.from, this.start,
        make("button", { type: "button", onclick: () => this.dialog.close() }, words.close)),
      this.said, this.pieces, news(),
    );
    this.append(this.dialog);
    this.image.addEventListener("load", () => this.mark());
    const to = (event) => {
      const box = this.image.getBoundingClientRect();
      this.move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    this.whole.addEventListener("pointerdown", (event) => {
      this.whole.setPointerCapture(event.pointerId);
      to(event);
    });
    this.whole.addEventListener("pointermove", (event) => event.buttons && to(event));
    this.whole.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      this.move(this.place[0] + step[0], this.place[1] + step[1]);
    });
  }

  show(item) {
    this.item = item;
    this.run += 1;
    this.place = [0.5, 0.5];
    this.heading.textContent = words.tryTitle(item.name);
    this.hint.textContent = item.clip ? words.tryHintClip : words.tryHint;
    this.from.hidden = !item.clip;
    this.square.hidden = item.clip;
    this.pieces.replaceChildren();
    for (const label of this.looks) label.hidden = !looksNow().includes(label.firstChild.value);
    this.allow();
    this.said.textContent = "";
    const [wide, high] = item.size_in;
    const scale = Math.min(1, WIDE / Math.max(wide, high));
    const size = [wide, high].map((side) => Math.max(1, Math.round(side * scale)));
    this.image.src = `/items/${item.id}/part?side=before&box=0,0,1,1&size=${size}&way=smooth`;
    this.dialog.showModal();
    this.whole.focus();
  }

  chosen() {
    return this.looks.filter((label) => !label.hidden).map((label) => label.firstChild).filter((box) => box.checked);
  }

  allow() {
    const count = this.chosen().length;
    for (const { firstChild: box } of this.looks) box.disabled = !box.checked && count >= MOST;
    this.start.disabled = Boolean(this.busy) || !count;
  }

  move(across, down) {
    this.place = [across, down].map((share) => Math.max(0, Math.min(1, share)));
    this.mark();
  }

  mark() {
    const shown = [this.image.clientWidth, this.image.clientHeight];
    const shares = this.item.size_in.map((side) => Math.min(1, SIDE / side));
    const [left, top] = this.place.map((at, n) => Math.max(0, Math.min(1 - shares[n], at - shares[n] / 2)) * shown[n]);
    const { style } = this.square;
    style.left = `${left}px`;
    style.top = `${top}px`;
    style.width = `${shares[0] * shown[0]}px`;
    style.height = `${shares[1] * shown[1]}px`;
  }

  async go() {
    const { item, place, run } = this;
    const looks = [...this.chosen().map((box) => box.value), PLAIN];
    const start = Number(this.begin.value) || 0;
    const say = (text) => {
      if (run === this.run) this.said.textContent = text;
    };
    this.busy = true;
    this.allow();
    this.pieces.replaceChildren();
    await document.querySelector("isr-how").sent;
    for (const look of looks) {
      const number = looksNow().indexOf(look);
      say(words.tryWorking(words.looks[look][0]));
      try {
        const made = await ask("POST", `/items/${item.id}/try`, { number, place, start, ...chosenBy(look) });
        if (run !== this.run) break;
        say("");
        this.pieces.append(this.piece(item, look, number, made));
      } catch (error) {
        say(error.message);
        break;
      }
    }
    this.busy = false;
    this.allow();
  }

  piece(item, look, number, made) {
    const [name] = words.looks[look];
    const src = `/items/${item.id}/tried/${number}?${Date.now()}`;
    const times = [words.tryTook(duration(made.seconds))];
    if (made.whole !== null) times.push(words.tryWhole(duration(made.whole)));
    if (made.bytes) times.push(words.tryBytes(bytes(made.bytes)));
    const take = () => {
      document.querySelector("isr-how").choose(look);
      this.dialog.close();
    };
    return make(
      "figure", {},
      item.clip
        ? make("video", { src, controls: true, loop: true, "aria-label": name })
        : make("img", { src, alt: name }),
      make("figcaption", {}, make("b", {}, name), " · ", times.join(" · ")),
      make("button", { type: "button", onclick: take, "aria-label": words.of(words.tryChoose, name) }, words.tryChoose),
    );
  }
}

customElements.define("isr-try", Try);
