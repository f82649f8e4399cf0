// The official JavaScript client. Arguments: the folder where npm has installed it, the
// deployment's URL, a token. What it notes is explained in tally.py.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const [folder, url, token] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { ConvexClient } = require("convex/browser");
const { anyApi } = require("convex/server");

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
let cpu, rows, seen;

function note(jobs) {
  if (jobs.length === 0) return;
  const [newest] = jobs;
  if (newest.profile === "begin") {
    say({ begun: true });
    [cpu, rows, seen] = [cpuSeconds(), 0, []];
    return;
  }
  seen.push([Number(newest.jobId.slice("job_".length)), process.hrtime.bigint()]);
  rows += jobs.length;
  if (newest.profile === "turn") say({ handed_over: newest.jobId });
  if (newest.profile !== "end") return;
  cpu = cpuSeconds() - cpu;
  const last = jobs.map((job) =>
    [job.jobId, job.status, job.completedAt, job.request.prompt, job.output.images[0].url].join(" "),
  );
  const digest = createHash("sha256").update(last.join("\n")).digest("hex");
  // Nanoseconds since boot stay exact as numbers for 104 days.
  say({ cpu, rows, seen: seen.map(([number, at]) => [number, Number(at)]), digest });
}

const client = new ConvexClient(url, {
  logger: false,
  unsavedChangesWarning: false,
  webSocketConstructor: require("ws"),
});
client.setAuth(async () => token);
client.onUpdate(anyApi.media_jobs.listSucceededSince, { since: 0, limit: 200 }, note);
