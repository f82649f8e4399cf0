// The reference app's way: the official client, fetch, a file, a callback in the same
// process; nothing is synced, checked or indexed. Arguments: the folder where npm has
// installed the client, the deployment's URL, a token, a folder for the files. Each file
// is one line: its job, when the callback was called, in ns since boot, its path.
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";

const [folder, url, token, to] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { ConvexClient } = require("convex/browser");
const { anyApi } = require("convex/server");

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const seen = new Set();

function show(job, path) {
  say({ job, at: Number(process.hrtime.bigint()), files: [path] });
}

async function save({ jobId, output }) {
  const response = await fetch(output.images[0].url);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const path = `${to}/${jobId}.png`;
  await writeFile(path, Buffer.from(await response.arrayBuffer()));
  show(jobId, path);
}

const client = new ConvexClient(url, {
  logger: false,
  unsavedChangesWarning: false,
  webSocketConstructor: require("ws"),
});
client.setAuth(async () => token);
client.onUpdate(anyApi.media_jobs.listSucceededSince, { since: 0, limit: 200 }, (jobs) => {
  for (const job of jobs) {
    if (seen.has(job.jobId)) continue;
    seen.add(job.jobId);
    void save(job);
  }
});
say({ ready: true });
