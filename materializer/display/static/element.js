/** Makes nodes of the page. What is not a node becomes text, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns a new element. An attribute that is a function listens to the event of its
 * name, true sets it empty, and false, null and undefined leave it out.
 */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

const SHAPES = {
  folder: "M3 7a2 2 0 0 1 2-2h4l2 2h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  remove: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5",
  retry: "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
  close: "M6 6l12 12M18 6L6 18",
  previous: "M14.5 5l-7 7 7 7",
  next: "M9.5 5l7 7-7 7",
  save: "M12 4v11M7 10.500l5 5 5-5M5 20h14",
  play: "M8 5.500v13l11-6.500z",
  audio: "M5 10v4M9 6v12M13 9v6M17 4v16M21 10v4",
  model3d: "M12 3l8 4.500v9L12 21l-8-4.500v-9zM12 12l8-4.500M12 12v9M12 12L4 7.5",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01",
  video: "M4 6h11v12H4zM15 10l5-3v10l-5-3",
  text: "M5 6h14M5 10h14M5 14h14M5 18h8",
  download: "M6 3h8l4 4v14H6zM14 3v4h4",
};

/** Returns a drawing that says nothing to a screen reader. */
export function icon(shape) {
  const drawing = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", SHAPES[shape]);
  drawing.append(line);
  return fill(drawing, { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, []);
}

/** Returns a button that shows an icon and is named by words. */
export function iconButton(shape, words, click, attributes = {}) {
  return element(
    "button",
    { type: "button", class: "icon-button", title: words, "aria-label": words, click, ...attributes },
    icon(shape),
  );
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false && value !== null && value !== undefined)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
