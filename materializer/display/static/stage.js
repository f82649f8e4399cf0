/** One output, as large as the lightbox is. */

import * as api from "./api.js";
import { element, icon } from "./element.js";
import { view } from "./model.js";
import * as words from "./words.js";

/** Returns `{node, close}`; what plays or turns ends with `close`. */
export function stage(item) {
  if (item.missing) return quiet(element("p", {}, "The file is no longer on this computer."));
  return STAGES[item.kind](item);
}

const STAGES = { image, video: player, audio: player, model3d: view, text, download };

function image(item) {
  return quiet(element("img", { src: item.url, alt: words.title(item) }));
}

function player(item) {
  const label = words.title(item);
  const shown = { src: item.url, controls: true, preload: "metadata", "aria-label": label };
  const node = element(item.kind, { ...shown, playsinline: true });
  const close = () => {
    node.removeAttribute("src");
    node.load();
  };
  return { node, close };
}

function text(item) {
  const node = element("div", { class: "transcript", tabindex: "0", role: "document", "aria-label": "Transcript" });
  api.text(item).then(
    (found) => node.append(found),
    (error) => node.append(error.message),
  );
  return quiet(node);
}

function download(item) {
  const about = `${item.mimeType} · ${words.size(item.bytes)}`;
  const link = element("a", { href: `${item.url}?download=1` }, "Save a copy");
  return quiet(
    element(
      "div",
      { class: "file" },
      icon("download"),
      element("p", { class: "name" }, item.fileName),
      element("p", {}, item.label ? `${item.label} · ${about}` : about),
      link,
    ),
  );
}

function quiet(node) {
  return { node, close() {} };
}
