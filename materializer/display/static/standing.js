/** How things stand with the daemon, in words, when the person should know. */

import { element } from "./element.js";

const NO_PAGE = [
  "This page has lost its server.",
  "Start it again with: stella-materializer display",
];
const NO_DAEMON = [
  "The materializer is not running.",
  "What is saved stays on this computer. Start it with: stella-materializer run",
];
const SIGNED_OUT = [
  "You are signed out.",
  "What is saved can be looked at; new outputs arrive after you sign in to Stella.",
];
const OFFLINE = [
  "There is no connection to Stella at the moment.",
  "New outputs arrive as soon as there is one.",
];

/** Shows in `banner` what stands in the way of new outputs, or nothing. */
export function stand(banner, state) {
  const words = trouble(state);
  banner.hidden = words === null;
  banner.replaceChildren();
  if (words) banner.append(element("strong", {}, words[0]), ` ${words[1]}`);
}

function trouble(state) {
  if (state === null) return NO_PAGE;
  const { connected, daemon } = state;
  if (!connected || !daemon) return NO_DAEMON;
  if (daemon.feed.state === "signed_out") return SIGNED_OUT;
  if (daemon.disk?.paused) return ["Saving is paused.", daemon.disk.error ?? "The disk is full."];
  if (daemon.feed.state === "backoff") return OFFLINE;
  return null;
}
