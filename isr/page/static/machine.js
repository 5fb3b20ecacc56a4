// This computer: what it has, and how fast it was, or is found to be.

import { make, tell } from "./element.js";
import { chosenBy, looksNow } from "./how.js";
import { ask, soon, watch } from "./server.js";
import { duration, words } from "./words.js";

const PHOTO = 12; // megapixels

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
    this.boot = "";
    watch(({ boot }) => boot !== this.boot && this.meet(boot));
  }

  async meet(boot) {
    // Of every server anew, and again where it did not answer.
    this.boot = boot;
    try {
      document.querySelector("isr-how").know(await ask("GET", "/machine"));
    } catch {
      this.boot = "";
    }
  }

  async measure() {
    this.test.disabled = true;
    try {
      await document.querySelector("isr-how").sent;
      for (const look of looksNow()) {
        this.said.textContent = words.testing(words.looks[look][0]);
        await ask("POST", "/measure", chosenBy(look));
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
      about.cards.length ? words.calculatesOnCard(about.cards.join(", ")) : words.calculatesOn,
      words.calculatesWith(
        about.engines.map((name) => [name, about.versions[name]].filter(Boolean).join(" ")).join(", "), about.version,
      ),
      words.photosBy(about.auto.engine, about.auto.precision, about.auto.pace !== null),
      words.keeps(about.folder),
    ];
    // Of one network at a time: chains are made of these.
    const rows = about.speeds.filter((row) => !row.networks.includes(" then ")).map(({ look, networks, engine, precision, device, seconds }) =>
      make("li", {}, words.perPhoto(look ? words.looks[look][0] : networks, duration(PHOTO * seconds)),
        make("small", { class: "term" },
          words.perMegapixel([networks, engine, precision, device].filter(Boolean), seconds))),
    );
    this.about.replaceChildren(
      ...lines.map((line) => make("p", {}, line)),
      ...(rows.length ? [make("p", {}, words.measured), make("ul", {}, ...rows)] : []),
    );
  }
}

customElements.define("isr-machine", Machine);
