// An app that sends by nodemailer and reads by imapflow, tested: npm ci && npm test

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { ImapFlow } from "imapflow";
import nodemailer from "nodemailer";
import { start } from "./servers.mjs";

let servers;
before(async () => {
  servers = await start("--persona", "gmail");
});
after(() => servers.stop());
beforeEach(() => servers.control("POST", "/reset"));

const password = { user: "alice", pass: "wonderland" };
const mail = { from: "alice@example.org", to: "bob@example.org", subject: "hello", text: "Hello, Bob." };

// --- the app

async function unread(auth) {
  const client = new ImapFlow({
    host: "localhost", port: servers.imap.tls_port, secure: true, tls: servers.tls, auth, logger: false,
  });
  await client.connect();
  try {
    await client.mailboxOpen("INBOX");
    const subjects = [];
    for await (const message of client.fetch({ seen: false }, { envelope: true })) subjects.push(message.envelope.subject);
    return subjects;
  } finally {
    await client.logout();
  }
}

function send(auth) {
  const transport = nodemailer.createTransport({
    host: "localhost", port: servers.smtp.port, requireTLS: true, tls: servers.tls, auth,
  });
  return transport.sendMail(mail);
}

const token = async (body = {}) => (await servers.control("POST", "/users/alice/tokens", body)).token;
const reads = async (body) => ({ user: "alice", accessToken: await token(body) });
const sends = async (body) => ({ type: "OAuth2", user: "alice", accessToken: await token(body) });

async function outcomes() {
  const { attempts } = await servers.control("GET", "/attempts");
  return attempts.map((attempt) => attempt.outcome);
}

// --- its tests

test("it reads what is delivered", async () => {
  await servers.control("POST", "/users/alice/mailboxes/INBOX/messages", { raw: "Subject: tea\n\nAt five." });
  assert.deepEqual(await unread(await reads()), ["tea"]);
  assert.deepEqual(await outcomes(), ["accepted"]);
});

test("it sends", async () => {
  await send(await sends());
  const sent = await servers.control("GET", "/messages/wait?to=bob@example.org");
  assert.equal(sent.user, "alice");
  assert.equal(sent.subject, "hello");
  assert.deepEqual(await outcomes(), ["accepted"]);
});

test("a wrong password is told from a broken connection", async () => {
  await servers.control("PUT", "/persona", { persona: "dovecot" });
  await assert.rejects(unread({ ...password, pass: "looking-glass" }), { authenticationFailed: true });
  await assert.rejects(send({ ...password, pass: "looking-glass" }), { code: "EAUTH" });
  assert.deepEqual(new Set(await outcomes()), new Set(["credentials"]));
  await unread(password);
  await send(password);
  await servers.control("PUT", "/persona", { persona: "gmail" });
});

test("a token that has expired is refused, and the log says why", async () => {
  const [reading, sending] = [await reads(), await sends()];
  await servers.control("POST", "/clock", { advance: 3601 });
  await assert.rejects(unread(reading), { authenticationFailed: true });
  await assert.rejects(send(sending), { code: "EAUTH" });
  assert.deepEqual(new Set(await outcomes()), new Set(["expired"]));
});

test("a token that was revoked ends the session", async () => {
  const auth = await reads();
  const client = new ImapFlow({
    host: "localhost", port: servers.imap.tls_port, secure: true, tls: servers.tls, auth, logger: false,
  });
  client.on("error", () => {});
  await client.connect();
  const closed = new Promise((resolve) => client.on("close", resolve));
  await servers.control("POST", "/tokens/revoke", { token: auth.accessToken });
  await closed;
});

test("a server that throttles once is asked again later", async () => {
  await servers.control("POST", "/faults", { text: "imap:SELECT reply NO [THROTTLED] Later" });
  await assert.rejects(unread(await reads()));
  assert.deepEqual(await unread(await reads()), []);
  const { faults } = await servers.control("GET", "/faults");
  assert.deepEqual(faults.map((fault) => fault.hits), [1]);
});
