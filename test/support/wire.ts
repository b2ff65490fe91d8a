import { EventEmitter } from "node:events";
import { WebSocket } from "ws";

/** What a socket uses of `ws`. */
export class Wire extends EventEmitter {
  readyState: number = WebSocket.OPEN;
  isPaused = false;
  bufferedAmount = 0;
  pause() {
    this.isPaused = true;
  }
  resume() {
    this.isPaused = false;
  }
  closedWith: number | undefined;
  isTerminated = false;
  send() {}
  close(code: number) {
    this.closedWith = code;
  }
  terminate() {
    this.isTerminated = true;
  }
}
