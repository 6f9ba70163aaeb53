// The live picture in an element: as Motion JPEG or H.264, and again after whatever happened.

const AGAIN_MS = [250, 500, 1000, 2000, 4000]; // between two tries; the last again and again
const ALIVE_MS = 5000; // a picture for so long, and the next try is a first one
const LASTS_S = 1; // what each fragment says it lasts; the next takes its place
const BEHIND_S = 0.25; // later than that, and the newest is jumped to
const NEAR_S = 0.04, NEAR_ENOUGH_S = 0.015; // where it is kept by a speed that is not seen
const FASTER = 1.1, SLOWER = 0.95;
const SILENT_MS = 15_000; // no picture for so long, and the connection is taken for dead
const SILENT = "No picture has come for a while";
const GONE = "The server sends no picture";
const KEPT_S = 10; // of what was shown, before it is given back
const BETTER_MS = 30_000; // Motion JPEG for so long where H.264 failed, then it is asked for again
const OUT_OF_ROOM = 1013, NONE_HERE = 4001, NOT_NOW = 4002; // h264.py says these
const Source = window.ManagedMediaSource ?? window.MediaSource;

// Shows the picture in `element`, an empty one, until `end` is called; `use` changes the way.
//
// `way` is "mjpeg" or "h264". `onState` is told {way, live, why}: the way that is in use, which is
// "mjpeg" where H.264 cannot be had; whether pictures come; and a sentence of why not, or why not
// as asked for, else "".
export function showPicture(element, { way = "mjpeg", alt = "Live picture", onState = () => {} } = {}) {
  let shown = null; // {end()}, of the try that runs
  let tries = 0;
  let timer = 0;
  let better = 0;
  let fellBack = "";
  let ended = false;

  function begin() {
    clearTimeout(timer);
    shown?.end();
    shown = null;
    if (ended || document.hidden) return;
    const used = fellBack ? "mjpeg" : way;
    let since = 0;
    const report = {
      live() {
        if (since) return;
        since = Date.now();
        onState({ way: used, live: true, why: fellBack });
      },
      lost(why) {
        if (since && Date.now() - since > ALIVE_MS) tries = 0;
        onState({ way: used, live: false, why });
        clearTimeout(timer);
        timer = setTimeout(begin, AGAIN_MS[Math.min(tries++, AGAIN_MS.length - 1)]);
      },
      never(why) {
        fellBack = `H.264 is not shown: ${why}`;
        begin();
      },
      later(why) {
        better = setTimeout(use, BETTER_MS, way);
        report.never(why);
      },
    };
    shown = used === "h264" ? h264(element, alt, report) : mjpeg(element, alt, report);
  }

  function use(wanted) {
    clearTimeout(better);
    [way, fellBack, tries] = [wanted, "", 0];
    begin();
  }

  // A hidden page asks for nothing, and nobody encodes for it.
  document.addEventListener("visibilitychange", begin);
  begin();
  return {
    use,
    again: begin,
    end() {
      ended = true;
      clearTimeout(better);
      document.removeEventListener("visibilitychange", begin);
      begin();
    },
  };
}

// An <img> would do, but no browser tells when its stream ends, or why it is refused.
function mjpeg(element, alt, report) {
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("bitmaprenderer");
  const asking = new AbortController();
  let next = null; // the newest, while the one before is decoded
  let drawing = false;
  let silence = 0;

  async function draw(jpeg) {
    next = jpeg;
    if (drawing) return;
    drawing = true;
    while (next) {
      const coming = createImageBitmap(next);
      next = null;
      const bitmap = await coming;
      if (canvas.width !== bitmap.width) canvas.width = bitmap.width;
      if (canvas.height !== bitmap.height) canvas.height = bitmap.height;
      pen.transferFromImageBitmap(bitmap);
      if (!canvas.isConnected && !asking.signal.aborted) element.replaceChildren(canvas); // until then stands the last
      report.live();
    }
    drawing = false;
  }

  function listen() {
    clearTimeout(silence);
    silence = setTimeout(() => stop(SILENT), SILENT_MS);
  }

  function stop(why) {
    if (asking.signal.aborted) return;
    clearTimeout(silence);
    asking.abort();
    if (why) report.lost(why);
  }

  async function read() {
    listen();
    const answer = await fetch("/stream.mjpeg", { signal: asking.signal, cache: "no-store" });
    if (!answer.ok) return (await answer.json()).error;
    for await (const jpeg of parts(answer)) {
      listen();
      draw(jpeg).catch((error) => stop(`A picture cannot be shown: ${error.message}`));
    }
    return GONE;
  }

  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", alt);
  read().then(stop, () => stop(GONE));
  return { end: () => stop("") };
}

// The JPEGs of a multipart answer, each as soon as it is whole.
async function* parts(answer) {
  const [, boundary] = /boundary=(\S+)/.exec(answer.headers.get("Content-Type"));
  const [blank, end] = ["\r\n\r\n", `\r\n--${boundary}`].map((text) => new TextEncoder().encode(text));
  const reader = answer.body.getReader();
  let rest = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(rest.length + value.length);
    joined.set(rest);
    joined.set(value, rest.length);
    rest = joined;
    for (let at = find(rest, end); at >= 0; at = find(rest, end)) {
      yield new Blob([rest.subarray(find(rest, blank) + blank.length, at)], { type: "image/jpeg" });
      rest = rest.subarray(at + end.length);
    }
  }
}

// Where `wanted` begins in `bytes`, -1 where it does not.
function find(bytes, wanted) {
  for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

function h264(element, alt, report) {
  if (!Source) {
    queueMicrotask(() => report.never("this browser takes no stream (no MediaSource)"));
    return { end() {} };
  }
  const video = document.createElement("video");
  const source = new Source();
  const address = URL.createObjectURL(source);
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream.h264`);
  const waiting = []; // media types (strings) and bytes, in the order in which they came
  let buffer = null;
  let over = false;
  let silence = 0;

  function listen() {
    clearTimeout(silence);
    silence = setTimeout(() => fail(report.lost, SILENT), SILENT_MS);
  }

  function end() {
    over = true;
    clearTimeout(silence);
    socket.close();
    URL.revokeObjectURL(address);
  }

  function fail(tell, why) {
    if (over) return;
    end();
    tell(why);
  }

  // Appends what waits, one at a time.
  function pump() {
    if (over || source.readyState !== "open" || buffer?.updating) return;
    try {
      while (typeof waiting[0] === "string") {
        const kind = waiting.shift();
        if (!Source.isTypeSupported(kind)) {
          fail(report.never, `this browser does not play ${kind}`);
          return;
        }
        if (buffer) buffer.changeType(kind);
        else {
          buffer = source.addSourceBuffer(kind);
          buffer.onupdateend = appended;
        }
      }
      if (waiting.length) buffer.appendBuffer(waiting.shift());
    } catch (error) {
      fail(report.lost, `H.264 stopped: ${error.message}`);
    }
  }

  function appended() {
    if (over) return;
    chase();
    pump();
  }

  // Keeps what is shown at the newest picture.
  function chase() {
    const { buffered } = video;
    if (!buffered.length) return;
    const newest = buffered.end(buffered.length - 1) - LASTS_S;
    const behind = newest - video.currentTime;
    if (Math.abs(behind) > BEHIND_S) video.currentTime = newest;
    const off = behind - NEAR_S;
    const speed = Math.abs(off) < NEAR_ENOUGH_S ? 1 : off > 0 ? FASTER : SLOWER;
    if (video.playbackRate !== speed) video.playbackRate = speed;
    if (video.paused) video.play().catch(() => {});
    const old = newest - KEPT_S;
    if (!buffer.updating && buffered.start(0) < old - KEPT_S) buffer.remove(0, old);
  }

  Object.assign(video, { muted: true, playsInline: true, autoplay: true, disableRemotePlayback: true, src: address });
  video.setAttribute("aria-label", alt);
  video.onplaying = () => {
    element.replaceChildren(video); // until then the last picture stands over it
    report.live();
  };
  video.onerror = () => fail(report.lost, `H.264 stopped: ${video.error?.message || "it cannot be decoded"}`);
  source.addEventListener("sourceopen", pump);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    listen();
    waiting.push(data);
    pump();
  };
  socket.onclose = ({ code, reason }) => {
    if (code === NONE_HERE) fail(report.never, reason);
    else if (code === NOT_NOW) fail(report.later, reason);
    else fail(report.lost, code === OUT_OF_ROOM ? reason : GONE);
  };
  element.prepend(video); // it plays only in a page
  listen();
  return { end };
}
