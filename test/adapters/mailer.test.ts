import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { createSendMail, type Mail, type SendMail } from "../../adapters/mailer.js";
import { claimMail } from "../../functions/system/outbox.js";
import { createDatabase } from "../support/databases.js";
import { databases, minute, startServer, type TestServer } from "../support/harness.js";
import { SmtpServer } from "../support/smtp.js";

const silent = pino({ level: "silent" });

/** A log that keeps its lines, at the level that the server has by default. */
function keptLog() {
  const lines: string[] = [];
  return { lines, log: pino({ level: "info" }, { write: (line: string) => lines.push(line) }) };
}

const waiting = (server: TestServer) =>
  server.read((db) => db.selectFrom("outbox").select(["recipient", "attempts", "nextAttemptAt"]).execute());

/** Moves time on and lets the mailer do what is due then. */
async function later(server: TestServer, ms: number): Promise<void> {
  await server.advance(ms);
  await server.server.mailer.idle();
}

const ask = (server: TestServer, email: string) => server.nobody.call("users:sendVerification", { email });

describe.each(databases)("the mailer on %s (clawrent.md section 2.3)", (database) => {
  test("hands a mail to the mail server, with the code for people and the sender of the configuration", async () => {
    const smtp = await SmtpServer.start();
    const mailFrom = "Tidepool <noreply@example.com>";
    const server = await startServer(database, { sendMail: createSendMail({ smtpUrl: smtp.url, mailFrom }, silent) });
    await ask(server, "alice@example.com");
    await server.server.mailer.idle();
    expect(smtp.taken).toMatchObject([{ recipient: "alice@example.com" }]);
    const { content } = smtp.taken[0] ?? { content: "" };
    expect(content).toContain(`From: ${mailFrom}`);
    expect(content).toContain("To: alice@example.com");
    const code = /code is (\d{6})\./.exec(content)?.[1];
    await server.nobody.call("users:register", {
      email: "alice@example.com",
      password: "correct horse battery",
      name: "Alice",
      verificationCode: code,
    });
    expect(await waiting(server)).toEqual([]);
    await server.close();
    await smtp.stop();
  });

  test("a mail server that puts it off gets the mail later, and the log gets no code", async () => {
    const smtp = await SmtpServer.start();
    const { lines, log } = keptLog();
    const sendMail = createSendMail({ smtpUrl: smtp.url, mailFrom: "noreply@example.com" }, silent);
    const server = await startServer(database, { sendMail, log });
    smtp.refuses = true;
    await ask(server, "alice@example.com");
    await server.server.mailer.idle();
    expect(await waiting(server)).toMatchObject([{ attempts: 1, nextAttemptAt: server.clock.now() + 10_000 }]);

    await later(server, 9_999);
    expect(smtp.visits).toBe(1);
    await later(server, 1);
    expect(await waiting(server)).toMatchObject([{ attempts: 2, nextAttemptAt: server.clock.now() + 20_000 }]);
    smtp.refuses = false;
    await later(server, 20_000);
    expect(smtp.taken).toHaveLength(1);
    expect(await waiting(server)).toEqual([]);
    expect(smtp.visits).toBe(3);
    const code = /code is (\d{6})\./.exec(smtp.taken[0]?.content ?? "")?.[1] ?? "none";
    expect(lines.filter((line) => line.includes("to be tried again"))).toHaveLength(2);
    expect(lines.join("")).not.toContain(code);
    await server.close();
    await smtp.stop();
  });

  test("what cannot be sent for long is given up, and the log says so without the code", async () => {
    const { lines, log } = keptLog();
    const tried: { mail: Mail; at: number }[] = [];
    const server: TestServer = await startServer(database, {
      log,
      sendMail: async (mail) => {
        tried.push({ mail, at: server.clock.now() });
        throw new Error("connect ECONNREFUSED");
      },
    });
    await ask(server, "alice@example.com");
    await server.server.mailer.idle();
    for (let second = 0; second < 30 * 60 && (await waiting(server)).length > 0; second += 10)
      await later(server, 10_000);
    const [first = { at: 0 }] = tried;
    expect(tried.map(({ at }) => (at - first.at) / 1_000)).toEqual([0, 10, 30, 70, 150, 310, 630, 1_270]);
    expect(lines.filter((line) => line.includes("mail given up"))).toEqual([expect.stringContaining("ECONNREFUSED")]);
    const code = /code is (\d{6})\./.exec(tried[0]?.mail.body ?? "")?.[1] ?? "none";
    expect(lines.join("")).not.toContain(code);
    await server.close();
  });

  test("one mail that fails does not hold up the next", async () => {
    const sent: string[] = [];
    const sendMail: SendMail = async ({ recipient }) => {
      if (recipient.startsWith("alice")) throw new Error("no such mailbox");
      sent.push(recipient);
    };
    const server = await startServer(database, { sendMail });
    await ask(server, "alice@example.com");
    await ask(server, "bob@example.com");
    await server.server.mailer.idle();
    expect(sent).toEqual(["bob@example.com"]);
    expect(await waiting(server)).toMatchObject([{ recipient: "alice@example.com" }]);
    await server.close();
  });

  test("mails go one at a time, and a stop waits for the one in hand and leaves the others", async () => {
    const created = await createDatabase(database);
    let inHand = 0;
    let most = 0;
    const sent: string[] = [];
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const server = await startServer(database, {
      databaseUrl: created.url,
      sendMail: async ({ recipient }) => {
        inHand += 1;
        most = Math.max(most, inHand);
        await held;
        inHand -= 1;
        sent.push(recipient);
      },
    });
    for (const name of ["alice", "bob", "carol"]) await ask(server, `${name}@example.com`);
    let stopped = false;
    const stopping = server.server.close().then(() => {
      stopped = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(stopped).toBe(false);
    release();
    await stopping;
    expect(sent).toEqual(["alice@example.com"]);
    expect(most).toBe(1);

    const after = await startServer(database, { databaseUrl: created.url, clock: server.clock });
    await after.server.mailer.idle();
    expect(after.mails.map(({ recipient }) => recipient)).toEqual(["bob@example.com", "carol@example.com"]);
    await after.close();
    await created.remove();
  });

  test("what a dead process had in hand is sent by the next one, once that is sure to be dead", async () => {
    const created = await createDatabase(database);
    const dying = await startServer(database, { databaseUrl: created.url });
    await dying.server.mailer.stop();
    await ask(dying, "alice@example.com");
    const { mail } = await dying.server.dispatcher.runSystem(claimMail);
    expect(mail).toMatchObject({ recipient: "alice@example.com" });
    await dying.close();

    const next = await startServer(database, { databaseUrl: created.url, clock: dying.clock });
    await next.server.mailer.idle();
    await later(next, minute - 1);
    expect(next.mails).toEqual([]);
    await later(next, 1);
    expect(next.mails).toEqual([{ recipient: mail?.recipient, subject: mail?.subject, body: mail?.body }]);
    expect(await waiting(next)).toEqual([]);
    await next.close();
    await created.remove();
  });

  test("no mail is taken twice by those who look at once", async () => {
    const server = await startServer(database);
    await server.server.mailer.stop();
    for (let count = 0; count < 10; count += 1) await ask(server, `alice-${count}@example.com`);
    const taken = await Promise.all(
      Array.from({ length: 12 }, async () => (await server.server.dispatcher.runSystem(claimMail)).mail?.recipient),
    );
    expect(taken.filter((recipient) => recipient !== undefined)).toHaveLength(10);
    expect(new Set(taken).size).toBe(11);
    await server.close();
  });

  test("a mail is only written if what it is about is", async () => {
    const server = await startServer(database);
    await ask(server, "alice@example.com");
    await expect(ask(server, "alice@example.com")).rejects.toMatchObject({ code: "rate_limited" });
    await server.server.mailer.idle();
    expect(server.mails).toHaveLength(1);
    await server.close();
  });
});

describe("without a mail server (clawrent.md section 2.3)", () => {
  const [database = "sqlite"] = databases;

  test("the mail is one line of the log, with the address and the code, at the default level", async () => {
    const { lines, log } = keptLog();
    const server = await startServer(database, {
      log,
      sendMail: createSendMail({ smtpUrl: undefined, mailFrom: undefined }, log),
    });
    const reply = await ask(server, "alice@example.com");
    await server.server.mailer.idle();
    const [line = "", ...others] = lines.filter((printed) => printed.includes("alice@example.com"));
    expect(others).toEqual([]);
    const code = /code is (\d{6})\./.exec(line)?.[1] ?? "none";
    expect(line.trimEnd()).not.toContain("\n");
    expect(JSON.stringify(reply)).not.toContain(code);
    await server.nobody.call("users:register", {
      email: "alice@example.com",
      password: "correct horse battery",
      name: "Alice",
      verificationCode: code,
    });
    await server.close();
  });
});
