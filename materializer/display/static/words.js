/** What a person reads about an output or a job. */

export const KINDS = {
  image: "Image",
  video: "Video",
  audio: "Audio",
  model3d: "3D model",
  text: "Transcript",
  download: "File",
};

const UNTITLED = {
  image: "Generated image",
  video: "Generated video",
  audio: "Generated audio",
  model3d: "Generated 3D model",
  text: "Generated text",
  download: "Generated file",
};

const STATES = {
  pending: "Waiting",
  fetching: "Saving",
  failed: "Failed",
  unrecognised: "Not understood",
};

/** Names an output, or a job: its prompt, else what made it, else what it is. */
export function title({ prompt, label, capability, kind }) {
  return prompt?.trim() || label || spaced(capability) || UNTITLED[kind] || "Media job";
}

/** Says in a few words what an output is. */
export function facts(item) {
  const words = [KINDS[item.kind]];
  if (item.kind === "download") words[0] = extension(item).toUpperCase() || KINDS.download;
  if (item.width && item.height) words.push(`${item.width} × ${item.height}`);
  if (item.durationMs) words.push(duration(item.durationMs));
  words.push(size(item.bytes));
  return words;
}

export function extension({ fileName }) {
  const dot = fileName.lastIndexOf(".");
  return dot > 0 ? fileName.slice(dot + 1) : "";
}

export function spaced(capability) {
  return capability ? sentence(capability.replaceAll("_", " ")) : "";
}

export function state(job) {
  if (job.state !== "pending") return STATES[job.state] ?? spaced(job.state);
  if (job.nextAttemptAt) return `Trying again at ${clock(job.nextAttemptAt)}`;
  return job.status === "succeeded" ? STATES.pending : "Being made";
}

export function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const number = bytes / 1024 ** step;
  return `${step && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[step]}`;
}

export function duration(ms) {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Says when something was: the hour if it was today, else the day. */
export function when(ms) {
  const then = new Date(ms);
  const now = new Date();
  if (then.toDateString() === now.toDateString()) return clock(ms);
  const year = then.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return then.toLocaleDateString(undefined, { day: "numeric", month: "short", year });
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}

function clock(ms) {
  return new Date(ms).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
