/** How statements travel to PostgreSQL. */
import { Socket } from "node:net";

/**
 * A socket that sends what is written in one turn together. `pg` writes each statement, and each part of one, on its
 * own; BEGIN with the first statements, and COMMIT behind the last ones, are then one system call and one wake-up of
 * the database instead of many.
 */
export class GatheringSocket extends Socket {
  #gathering = false;

  override write: Socket["write"] = (...args: [never]) => {
    if (!this.#gathering) {
      this.#gathering = true;
      this.cork();
      process.nextTick(() => {
        this.#gathering = false;
        this.uncork();
      });
    }
    return super.write(...args);
  };
}
