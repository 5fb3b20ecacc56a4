// The page: its parts, and the words that stand in it.

import "./what.js";
import "./how.js";
import "./go.js";
import "./picker.js";
import "./try.js";
import "./compare.js";
import "./machine.js";
import { look } from "./server.js";
import { words } from "./words.js";

for (const node of document.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
document.title = words.title;
look();
