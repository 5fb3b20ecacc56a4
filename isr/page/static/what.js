// WHAT: files dropped, chosen or pasted, and folders of this computer.

import { make, tell } from "./element.js";
import { send } from "./server.js";
import { words } from "./words.js";

class What extends HTMLElement {
  connectedCallback() {
    const files = make("input", { type: "file", multiple: true, hidden: true, id: "files" });
    const folder = make("input", { type: "file", webkitdirectory: true, multiple: true, hidden: true });
    for (const input of [files, folder]) {
      input.addEventListener("change", () => {
        send([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
        input.value = "";
      });
    }
    const zone = make(
      "div",
      { class: "drop" },
      make("p", {}, words.drop),
      make(
        "p",
        { class: "buttons" },
        make("button", { type: "button", class: "main", onclick: () => files.click() }, words.choose),
        make("button", { type: "button", onclick: () => folder.click() }, words.chooseFolder),
        make(
          "button",
          { type: "button", onclick: () => document.querySelector("isr-picker").show() },
          words.fromComputer,
        ),
      ),
      make("p", { class: "quiet" }, words.paste),
    );
    this.append(
      make("section", { "aria-labelledby": "what" }, make("h2", { id: "what" }, words.what), zone, files, folder),
    );
    let over = 0;
    const mark = (step) => {
      over = Math.max(0, over + step);
      zone.classList.toggle("over", over > 0);
    };
    // Anywhere on the page: a file that misses the field would replace the page.
    addEventListener("dragenter", (event) => isFiles(event) && mark(1));
    addEventListener("dragleave", (event) => isFiles(event) && mark(-1));
    addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
    addEventListener("drop", async (event) => {
      if (!isFiles(event)) return;
      event.preventDefault();
      over = 0;
      mark(0);
      try {
        send(await dropped(event.dataTransfer));
      } catch {
        tell(words.reasons.noReading);
      }
    });
    addEventListener("paste", (event) => {
      const pasted = [...(event.clipboardData?.files || [])];
      if (pasted.length) {
        event.preventDefault();
        send(pasted.map((file) => [file, file.name]));
      }
    });
  }
}

function isFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

async function dropped(transfer) {
  // Entries first: they are gone after the first wait.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => [file, file.name]);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

async function walk(entry, above, found) {
  if (entry.name.startsWith(".")) return;
  const name = above + entry.name;
  if (entry.isFile) {
    found.push([await new Promise((done, failed) => entry.file(done, failed)), name]);
    return;
  }
  const reader = entry.createReader();
  // A reader gives a hundred at a time.
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const inside of some) await walk(inside, `${name}/`, found);
  }
}

customElements.define("isr-what", What);
