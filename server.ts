/**
 * `createServer` wires configuration, database, runtime, timer and adapters into one running server. It contains
 * nothing else.
 */
import type { Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer, type HttpBindings } from "@hono/node-server";
import { type Logger, pino } from "pino";
import { Connections, connectionOptions } from "./adapters/connections.js";
import { Exchange, refusalResponse } from "./adapters/exchange.js";
import { addHealthRoutes } from "./adapters/health.js";
import { createHttpApp } from "./adapters/http.js";
import { Credentials } from "./adapters/live/credentials.js";
import { addSubscribeRoute } from "./adapters/live/subscribe-route.js";
import { Subscriptions } from "./adapters/live/subscriptions.js";
import { addSyncSockets } from "./adapters/live/sync-route.js";
import { createSendMail, Mailer, type SendMail } from "./adapters/mailer.js";
import { OpenByAddress } from "./adapters/open-by-address.js";
import { Origins, wrongOrigin } from "./adapters/origins.js";
import { addPageRoutes } from "./adapters/pages.js";
import { addRestRoutes } from "./adapters/rest.js";
import { addRpcRoutes } from "./adapters/rpc.js";
import { Background } from "./adapters/sockets/background.js";
import { addMarketplaceSockets } from "./adapters/sockets/marketplace-sockets.js";
import { SocketServer } from "./adapters/sockets/socket-server.js";
import { WaitingReplies } from "./adapters/waiting-replies.js";
import { modules } from "./functions/index.js";
import { expireDueRows } from "./functions/system/deadlines.js";
import { noteFirstUse } from "./functions/system/key-use.js";
import { adoptSignIn, seeSignIn } from "./functions/system/sign-ins.js";
import { Admission } from "./runtime/call/admission.js";
import { Authenticator, type SignInKeeper } from "./runtime/call/caller.js";
import { Dispatcher } from "./runtime/call/dispatch.js";
import { KeptReplies } from "./runtime/call/kept-replies.js";
import { type Modules, Registry } from "./runtime/call/registry.js";
import { Transactions } from "./runtime/call/transact.js";
import { type Clock, systemClock } from "./runtime/clock.js";
import type { Config } from "./runtime/config.js";
import { DeadlineTimer } from "./runtime/deadlines.js";
import { newUuid } from "./runtime/ids.js";
import { LargeRequests } from "./runtime/large-requests.js";
import { type Held, liveBudget, openBudgets, sizes } from "./runtime/limits.js";
import type { Bus, BusParts } from "./runtime/live/bus.js";
import { ReplyCache } from "./runtime/live/reply-cache.js";
import { Watches } from "./runtime/live/watches.js";
import { NoticeBoard } from "./runtime/notices.js";
import { Passwords } from "./runtime/passwords.js";
import { RateLimits, type SharedCounting } from "./runtime/rate-limits.js";
import { openStore } from "./runtime/store/database.js";
import type { Store } from "./runtime/store/store.js";
import { Timestamps } from "./runtime/timestamps.js";
import { loadSecret, secretFile, Tokens } from "./runtime/tokens.js";
import { Turns, turnsOn } from "./runtime/turns.js";

/** How long calls may go on after the server was told to stop. */
const shutdownMs = 10_000;

/** What a test or an embedding program may replace. */
export interface ServerParts {
  clock?: Clock;
  log?: Logger;
  /** Modules to serve in addition to the product's own. */
  modules?: Modules;
  passwords?: Passwords;
  /** Takes mails in place of SMTP or the log. */
  sendMail?: SendMail;
}

export interface TidepoolServer {
  /** Where the server listens, such as `http://127.0.0.1:3001`. */
  url: string;
  /** Base of the links that the server hands out. */
  publicUrl: string;
  registry: Registry;
  dispatcher: Dispatcher;
  watches: Watches;
  held: Held;
  timestamps: Timestamps;
  store: Store;
  notices: NoticeBoard;
  /** Undefined if other processes may write to the same database. */
  replies: ReplyCache | undefined;
  /** The link to other processes on the same database; undefined if there can be none. */
  bus: Bus | undefined;
  deadlines: DeadlineTimer;
  mailer: Mailer;
  /** Stops accepting calls, lets running ones finish, and checkpoints. Safe to call again. */
  close(): Promise<void>;
}

/** Opens and migrates the database, catches up on deadlines, and listens. Rejects if any of these fails. */
export async function createServer(config: Config, parts: ServerParts = {}): Promise<TidepoolServer> {
  const clock = parts.clock ?? systemClock;
  const log = parts.log ?? createLog(config);
  const registry = new Registry({ ...modules, ...parts.modules });
  const store = await openStore(config.databaseUrl);
  let port = config.port;
  // With `PORT=0` the address is known only once it is taken.
  const publicUrl = () => config.publicUrl ?? `http://localhost:${port}`;
  let accepting = true;

  const notices = new NoticeBoard(log);
  const tokens = new Tokens(config.jwtSecret ?? loadSecret(secretFile(config.databaseUrl)), clock);
  const watches = new Watches();
  const processId = newUuid(clock.now());
  const bus = store.dialect.sharedByProcesses
    ? await openBus({ url: config.databaseUrl, processId, clock, log, watches, notices })
    : undefined;
  const limits = new RateLimits(config.rateLimits, clock, bus && sharedCounting(store, bus, tokens));
  const held = openBudgets(clock, config.rateLimits);
  const largeRequests = new LargeRequests(clock, config.rateLimits);
  notices.on("callsCounted", (notice) => limits.counted(notice));
  const replies = store.dialect.sharedByProcesses ? undefined : new ReplyCache(watches, () => clock.now());
  for (const kind of ["credentialEnded", "agentOwnerChanged", "userStandingChanged"] as const) {
    notices.on(kind, () => replies?.clear());
  }
  const adminEmails = new Set(config.adminEmails);
  const timer = new DeadlineTimer(clock, log, () => dispatcher.runSystem(expireDueRows));
  const signIns: SignInKeeper = {
    adopt: (signIn) => dispatcher.runSystem(adoptSignIn, signIn),
    see: (signInId) => {
      dispatcher
        .runSystem(seeSignIn, { signInId })
        .catch((err: unknown) => log.warn({ err }, "the last use of a sign-in is not noted"));
    },
  };
  const settings = {
    adminEmails,
    autoApproveProviders: config.autoApproveProviders,
    topUps: config.topUps,
    disputeMs: config.disputeHours * 3_600_000,
  };
  const authenticator = new Authenticator(store, clock, tokens, adminEmails, signIns, notices, (secretHash) =>
    dispatcher.runSystem(noteFirstUse, { secretHash }),
  );
  const admission = new Admission(authenticator, limits, log);
  const timestamps = new Timestamps(clock);
  const transactions = new Transactions({
    store,
    clock,
    log,
    authenticator,
    passwords: parts.passwords ?? new Passwords(),
    tokens,
    notices,
    watches,
    bus,
    timestamps,
    settings,
    publicUrl,
    wakeAt: (at) => timer.wakeAt(at),
  });
  const dispatcher = new Dispatcher({ registry, admission, transactions, tokens, log });

  // Another process may have died before it could wake the timer.
  notices.on("noticesMissed", () => timer.wakeAt(clock.now()));

  const mailer = new Mailer(dispatcher, notices, clock, log, parts.sendMail ?? createSendMail(config, log));

  const { trustProxy } = config;
  const origins = new Origins(config.corsOrigins, publicUrl);
  const app = createHttpApp(log);
  addHealthRoutes(app, { checkDatabase: () => store.check(), accepting: () => accepting, now: () => clock.now() });
  addRestRoutes(app, dispatcher, registry);
  const credentials = new Credentials(notices, clock, new Turns(turnsOn(store.dialect.callsAtOnce, clock, undefined)));
  const turns = new Turns(turnsOn(store.dialect.callsAtOnce, clock, config.rateLimits ? liveBudget : undefined));
  const live = { dispatcher, admission, registry, watches, held, timestamps, clock };
  const subscriptions = new Subscriptions({ ...live, turns, sharedDatabase: store.dialect.sharedByProcesses });
  const streams = addSubscribeRoute(app, { ...live, limits, subscriptions, credentials });
  const kept = replies && new KeptReplies({ cache: replies, watches, admission, registry, log });
  addRpcRoutes(app, { dispatcher, clock, replies: kept });
  addPageRoutes(app, { dispatcher, publicUrl }, (path) => sockets.hasChannelAt(path));
  const background = new Background(clock, log);
  const sockets = new SocketServer({
    clock,
    log,
    limits,
    held,
    largeRequests,
    notices,
    background,
    trustProxy,
    origins,
  });
  const socketRows = addMarketplaceSockets(sockets, {
    dispatcher,
    admission,
    notices,
    clock,
    log,
    limits,
    background,
    processId,
    alone: !store.dialect.sharedByProcesses,
  });
  addSyncSockets(sockets, { ...live, subscriptions, credentials });
  const open = config.rateLimits ? new OpenByAddress() : undefined;
  const exchanges = { held, open, largeRequests, waitingReplies: new WaitingReplies(), trustProxy };
  const http = createAdaptorServer({
    fetch: (request, env) => {
      const bindings = env as HttpBindings;
      const exchange = new Exchange(bindings, exchanges);
      const { refusal } = exchange;
      if (!origins.allow(bindings.incoming.headers.origin)) return refusalResponse(wrongOrigin());
      return refusal ? refusalResponse(refusal) : app.fetch(request, Object.assign(bindings, { exchange }));
    },
    serverOptions: connectionOptions,
  }) as HttpServer;
  const connections = new Connections(http, { log, byAddress: config.rateLimits && !trustProxy });

  try {
    await store.migrate();
    // The bus starts to hear what other processes change before this one reads anything.
    await bus?.start();
    await socketRows.start();
    await timer.start();
    mailer.start();
    sockets.start(http);
    port = await listen(http, config);
  } catch (error) {
    await Promise.all([sockets.stop(), timer.stop(), mailer.stop()]);
    await socketRows.end();
    await bus?.stop();
    await store.close().catch(() => {});
    throw error;
  }
  const url = `http://${config.host.includes(":") ? `[${config.host}]` : config.host}:${port}`;
  log.info({ url, database: store.dialect.name }, "listening");

  let closing: Promise<void> | undefined;
  const close = async () => {
    accepting = false;
    streams.stop();
    await Promise.all([connections.stop(shutdownMs), sockets.stop(), timer.stop(), mailer.stop()]);
    await socketRows.end();
    await bus?.stop();
    await store.close();
    log.info("stopped");
    log.flush();
  };
  return {
    url,
    publicUrl: publicUrl(),
    registry,
    dispatcher,
    watches,
    held,
    timestamps,
    store,
    notices,
    replies,
    bus,
    deadlines: timer,
    mailer,
    close: () => (closing ??= close()),
  };
}

function sharedCounting(store: Store, bus: Bus, tokens: Tokens): SharedCounting | undefined {
  return (
    store.query && {
      query: store.query.bind(store),
      tell: (notice) => bus.notice([notice]),
      pseudonym: (who) => tokens.derive(`counted: ${who}`),
    }
  );
}

/** Loads the PostgreSQL driver only if it is needed. */
async function openBus(parts: BusParts): Promise<Bus> {
  const { Bus } = await import("./runtime/live/bus.js");
  return new Bus(parts);
}

function createLog(config: Config): Logger {
  return pino({ level: config.logLevel, base: null }, pino.destination({ fd: 1, sync: false }));
}

function listen(http: HttpServer, { host, port }: Config): Promise<number> {
  return new Promise((resolve, reject) => {
    http.once("error", reject);
    http.listen({ port, host, backlog: sizes.connectionsWaiting }, () => {
      http.off("error", reject);
      resolve((http.address() as AddressInfo).port);
    });
  });
}
