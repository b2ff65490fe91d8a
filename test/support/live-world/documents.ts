/** The live world's documents: admins write them, and everybody reads them. */
import { randomUUID } from "node:crypto";
import { type Act, ask, type Ground, nobody, type Part, type Question } from "./ground.js";

export class Documents implements Part {
  readonly #docs: string[] = [];
  #path = "";

  constructor(readonly ground: Ground) {}

  async open(): Promise<void> {
    for (let count = 0; count < 2; count += 1) await this.#publish();
    const docId = this.#docs.shift();
    await this.ground.call(this.ground.admin, "docs:update", { docId, content: "Longer texts" });
    await this.ground.call(this.ground.admin, "docs:unpublish", { docId });
    await this.ground.call(this.ground.admin, "docs:remove", { docId });
  }

  questions(): Question[] {
    return [
      ...this.#docs.slice(-1).map((docId) => ask(nobody, "docs:get", { docId })),
      ask(nobody, "docs:getByPath", { path: this.#path }),
      ask(nobody, "docs:search", { q: "long texts" }),
      ask(nobody, "docs:getTree"),
      ask(this.ground.admin, "docs:getTree"),
    ];
  }

  acts(): Act[] {
    const { dice, admin, step } = this.ground;
    const docId = dice.one(this.#docs);
    return [
      ["document", () => this.#publish()],
      this.ground.act(admin, "docs:update", { docId, content: `Long texts of step ${step}` }),
      this.ground.act(admin, "docs:unpublish", { docId }),
      this.ground.act(admin, "docs:remove", { docId }),
    ];
  }

  async #publish(): Promise<void> {
    const { admin, step } = this.ground;
    const title = `Page ${step} ${randomUUID()}`;
    const { id } = await this.ground.call(admin, "docs:create", { type: "document", title, content: "Long texts" });
    this.#docs.push(id);
    this.#path = (await this.ground.call(admin, "docs:publish", { docId: id })).path;
  }
}
