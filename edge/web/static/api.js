// Asks the server, and says in one way what is wrong: Refused (with its reason) or Lost.

const PATIENCE_MS = 5000;

export class Refused extends Error {}

export class Lost extends Error {}

// Goes to the page for a login, once: several answers may say so, and each would break off the last.
let leaving = false;
addEventListener("pageshow", () => (leaving = false)); // also of a page that came back as it was

function toLogin() {
  if (!leaving) location.assign("/login");
  leaving = true;
}

// Where a login has run out the page for one takes over; the answer never comes.
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch {
    throw new Lost("the server does not answer");
  }
  if (answer.status === 401) {
    toLogin();
    return new Promise(() => {});
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(said.error ?? `the server answered ${answer.status}`);
}

async function read(path, options) {
  const answer = await ask(path, options);
  try {
    return await answer.json();
  } catch {
    throw new Lost("the server stopped in its answer");
  }
}

export const status = () => read("/api/status");

export const history = (since) => read(`/api/history?since=${since}`);

const OURS = { "X-Outrider": "1" };

const post = (path, values) =>
  read(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...OURS },
    body: JSON.stringify(values),
  });

// Gives the settings in force afterwards.
export const change = (values) => post("/api/settings", values);

// Gives {clip}, the name that it will have.
export const clip = (reason) => post("/api/clip", { reason });

export const snapshot = async () => (await ask("/api/snapshot.jpg")).blob();

// Ends the login; what is asked next leads to the page for another.
export const leave = async () => {
  await ask("/logout", { method: "POST", headers: OURS });
  toLogin();
};
