// This computer: what it has, and how fast it was.

import { make } from "./element.js";
import { ask } from "./server.js";
import { words } from "./words.js";

class Machine extends HTMLElement {
  connectedCallback() {
    const details = make("details", {}, make("summary", {}, words.machine));
    details.addEventListener("toggle", () => details.open && this.fill(details));
    this.append(details);
    ask("GET", "/machine").then((about) => document.querySelector("isr-how").know(about), () => {});
  }

  async fill(details) {
    const about = await ask("GET", "/machine");
    const lines = [
      words.machineLine(about.cores, (about.memory / 2 ** 30).toFixed(0)),
      words.computesWith(about.engines.join(", ")),
      words.keeps(about.folder),
    ];
    const rows = about.speeds.map((row) =>
      make("li", {}, words.perMegapixel([row.networks, row.engine, row.precision, row.device].filter(Boolean).join(", "), row.seconds.toFixed(2))),
    );
    details.replaceChildren(
      details.firstChild,
      ...lines.map((line) => make("p", {}, line)),
      ...(rows.length ? [make("p", {}, words.measured), make("ul", {}, ...rows)] : []),
    );
  }
}

customElements.define("isr-machine", Machine);
