// Pages that are opened as files may start no worker, and the search runs in one. Then an
// invisible frame takes its place: it has the worker's script and passes messages on.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<!doctype html><title>search</title>";
      frame.onload = () => {
        const inside = frame.contentWindow;
        inside.postMessage = (data) =>
          this.dispatchEvent(new MessageEvent("message", { data }));
        // Scripts of the worker, such as another language's, in their order.
        inside.importScripts = (...urls) =>
          urls.reduce((before, next) => before.then(() => load(next)), Promise.resolve());
        const load = (src) =>
          new Promise((done, failed) => {
            const script = inside.document.createElement("script");
            Object.assign(script, { src, onload: done, onerror: failed });
            inside.document.head.append(script);
          });
        load(new URL(url, location.href).href).then(() => {
          this.inside = inside;
          this.waiting.splice(0).forEach((data) => this.postMessage(data));
        });
      };
      document.body.append(frame);
    }
    postMessage(data) {
      if (!this.inside) this.waiting.push(data);
      else this.inside.dispatchEvent(new MessageEvent("message", { data }));
    }
    terminate() {}
  };
}
