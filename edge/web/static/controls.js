// What is shown, as switches and sliders: they show what is in force and send what is changed.

const REST_MS = 150; // a slider that has rested so long is meant

export class Controls {
  // send(values) gives the settings in force, or rejects with the reason.
  constructor(send) {
    this.send = send;
    this.wanted = {}; // by key of the settings: not sent yet
    this.sent = {}; // on its way
    this.run = null;
    this.settings = null;
    this.noClass = false; // all are taken away; the server hears of it with the first that is chosen
    this.#slider("conf", "detect.conf", () => this.run.conf);
    this.#slider("nms", "detect.nms_iou", () => this.run.nms_iou);
    this.#slider("opacity", "overlay.mask_opacity");
    for (const name of ["boxes", "masks", "legend", "readout"]) {
      at(name).addEventListener("change", () => this.#want(`overlay.${name}`, at(name).checked, 0));
    }
    at("all").addEventListener("click", () => this.#classes(this.run.classes));
    at("none").addEventListener("click", () => this.#classes([]));
    at("controls").addEventListener("submit", (event) => event.preventDefault());
  }

  // The run's facts and its settings in force; what the user is just changing stays as it is.
  show(run, settings) {
    if (run.classes.join() !== this.run?.classes.join()) this.#chips(run);
    if (`${settings.detect.classes}` !== `${this.settings?.detect.classes}`) this.noClass = false;
    this.run = run;
    this.settings = settings;
    at("controls").hidden = false;
    at("classes-set").hidden = at("conf-row").hidden = run.classes.length === 0;
    at("nms-row").hidden = run.nms_iou == null;
    at("opacity-row").hidden = at("masks-row").hidden = at("legend-row").hidden = run.masks.length === 0;
    this.#draw();
  }

  #value(key) {
    const [section, name] = key.split(".");
    return { [key]: this.settings[section][name], ...this.sent, ...this.wanted }[key];
  }

  #draw() {
    for (const [id, key, own] of [
      ["conf", "detect.conf", this.run.conf],
      ["nms", "detect.nms_iou", this.run.nms_iou],
      ["opacity", "overlay.mask_opacity", null],
    ]) {
      const set = this.#value(key);
      at(id).value = set ?? own ?? 0;
      at(`${id}-value`).textContent = Number(at(id).value).toFixed(2);
      at(id).style.setProperty("--part", `${100 * at(id).value}%`);
      const back = at(`${id}-own`);
      if (!back) continue;
      back.disabled = set == null;
      back.textContent = set == null ? "model's own" : `back to ${own?.toFixed(2)}`;
    }
    for (const name of ["boxes", "masks", "legend", "readout"]) {
      at(name).checked = this.#value(`overlay.${name}`);
    }
    const on = this.#on();
    for (const chip of at("classes").children) {
      chip.setAttribute("aria-pressed", on.includes(chip.value));
    }
    at("all").disabled = on.length === this.run.classes.length;
    at("none").disabled = on.length === 0;
    at("classes-note").textContent = on.length ? "" : "Choose one at least; until then all stays as it was.";
  }

  #on() {
    return this.noClass ? [] : this.#value("detect.classes") ?? this.run.classes;
  }

  #chips(run) {
    const chips = run.classes.map((name, i) => {
      const chip = document.createElement("button");
      const dot = document.createElement("span");
      Object.assign(chip, { type: "button", value: name });
      dot.style.background = run.colours[i];
      chip.append(dot, name);
      chip.addEventListener("click", () => {
        const on = this.#on();
        this.#classes(on.includes(name) ? on.filter((one) => one !== name) : [...on, name]);
      });
      return chip;
    });
    at("classes").replaceChildren(...chips);
  }

  #classes(names) {
    this.noClass = names.length === 0;
    if (this.noClass) {
      delete this.wanted["detect.classes"];
      this.#draw();
    } else {
      const all = this.run.classes.every((name) => names.includes(name));
      this.#want("detect.classes", all ? null : this.run.classes.filter((name) => names.includes(name)), 0);
    }
  }

  #slider(id, key, own) {
    at(id).addEventListener("input", () => this.#want(key, Number(at(id).value), REST_MS));
    if (own) at(`${id}-own`).addEventListener("click", () => this.#want(key, null, 0));
  }

  #want(key, value, restMs) {
    this.wanted[key] = value;
    this.#draw();
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.#send(), restMs);
  }

  // One request at a time, so that none overtakes another.
  async #send() {
    if (Object.keys(this.sent).length || !Object.keys(this.wanted).length) return;
    this.sent = this.wanted;
    this.wanted = {};
    try {
      this.settings = await this.send(this.sent);
      say("");
    } catch (error) {
      say(`Not changed: ${error.message}`);
    }
    this.sent = {};
    this.#draw();
    this.#send();
  }
}

const at = (id) => document.getElementById(id);

function say(text) {
  at("refusal").textContent = text;
  at("refusal").hidden = !text;
}
