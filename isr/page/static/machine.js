// This computer: what it has, and how fast it was, or is found to be.

import { make, tell } from "./element.js";
import { looksNow, sourcesOf } from "./how.js";
import { ask, soon } from "./server.js";
import { words } from "./words.js";

class Machine extends HTMLElement {
  connectedCallback() {
    this.about = make("div", {});
    this.test = make("button", { type: "button", onclick: () => this.measure() }, words.test);
    this.said = make("p", { class: "quiet", role: "status" });
    const details = make(
      "details", {}, make("summary", {}, words.machine), this.about, make("p", {}, this.test), this.said,
    );
    details.addEventListener("toggle", () => details.open && this.fill());
    this.append(details);
    ask("GET", "/machine").then((about) => document.querySelector("isr-how").know(about), () => {});
  }

  async measure() {
    this.test.disabled = true;
    try {
      for (const look of looksNow()) {
        this.said.textContent = words.testing(words.looks[look][0]);
        await ask("POST", "/measure", { sources: sourcesOf(look, document.querySelector("isr-how").factor) ?? [] });
        await this.fill();
      }
      this.said.textContent = words.tested;
      soon();
    } catch (error) {
      this.said.textContent = error.message;
    }
    this.test.disabled = false;
  }

  async fill() {
    let about;
    try {
      about = await ask("GET", "/machine");
    } catch (error) {
      tell(error.message);
      return;
    }
    const lines = [
      words.machineLine(about.cores, (about.memory / 2 ** 30).toFixed(0)),
      words.computesWith(about.engines.join(", ")),
      words.keeps(about.folder),
    ];
    const rows = about.speeds.map((row) =>
      make("li", {}, words.perMegapixel([row.networks, row.engine, row.precision, row.device].filter(Boolean).join(", "), row.seconds.toFixed(2))),
    );
    this.about.replaceChildren(
      ...lines.map((line) => make("p", {}, line)),
      ...(rows.length ? [make("p", {}, words.measured), make("ul", {}, ...rows)] : []),
    );
  }
}

customElements.define("isr-machine", Machine);
