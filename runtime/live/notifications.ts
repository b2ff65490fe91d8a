/** The statements by which processes on one PostgreSQL database reach each other. */
import pg from "pg";

export const channel = "tidepool";

/** The name under which the database lists the connection of a process's bus. */
export const applicationName = (processId: string) => `tidepool bus ${processId}`;

export async function notify(client: pg.Client, messages: readonly string[]): Promise<void> {
  await client.query({
    name: "notify",
    text: `select pg_notify('${channel}', message) from unnest($1::text[]) as message`,
    values: [messages],
  });
}

/** Whether the database works but will never accept this text (classes 22 and 54). */
export function isRefused(error: unknown): boolean {
  return error instanceof pg.DatabaseError && /^(22|54)/.test(error.code ?? "");
}

/** The other processes whose bus is connected. */
export async function peersOf(client: pg.Client, processId: string): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>({
    name: "peers",
    text: `select application_name as name from pg_stat_activity
      where datname = current_database() and application_name like $1`,
    values: [applicationName("%")],
  });
  const prefix = applicationName("").length;
  return new Set(rows.map(({ name }) => name.slice(prefix)).filter((name) => name !== processId));
}
