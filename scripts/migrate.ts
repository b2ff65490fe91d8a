#!/usr/bin/env node
/**
 * `npm run migrate` brings the database of `DATABASE_URL` to the newest schema and exits. The server does the same when
 * it starts.
 */
import { readConfig } from "../runtime/config.js";
import { openStore } from "../runtime/store/database.js";

const store = await openStore(readConfig(process.env).databaseUrl);
await store.migrate();
await store.close();
console.log("The database has the newest schema.");
