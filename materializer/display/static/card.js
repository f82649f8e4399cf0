/** One group of outputs as a card of the grid. */

import { element, icon, iconButton } from "./element.js";
import { still } from "./model.js";
import * as api from "./api.js";
import * as words from "./words.js";

const SETTLED_MS = 120;
const PICTURES = 4;
const EXCERPT = 700;
const LARGEST_STILL = 32 * 2 ** 20;
const LARGEST_EXCERPT = 2 ** 20;

/** Returns a list item; `does` has `open`, `reveal`, `copy` and `remove`, each of a group. */
export function card(group, does, isNew) {
  const [item] = group.items;
  const name = words.title(item);
  return element(
    "li",
    { class: `card ${group.kind}` },
    picture(group, name, does),
    element(
      "div",
      { class: "caption" },
      element("p", { class: "title", title: name }, name),
      element(
        "p",
        { class: "facts" },
        isNew ? element("span", { class: "new" }, "New") : null,
        ` ${facts(group).join(" · ")} `,
      ),
    ),
    element(
      "div",
      { class: "actions" },
      iconButton("folder", `Open in folder: ${name}`, () => does.reveal(group)),
      iconButton("copy", `Copy: ${name}`, () => does.copy(group)),
      iconButton("remove", `Remove: ${name}`, () => does.remove(group)),
    ),
  );
}

function facts(group) {
  const [item] = group.items;
  const many = group.items.length > 1;
  const [kind, ...rest] = words.facts(item);
  const first = many ? words.count(group.items.length, "image") : kind;
  const [second] = many ? [] : rest;
  return [first, second, words.when(item.createdAt)].filter(Boolean);
}

function picture(group, name, does) {
  const [item] = group.items;
  const shown = group.items.every(({ missing }) => missing) ? gone() : FACES[item.kind](group);
  const open = element("button", {
    type: "button",
    class: "open",
    "aria-label": `${name}, ${facts(group).join(", ")}`,
    click: () => does.open(group),
  });
  const face = element("div", { class: "face" }, shown, open);
  if (item.kind === "audio" && !item.missing) face.append(sound(item, name));
  return face;
}

const FACES = { image: images, video, audio: glyph, model3d: model, text: excerpt, download: file };

function images({ items }) {
  const shown = items.filter(({ missing }) => !missing);
  const pictures = shown.slice(0, PICTURES).map((item) =>
    element("img", { src: item.thumbnailUrl ?? item.url, alt: "", decoding: "async", draggable: "false" }),
  );
  const more = shown.length > 1 ? element("span", { class: "badge" }, shown.length) : null;
  return element("div", { class: `pictures of-${pictures.length}` }, ...pictures, more);
}

function video({ items: [item] }) {
  const face = element("div", { class: "pictures of-1" });
  if (item.thumbnailUrl) face.append(element("img", { src: item.thumbnailUrl, alt: "" }));
  else
    whenSettled(face, () => {
      const film = { src: `${item.url}#t=0.1`, muted: true, preload: "metadata", tabindex: "-1" };
      face.prepend(element("video", { ...film, "aria-hidden": "true" }));
    });
  face.append(element("span", { class: "play" }, icon("play")));
  return face;
}

function sound(item, name) {
  const audio = element("audio", {
    controls: true,
    controlslist: "nodownload noplaybackrate",
    preload: "none",
    "aria-label": name,
  });
  whenSettled(audio, () => {
    audio.preload = "metadata";
    audio.src = item.url;
  });
  return audio;
}

function model({ items: [item] }) {
  const face = element("div", { class: "pictures of-1 plain" }, icon("model3d"));
  if (item.bytes <= LARGEST_STILL)
    whenSettled(face, async () => {
      const drawing = await still(item);
      if (drawing) face.replaceChildren(drawing);
    });
  return face;
}

function excerpt({ items: [item] }) {
  const face = element("div", { class: "excerpt" });
  if (item.bytes <= LARGEST_EXCERPT)
    whenSettled(face, async () => {
      try {
        face.append((await api.text(item)).slice(0, EXCERPT));
      } catch (error) {
        face.append(error.message);
      }
    });
  else face.append("A long transcript.");
  return face;
}

function file({ items: [item] }) {
  return element(
    "div",
    { class: "file" },
    icon("download"),
    element("p", { class: "name" }, item.fileName),
    element("p", {}, `${item.mimeType} · ${words.size(item.bytes)}`),
  );
}

function glyph({ items: [item] }) {
  return element("div", { class: "pictures plain" }, icon(item.kind));
}

function gone() {
  return element("div", { class: "file gone" }, "The file is no longer on this computer.");
}

/** Does what costs something only for what stays in sight for a moment. */
function whenSettled(node, act) {
  setTimeout(() => node.isConnected && act(), SETTLED_MS);
}
