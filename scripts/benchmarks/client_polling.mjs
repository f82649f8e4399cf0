// The app's own command's way to wait: it orders, asks for the job every two seconds,
// and writes the picture under its name as it comes, without a sync. The variables say
// where, who and into which folder; the argument is the order. It says what ours says.
import { createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";

const { STELLA_SITE_URL: site, STELLA_TOKEN: token, OUTPUTS: folder } = process.env;
const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };

async function asked(path, options) {
  const answer = await fetch(`${site}/api/media/v1/${path}`, { headers, ...options });
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
  return answer.json();
}

const { jobId } = await asked("generate", { method: "POST", body: process.argv[2] });
console.error(`media job ${jobId}: submitted`);
let job = await asked(`job?jobId=${jobId}`);
while (job.status === "queued" || job.status === "running") {
  await setTimeout(2000);
  job = await asked(`job?jobId=${jobId}`);
}
const path = `${folder}/${jobId}_0.png`;
const picture = await fetch(job.output.images[0].url);
if (!picture.ok) throw new Error(`the picture: HTTP ${picture.status}`);
await pipeline(Readable.fromWeb(picture.body), createWriteStream(path));
console.log(`Media job ${jobId} completed.\nimage: ${path}`);
