// Logs in by nodemailer or imapflow as each line of the input says, and writes a line when that has come to its end.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { ImapFlow } from "imapflow";
import nodemailer from "nodemailer";

function options({ host, port, ca, user, secret, token }) {
  const auth = token ? { type: "OAuth2", user, accessToken: secret } : { user, pass: secret };
  return { host, port, secure: true, tls: { ca: readFileSync(ca) }, auth, logger: false };
}

async function smtp(asked) {
  const transport = nodemailer.createTransport(options(asked));
  await transport.verify();
  transport.close();
  return "done";
}

async function imap(asked) {
  const client = new ImapFlow(options(asked));
  client.on("error", () => {});
  await client.connect();
  await client.logout();
  return "done";
}

async function idle(asked) {
  const client = new ImapFlow(options(asked));
  await client.connect();
  await client.mailboxOpen("INBOX");
  const told = new Promise((resolve) => client.once("exists", resolve));
  client.idle();
  const { path, count, prevCount } = await told;
  await client.logout();
  return `${path} ${prevCount} -> ${count}`;
}

const acts = { smtp, imap, idle };
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  console.log(await acts[asked.act](asked).catch((error) => `done ${error.code}`));
}
