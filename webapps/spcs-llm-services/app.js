/* The page "Model services": no library, nothing fetched from outside. All that Snowflake or a container wrote is put
   into the page as text, never as markup. */
(function () {
  "use strict";

  const LIST_SECONDS = 10, SERVICE_SECONDS = 5, SOON_SECONDS = 1, AWAY_SECONDS = 15, OLD_SECONDS = 90, PAGE_ROWS = 25, NOT_YET = 409;
  const PRESS_MS = 50; // how often the page looks whether the mouse is still pressed
  const PATIENCE_SECONDS = 60, LONG_SECONDS = 300; // for answers from memory, and for those that others are asked for
  const SVG = "http://www.w3.org/2000/svg";
  const backend = (path) => window.getWebAppBackendUrl("/api/" + path);

  /* The page keeps to itself: from here on it may ask its own backend, and nothing else. */
  function keepToOurselves() {
    const origin = new URL(backend("me"), document.baseURI).origin;
    const meta = document.createElement("meta");
    meta.httpEquiv = "Content-Security-Policy";
    meta.content = "default-src 'none'; style-src 'self' 'unsafe-inline'; connect-src " + origin +
      "; base-uri 'none'; form-action 'none'; object-src 'none'";
    document.head.append(meta);
  }

  // -- making elements, of texts only ---------------------------------------------------------------------

  function fill(element, properties, children) {
    for (const [name, value] of Object.entries(properties || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return element;
  }
  const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
  const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);
  const byId = (id) => document.getElementById("spcs-" + id);
  const main = () => byId("main");

  /* New content for an element. Whoever was on a control of the old one is on the same control of the new one. */
  function show(element, ...children) {
    changed(element, children, (nodes) => element.replaceChildren(...nodes));
  }

  /* The same for what is renewed while it is read: what has not changed stays, an open list of choices as well, and so
     does a card within which text is selected. Returns whether nothing was held back. */
  function renew(element, ...children) {
    let isAll;
    changed(element, children, (nodes) => { isAll = renewed(element, nodes); });
    return isAll;
  }

  function renewed(element, nodes) {
    const old = Array.from(element.childNodes), stays = new Map();
    let isAll = true;
    for (const node of nodes) {
      const at = old.findIndex((one_) => one_.isEqualNode(node) || (isCards(one_) && isCards(node)) || isRead(one_, node));
      if (at < 0) continue;
      stays.set(node, old[at]);
      if (isCards(node)) isAll = renewed(old[at], Array.from(node.childNodes)) && isAll;
      else if (!old[at].isEqualNode(node)) isAll = false;
      old.splice(0, at + 1).slice(0, -1).forEach((one_) => one_.remove());
    }
    old.forEach((one_) => one_.remove());
    nodes.forEach((node, at) => { if (!stays.has(node)) element.insertBefore(node, element.childNodes[at] || null); });
    return isAll;
  }
  const isCards = (node) => node instanceof Element && node.classList.contains("cards");
  const titleOf = (node) => (node instanceof Element && node.classList.contains("card") ? node.firstChild.textContent : null);
  function isRead(old, node) {
    const selection = window.getSelection(); // null for Firefox, in a frame that is not displayed
    if (!selection || selection.isCollapsed || titleOf(node) === null || titleOf(old) !== titleOf(node)) return false;
    return old.contains(selection.anchorNode) && old.contains(selection.focusNode);
  }

  function changed(element, children, change) {
    const active = document.activeElement;
    const key = element.contains(active) ? active.getAttribute("data-key") : null;
    const scrolled = Array.from(element.querySelectorAll("[data-scroll]"), (e) => [e.dataset.scroll, e.scrollTop, e.scrollLeft]);
    const opened = Array.from(element.querySelectorAll("details[open][data-scroll]"), (e) => e.dataset.scroll);
    change(children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
    for (const [name, top, left] of scrolled) {
      const again = element.querySelector('[data-scroll="' + CSS.escape(name) + '"]');
      if (again) { again.scrollTop = top; again.scrollLeft = left; }
    }
    for (const name of opened) {
      const again = element.querySelector('details[data-scroll="' + CSS.escape(name) + '"]');
      if (again) again.open = true;
    }
    if (key && document.activeElement !== active) {
      const again = element.querySelector('[data-key="' + CSS.escape(key) + '"]');
      if (again) again.focus({ preventScroll: true });
      else main().focus({ preventScroll: true });
    }
  }

  // -- numbers and times, as the viewer writes them --------------------------------------------------------

  const NONE = "–";
  const whole = new Intl.NumberFormat();
  const digits = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const many = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
  const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const momentWithZone = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
  const dayOnly = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
  const counted = (count, word) => number(count, whole) + " " + word + (count === 1 ? "" : "s");
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const number = (value, format = digits) => (isNumber(value) ? format.format(value) : NONE);
  const day = (text) => dayOnly.format(new Date(text + "T00:00:00Z"));
  function time(text, format = moment) {
    const at = text ? new Date(text) : null;
    return at && !Number.isNaN(at.getTime()) ? format.format(at) : NONE;
  }
  function money(amount, currency, places) {
    if (!isNumber(amount)) return NONE;
    const about = { style: "currency", currency: currency || "USD", currencyDisplay: "code" };
    if (places !== undefined) about.maximumFractionDigits = places;
    try { return new Intl.NumberFormat(undefined, about).format(amount); } catch { return digits.format(amount) + " " + currency; }
  }
  function seconds(value, places = 0) {
    const [amount, unit] = value < 90 ? [value, "second"] : value < 5400 ? [value / 60, "minute"] : [value / 3600, "hour"];
    const text = new Intl.NumberFormat(undefined, { maximumFractionDigits: value < places ? 1 : 0 }).format(amount);
    return text + " " + unit + (text === whole.format(1) ? "" : "s"); // the figure is the viewer's way, the words are the page's
  }

  // -- asking the backend ----------------------------------------------------------------------------------

  /* `status` is the backend's; 0 where what stands before the backend has answered, or nothing has. */
  class Refused extends Error {
    constructor(message, hint, status = 0) { super(message); this.hint = hint || ""; this.status = status; }
  }
  const SIGN_IN = "Most often, a session has expired. Sign in to DSS in another tab: this page then goes on by itself.";
  const SIGN_IN_AND_REPEAT = "Most often, a session has expired. Sign in to DSS in another tab, and try again here."; // what a viewer does is not repeated
  const IF_IT_LASTS = "If this lasts, ask a DSS administrator to look at the log of the webapp's backend.";
  let me = { user: null, operator: false, csrf: null, problem: null };

  async function ask(path, body, isRetry, isAction = body !== undefined) {
    const { response, text } = await asked(path, body, isAction);
    const answer = objectOf(text);
    if (response.ok && answer) return answer;
    if (response.status === 403 && body !== undefined && !isRetry) {
      const before = me.csrf; // the backend may have been restarted since
      me = await ask("me", undefined, false, isAction);
      if (me.csrf !== before) return ask(path, body, true);
    }
    throw refused(response, answer, isAction);
  }

  async function asked(path, body, isAction) {
    const options = { credentials: "same-origin", cache: "no-store", headers: { Accept: "application/json" }, keepalive: path === "prompt/cancel" };
    if (body !== undefined) {
      options.method = "POST";
      options.body = JSON.stringify(body);
      options.headers["Content-Type"] = "application/json";
      options.headers["X-CSRF-Token"] = me.csrf || "";
    }
    const patience = new AbortController(), isLong = body !== undefined || path.startsWith("models");
    const alarm = setTimeout(() => patience.abort(), (isLong ? LONG_SECONDS : PATIENCE_SECONDS) * 1000);
    try {
      const response = await fetch(backend(path), { ...options, signal: patience.signal });
      const text = await response.text();
      backends.note(response.headers.get("X-Backend-Process"));
      return { response, text };
    } catch {
      if (patience.signal.aborted) throw new Refused("The webapp's backend does not answer.", IF_IT_LASTS);
      if (await isSentElsewhere()) throw new Refused("DSS, or a proxy before it, sends the page to another address instead of answering.", signIn(isAction));
      throw new Refused("The webapp's backend cannot be reached.", "Check your connection to DSS. If this lasts, ask a DSS administrator to start the webapp's backend.");
    } finally {
      clearTimeout(alarm);
      await released();
    }
  }

  /* A click is lost if its button is drawn anew between press and release: until then, no answer is shown. A release
     outside the page may stay unknown, so that the wait has an end. */
  let pressedAt = -Infinity;
  async function released() {
    while (performance.now() - pressedAt < LIST_SECONDS * 1000) await new Promise((done) => setTimeout(done, PRESS_MS));
  }

  const signIn = (isAction) => (isAction ? SIGN_IN_AND_REPEAT : SIGN_IN);

  /* Whether requests are redirected to another site, as for a sign-in: a script may not follow, and only sees a failure. */
  async function isSentElsewhere() {
    const patience = new AbortController(), alarm = setTimeout(() => patience.abort(), LIST_SECONDS * 1000);
    const options = { credentials: "same-origin", cache: "no-store", redirect: "manual", signal: patience.signal };
    try { return (await fetch(backend("me"), options)).type === "opaqueredirect"; } catch { return false; } finally { clearTimeout(alarm); }
  }

  function objectOf(text) {
    try {
      const value = JSON.parse(text);
      return value && typeof value === "object" && !Array.isArray(value) ? value : null;
    } catch { return null; }
  }

  /* Why a response is not an answer, in the words of the backend or of whatever answered in its place. */
  function refused({ ok, status }, answer, isAction) {
    const error = answer && answer.error;
    if (error && typeof error.message === "string") return new Refused(error.message, error.hint, status);
    if (ok) return new Refused("DSS, or a proxy before it, answers with a web page instead of data.", signIn(isAction));
    const message = answer && typeof answer.message === "string" && answer.message;
    return new Refused(message || "DSS answers with HTTP " + status + ".", status === 401 || status === 403 ? signIn(isAction) : IF_IT_LASTS);
  }

  /* A process that was restarted does not come back. Of several, each does, and knows nothing of what others began. */
  const backends = {
    now: null, before: new Set(), returns: 0,
    note(id) {
      if (!id || id === this.now) return;
      if (this.before.has(id)) this.returns += 1;
      this.before.add(id);
      this.now = id;
      if (this.returns === 3) showAge();
    },
    get problem() {
      return this.returns < 3 ? null : {
        message: "The webapp's backend runs in more than one process.",
        hint: "Prompts, diagnoses and changes that are begun in one are unknown to the others. Ask the owner of this webapp to give its backend one process, and on Kubernetes one pod.",
      };
    },
  };
  const query = (path, values) => path + "?" + new URLSearchParams(values);

  // -- how old the data is ---------------------------------------------------------------------------------

  /* Of two clocks, since one may be set and the other stands still while the computer sleeps. */
  const ago = (seconds_) => ({ steady: performance.now() / 1000 - seconds_, wall: Date.now() / 1000 - seconds_ });
  const since = (then) => Math.max(performance.now() / 1000 - then.steady, Date.now() / 1000 - then.wall);
  let seen = null; // { at, problem }
  function note(answer) {
    seen = { at: isNumber(answer.age) ? ago(answer.age) : null, problem: answer.problem };
    showAge();
  }
  function away(error) {
    seen = { at: seen ? seen.at : null, problem: { message: error.message, hint: error.hint } };
    showAge();
  }
  function showAge() {
    const age = byId("age"), problem = byId("problem");
    const old = seen && seen.at !== null ? since(seen.at) : null;
    const failed = seen && seen.problem, told = failed || backends.problem;
    const isOld = Boolean(failed) || (old !== null && old > OLD_SECONDS);
    const text = old === null ? "" : (isOld ? "⚠ Old data: " : "") + "seen " + seconds(Math.max(0, old)) + " ago";
    if (age.textContent !== text) age.textContent = text;
    age.classList.toggle("old", isOld && old !== null);
    const key = told ? told.message + "\n" + told.hint : "";
    if (problem.dataset.told !== key) {
      problem.dataset.told = key;
      problem.hidden = !told;
      const from = failed && old !== null ? " What you see is from " + momentWithZone.format(new Date(Date.now() - old * 1000)) + "." : "";
      show(problem, told && h("p", {}, told.message + from), told && told.hint && h("p", {}, told.hint));
    }
  }
  const say = (text) => { byId("live").textContent = text; };

  // -- parts of pages --------------------------------------------------------------------------------------

  const WORDS = { running: "Running", starting: "Starting", failed: "Failed", suspended: "Suspended", ok: "OK", warning: "Warning", skipped: "Skipped" };
  /* Each state has a shape of its own, besides its colour. */
  function shape(kind) {
    const drawn = {
      running: () => s("circle", { cx: 8, cy: 8, r: 6.5, fill: "currentColor" }),
      starting: () => [s("circle", { cx: 8, cy: 8, r: 6, fill: "none", stroke: "currentColor", "stroke-width": 2 }), s("path", { d: "M8 2a6 6 0 0 1 0 12z", fill: "currentColor" })],
      failed: () => s("path", { d: "M8 1l7.5 14H.5zM7.2 6v4.5h1.6V6zM7.2 11.7v1.6h1.6v-1.6z", fill: "currentColor", "fill-rule": "evenodd" }),
      suspended: () => s("path", { d: "M3 2h3.6v12H3zM9.4 2H13v12H9.4z", fill: "currentColor" }),
      ok: () => s("path", { d: "M2 8.5l4 4L14 4", fill: "none", stroke: "currentColor", "stroke-width": 2.6 }),
      skipped: () => s("path", { d: "M2 8h12", stroke: "currentColor", "stroke-width": 2.6 }),
    };
    drawn.warning = drawn.failed;
    return s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, (drawn[kind] || drawn.skipped)());
  }
  const STATES = { ok: "running", warning: "starting", failed: "failed", skipped: "suspended" };
  const state = (kind, text) => h("span", { class: "state " + (STATES[kind] || kind) }, shape(kind), text || WORDS[kind] || kind);
  const told = (error) => h("div", { class: "note", role: "alert" }, h("p", {}, error.message), error.hint && h("p", {}, error.hint));
  const card = (title, ...children) => h("section", { class: "card" }, h("h3", {}, title), children);
  const wideCard = (title, ...children) => h("section", { class: "card all" }, h("h3", {}, title), children);
  const facts = (pairs) => h("dl", {}, pairs.filter((p) => p && p[1] !== null && p[1] !== undefined && p[1] !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const serviceUrl = (id) => "#/service/" + encodeURIComponent(id);
  const table = (name, head, rows, key) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name, "data-scroll": key || name, "data-key": "table " + (key || name) },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
  const th = (text, isNumber_) => h("th", { scope: "col", class: isNumber_ && "number" }, text);

  async function copy(text, button) {
    try { await navigator.clipboard.writeText(text); } catch {
      const field = h("textarea", { "aria-hidden": "true", class: "unseen", tabindex: -1 });
      field.value = text;
      document.querySelector(".spcs").append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      button.focus();
      if (!done) { say("Your browser does not let this page copy. Select the text, and copy it."); return; }
    }
    button.textContent = "Copied";
    say("Copied.");
  }

  // -- operators -------------------------------------------------------------------------------------------

  function operateButton(row, isSmall) {
    if (!me.operator) return null;
    const verb = row.kind === "suspended" ? "resume" : "suspend";
    return h("button", {
      type: "button", class: isSmall && "small", "data-key": verb + " " + row.id,
      "aria-label": (verb === "resume" ? "Resume " : "Suspend ") + row.id, onclick: () => operate(verb, row),
    }, verb === "resume" ? "Resume…" : "Suspend…");
  }

  let operating = null; // what the dialog is about now: an answer that comes late must not change another one
  async function operate(verb, row) {
    const mine = operating = {}, isMine = () => operating === mine && dialog.open;
    const dialog = byId("dialog"), back = document.activeElement && document.activeElement.getAttribute("data-key");
    const word = verb === "resume" ? "Resume" : "Suspend";
    const title = h("h2", { id: "spcs-dialog-title" }, word + " " + row.id + "?");
    const close = () => dialog.close();
    dialog.onclose = () => {
      const again = back && main().querySelector('[data-key="' + CSS.escape(back) + '"]');
      (again || main()).focus();
    };
    const cancel = (text) => h("button", { type: "button", onclick: close, autofocus: true }, text);
    show(dialog, title, h("p", { role: "status" }, "Asking Snowflake what this means…"), h("div", { class: "buttons" }, cancel("Cancel")));
    dialog.showModal();
    let preview;
    try { preview = await ask("operation/preview", { verb, service: row.id }); } catch (error) {
      if (!isMine()) return;
      show(dialog, title, told(error), h("div", { class: "buttons" }, cancel("Close")));
      return;
    }
    if (!isMine()) return;
    const cost = preview.effects.reduce((sum, effect) => sum + (effect.cost || 0), 0);
    const known = preview.effects.every((effect) => isNumber(effect.cost));
    const price = money(cost, preview.currency) + " per hour";
    const what = !known ? "What this means for the bill is not known in full."
      : verb === "suspend" ? (cost ? "This saves " + price + "." : "This saves nothing by itself.")
        : (cost ? "This costs " + price + "." : "This costs nothing more.");
    const confirm = h("button", { type: "button", class: "main", onclick: () => carryOut() }, word + (known && cost && verb === "suspend" ? ", and save " + price : ""));
    const buttons = h("div", { class: "buttons" }, cancel("Cancel"), confirm);
    show(dialog, title, h("p", {}, h("strong", {}, what)), preview.effects.map((effect) => h("p", {}, effect.text)),
      h("p", { class: "quiet" }, "The service is " + preview.before + ". Rights used: " + preview.identity + "."), buttons);
    buttons.firstChild.focus();

    async function carryOut() {
      confirm.disabled = true;
      try {
        const done = await ask("operation", { confirmation: preview.confirmation });
        say(row.id + ": " + (done.outcome === "changed" ? "now " + done.after : done.note || done.outcome));
        if (isMine()) dialog.close();
        poll(true);
      } catch (failure) {
        const error = failure.status ? failure : lost(failure);
        if (!isMine()) say(error.message);
        else show(dialog, title, told(error), h("div", { class: "buttons" }, cancel("Close")));
        poll(true);
      }
    }
  }

  /* No answer of the backend says what has become of a change. */
  const lost = (failure) => new Refused(failure.message + " The change may have been made.", "The page shows the service's state. " + failure.hint);

  // -- the page of all services ----------------------------------------------------------------------------

  const list = { search: "", kind: "", sort: "state", order: "asc", page: 1, last: "" };
  const COLUMNS = [
    ["service", "Service"], ["state", "State"], ["ready", "Ready", true], ["pool", "Compute pool"],
    ["credits", "Cost per hour", true], ["since", "Since"], ["owner", "Owner"],
  ];

  function servicesPage() {
    list.last = "";
    let waiting;
    const search = h("input", {
      type: "search", value: list.search, autocomplete: "off", spellcheck: "false",
      oninput: (event) => {
        list.search = event.target.value; list.page = 1;
        clearTimeout(waiting);
        waiting = setTimeout(() => poll(true), 200);
      },
    });
    show(main(), h("h2", { class: "unseen" }, "Services"),
      h("div", { id: "spcs-sums", class: "tiles" }),
      h("div", { class: "bar", role: "search" }, h("label", {}, "Search", search), h("p", { class: "quiet", id: "spcs-found", role: "status" })),
      h("div", { id: "spcs-rows" }, h("p", { class: "quiet" }, "Looking at the account for the first time…")),
      h("div", { id: "spcs-notes" }));
  }

  async function refreshServices(isLatest) {
    const wanted = query("overview", { search: list.search, kind: list.kind, sort: list.sort, order: list.order, page: list.page, size: PAGE_ROWS });
    const answer = await ask(wanted);
    if (!isLatest()) return null;
    note(answer);
    if (!answer.known) {
      if (answer.problem) show(byId("rows"), h("p", { class: "quiet" }, "Nothing has been seen yet."));
      return SOON_SECONDS;
    }
    list.page = answer.page;
    const { age, version, problem, ...rest } = answer;
    const now = JSON.stringify([rest, wanted, me.operator]);
    if (now !== list.last) { list.last = now; showServices(answer); }
    const isNew = answer.rows.some((row) => row.ready === null && row.kind !== "suspended");
    return age > 60 && !problem ? SOON_SECONDS : isNew ? 3 : LIST_SECONDS;
  }

  function showServices(answer) {
    const { sums } = answer, currency = sums.price.currency;
    const pick = (kind) => h("button", {
      type: "button", class: "tile", "aria-pressed": String(list.kind === kind), "data-key": "kind " + kind,
      onclick: () => { list.kind = list.kind === kind ? "" : kind; list.page = 1; poll(true); },
    }, h("b", {}, number(sums[kind], whole)), state(kind));
    show(byId("sums"), pick("running"), pick("starting"), pick("failed"), pick("suspended"),
      h("div", { class: "tile" }, h("b", {}, money(sums.cost, currency)), h("span", {}, "per hour now, " + number(sums.credits) + " credits")),
      h("div", { class: "tile" }, h("b", {}, number(sums.nodes, whole)), h("span", {}, (sums.nodes === 1 ? "node, " : "nodes, ") + number(sums.idleNodes, whole) + " of them idle")));
    const all = counted(sums.services, "service"), count = answer.found === sums.services ? all : number(answer.found, whole) + " of " + all;
    if (byId("found").textContent !== count) byId("found").textContent = count;
    if (!sums.services) show(byId("rows"), nothingYet(answer));
    else if (!answer.rows.length) {
      show(byId("rows"), h("p", {}, "No service fits. ", h("button", { type: "button", "data-key": "all", onclick: () => { list.search = ""; list.kind = ""; route(); } }, "Show all")));
    } else show(byId("rows"), servicesTable(answer, currency), pager(answer));
    show(byId("notes"), answer.notes.map((text) => h("div", { class: "note" }, h("p", {}, text))),
      h("p", { class: "quiet" }, "Rights used: " + answer.identity + ". A credit costs " + money(sums.price.amount, currency) + " (" + sums.price.source + ")."));
  }

  const nothingYet = (answer) => h("div", { class: "card" }, h("h3", {}, "No service yet"),
    h("p", {}, "The notebook ", h("code", {}, "Deploy_LLMs_to_Snowpark_Container_Services.ipynb"), " of this plugin deploys one. It appears here within a minute."),
    h("p", {}, "If there are services already, the role does not see them: it needs a privilege on each, such as USAGE or MONITOR."),
    h("p", { class: "quiet" }, "Rights used: " + answer.identity + "."));

  function servicesTable(answer, currency) {
    const head = COLUMNS.map(([key, label, isNumber_]) => h("th", {
      scope: "col", class: isNumber_ && "number", "aria-sort": list.sort === key ? (list.order === "asc" ? "ascending" : "descending") : "none",
    }, h("button", { type: "button", "data-key": "sort " + key, onclick: () => sortBy(key) }, label)));
    if (me.operator) head.push(th("Change"));
    const rows = answer.rows.map((row) => [h("tr", { class: row.trouble ? "first" : null },
      h("td", { class: "wide" }, h("a", { href: serviceUrl(row.id), "data-key": "open " + row.id }, row.name), h("small", {}, row.place), row.model && h("small", {}, "Model " + row.model), row.endpoint && h("small", {}, row.endpoint)),
      h("td", {}, state(row.kind, row.state)),
      h("td", { class: "number" }, number(row.ready, whole) + " of " + number(row.wanted, whole)),
      h("td", { class: "wide" }, row.pool || NONE, h("small", {}, [row.family, row.gpu, row.poolState].filter(Boolean).join(", "))),
      h("td", { class: "number" }, money(row.cost, currency), h("small", {}, number(row.credits) + " credits")),
      h("td", {}, time(row.since)),
      h("td", { class: "wide" }, row.owner || NONE),
      me.operator ? h("td", {}, operateButton(row, true)) : null),
    row.trouble ? h("tr", {}, h("td", { colspan: head.length, class: "more" }, h("p", { class: "trouble" }, row.trouble))) : null]);
    return table("Services", head, rows, "services");
  }

  function sortBy(key) {
    list.order = list.sort === key && list.order === "asc" ? "desc" : "asc";
    list.sort = key; list.page = 1;
    poll(true);
  }

  function pager(answer) {
    if (answer.pages < 2) return null;
    const to = (page, label) => h("button", {
      type: "button", "data-key": label, disabled: page < 1 || page > answer.pages, onclick: () => { list.page = page; poll(true); },
    }, label);
    return h("nav", { class: "pages", "aria-label": "Pages of services" }, to(answer.page - 1, "Previous"),
      h("span", {}, "Page " + number(answer.page, whole) + " of " + number(answer.pages, whole)), to(answer.page + 1, "Next"));
  }

  // -- the page of one service -----------------------------------------------------------------------------

  const one = { id: null, last: "", kind: null, diagnosis: null, models: undefined, model: "", gone: false, isBegun: false };

  function servicePage(id) {
    Object.assign(one, { id, last: "", kind: null, diagnosis: null, models: undefined, model: "", gone: false, isBegun: false });
    show(main(), h("p", {}, h("a", { href: "#/services" }, "← All services")), h("h2", {}, id),
      h("div", { id: "spcs-service" }, h("p", { class: "quiet" }, "Loading…")));
  }

  async function refreshService(isLatest) {
    const id = one.id;
    let answer;
    try { answer = await ask(query("service", { name: id })); } catch (error) {
      if (!isLatest()) return null;
      if (error.status === 404 || error.status === 400) {
        if (!one.gone) { one.gone = true; one.last = ""; show(byId("service"), told(error)); say(error.message); }
        return LIST_SECONDS;
      }
      if (error.status === NOT_YET && !one.last) { show(byId("service"), h("p", { class: "quiet" }, error.message)); return SOON_SECONDS; }
      throw error;
    }
    const isKept = me.user === null || (one.diagnosis && one.diagnosis.error);
    const diagnosis = isKept ? one.diagnosis : await ask(query("diagnosis", { name: id }));
    if (!isLatest()) return null;
    one.diagnosis = diagnosis;
    if (me.user !== null && one.models === undefined) { one.models = null; askForModels(id, answer.kind === "suspended"); }
    note(answer);
    if (one.kind && one.kind !== answer.kind) say(id + " is " + answer.row.state + " now.");
    one.kind = answer.kind; one.gone = false;
    const { age, version, problem, ...rest } = answer;
    const now = JSON.stringify([rest, one.diagnosis, one.models, me]);
    if (now !== one.last) one.last = renew(byId("service"), serviceParts(answer)) ? now : "";
    const parts = one.diagnosis ? [one.diagnosis.service, one.diagnosis.query] : [];
    if (parts.some((part) => part && !part.done)) return SOON_SECONDS;
    const waiting = me.user !== null && answer.logs === null && !answer.missing.logs && answer.kind !== "suspended";
    return waiting && !problem ? SOON_SECONDS : SERVICE_SECONDS;
  }

  function serviceParts(answer) {
    const { row, service, pool } = answer;
    return [
      h("div", { class: "bar" }, state(answer.kind, row.state), h("span", {}, number(row.ready, whole) + " of " + counted(row.wanted, "instance") + " ready"), operateButton(row)),
      row.trouble && h("div", { class: "note" }, h("p", {}, row.trouble)),
      answer.notes.filter((text) => text !== row.trouble).map((text) => h("div", { class: "note" }, h("p", {}, text))),
      h("div", { class: "cards" },
        card("Now", facts([
          ["Owner", row.owner], ["Model", row.model], ["Since", time(row.since)], ["Created", time(service.createdOn)],
          ["Last resumed", service.resumedOn && time(service.resumedOn)], ["Last suspended", service.suspendedOn && time(service.suspendedOn)],
          ["Instances", number(service.minInstances, whole) + " to " + number(service.maxInstances, whole)],
          ["Suspends itself", service.autoSuspendSeconds ? "after " + seconds(service.autoSuspendSeconds) + " without requests" : "never"],
          ["Resumed by a request", service.autoResume === null ? null : service.autoResume ? "yes" : "no"],
          ["Its share of the pool", number(row.credits) + " credits per hour"],
        ])),
        card("Compute pool", pool ? facts([
          ["Name", pool.name], ["State", pool.state], ["Instance family", [pool.family, pool.gpu].filter(Boolean).join(", ")],
          ["Nodes", number(pool.nodes, whole) + " of at most " + number(pool.maxNodes, whole) + ", " + number(pool.idleNodes, whole) + " idle"],
          ["All of the pool now", number(pool.credits) + " credits per hour" + (pool.confirmed ? "" : " (a price that is not confirmed)")],
          ["Suspends itself", pool.autoSuspendSeconds ? seconds(pool.autoSuspendSeconds) + " after its last service" : "never"],
          ["What to do", pool.hint],
        ]) : h("p", { class: "quiet" }, "The role does not see " + (row.pool || "its compute pool") + ".")),
        containersCard(answer), diagnosisCard(), formCards(answer), costCard(answer), useCard(answer), eventsCard(answer), logCards(answer)),
    ];
  }

  function containersCard(answer) {
    if (answer.containers === null) return null;
    if (!answer.containers.length) return wideCard("Containers", h("p", { class: "quiet" }, "No container is running now."));
    const kind = (c) => (c.ready ? "running" : c.state === "FAILED" || c.restarts > 2 ? "failed" : "starting");
    return wideCard("Containers", table("Containers", [th("Instance"), th("Container"), th("State"), th("Message and what to do"), th("Restarts", true)],
      answer.containers.map((c) => h("tr", {}, h("td", {}, c.instance), h("td", { class: "wide" }, c.name, h("small", {}, c.image)), h("td", {}, state(kind(c), c.state)),
        h("td", { class: "wide" }, c.message, c.hint && h("small", {}, c.hint)),
        h("td", { class: "number" }, number(c.restarts, whole), c.exitCode && h("small", {}, "exit code " + c.exitCode))))));
  }

  function diagnosisCard() {
    if (me.user === null) return null;
    const run = one.diagnosis || {}, parts = [run.service, run.query].filter(Boolean), isRunning = parts.some((part) => !part.done);
    const button = h("button", { type: "button", "data-key": "diagnose", "aria-disabled": isRunning ? "true" : null, onclick: isRunning ? null : diagnose }, isRunning ? "Diagnosing…" : "Diagnose");
    return wideCard("Diagnose", h("div", { class: "bar" }, modelChoice(), button), modelTrouble(), run.error && told(run.error),
      parts.length ? h("div", { class: "cards" },
        run.service && h("div", {}, h("h4", {}, "With the rights of the Snowflake connection"), stepList(run.service)),
        run.query && h("div", {}, h("h4", {}, "With your own rights, through LLM Mesh"), stepList(run.query))) : null,
      parts.length ? null : h("p", { class: "quiet" }, "Looks at the service, its log and the way to its endpoint, with the rights of the Snowflake connection. With a model, it also signs in and sends one query through LLM Mesh, with your own rights. The query costs what a query costs, and may resume a suspended service."));
  }

  /* The models that LLM Mesh offers to the viewer. The one that is named as the service is selected, unless it is suspended. */
  function modelChoice() {
    const { models } = one;
    if (!models || models.error || !models.models.length) return null;
    const kinds = { chat: "chat", embed: "embeddings", rerank: "reranking" };
    const option = (id, text) => h("option", { value: id, selected: id === one.model }, text);
    return h("label", {}, "Query by the model", h("select", { "data-key": "model", onchange: (event) => { one.model = event.target.value; } },
      option("", "None: without a query"), models.models.map((model) => option(model.id, model.name + " (" + kinds[model.kind] + ")"))));
  }

  function modelTrouble() {
    const { models } = one;
    if (!models) return h("p", { class: "quiet" }, "Asking LLM Mesh for the models that you may use…");
    if (models.error) return h("p", { class: "quiet" }, "A query cannot be sent. " + models.error.message + " " + models.error.hint);
    return models.models.length ? null : h("p", { class: "quiet" }, "A query cannot be sent, because you may not use any custom model.");
  }

  async function askForModels(id, isSuspended) {
    const mine = one.modelsAsked = {};
    let models;
    try { models = await ask(query("models", { service: id })); } catch (error) { models = error.status ? { error } : undefined; }
    if (one.id !== id || one.modelsAsked !== mine) return;
    if (!models) { one.models = undefined; return; } // the backend was not reached, and is asked again
    one.models = models;
    one.model = (!isSuspended && models.likely) || "";
    poll(true);
  }

  const stepList = (part) => h("ol", { class: "steps" }, part.planned.map((name, index) => {
    const step = part.steps[index];
    if (!step) return h("li", { class: "quiet" }, name + (index === part.steps.length ? ": under way…" : ": waits"));
    return h("li", {}, state(step.result), " ", h("strong", {}, step.step), step.seconds >= 0.05 && " (" + seconds(step.seconds, 10) + ")", h("p", {}, step.seen), step.hint && h("p", {}, h("strong", {}, "What to do: "), step.hint));
  }));

  async function diagnose() {
    const { id } = one;
    if (one.isBegun) return; // a second click, before the first one is answered
    one.isBegun = true;
    let diagnosis;
    try { diagnosis = await ask("diagnosis", { service: id, model: one.model || null }); say("The diagnosis has started."); } catch (error) { diagnosis = { ...one.diagnosis, error }; }
    if (one.id !== id) return;
    one.isBegun = false;
    one.diagnosis = diagnosis;
    poll(true);
  }

  const formCards = (answer) => answer.form.map((form) => card("For the form of a model: endpoint " + form.endpoint,
    h("p", { class: "quiet" }, "Administration > Connections > your Custom LLM connection > Add model"),
    h("dl", {}, form.values.map((field) => [h("dt", {}, field.label), h("dd", {}, h("code", {}, field.value), " ",
      h("button", { type: "button", class: "small", "data-key": "copy " + form.endpoint + " " + field.name, "aria-label": "Copy " + field.label, onclick: (event) => copy(field.value, event.target) }, "Copy"))]))));

  function costCard(answer) {
    const cost = answer.cost;
    if (!cost) return card("Cost by day", h("p", { class: "quiet" }, "Not known yet."));
    const total = cost.days.reduce((sum, entry) => sum + entry.cost, 0);
    const about = cost.of === "service" ? "What Snowflake attributes to this service: " : "Snowflake does not give the cost of this service by itself. All of compute pool " + cost.name + ": ";
    return card("Cost by day", h("p", {}, about + money(total, cost.currency) + " in " + counted(cost.days.length - 1, "day") + "."),
      costChart(cost.days.map((entry) => entry.day), [{ name: cost.name, values: cost.days.map((entry) => entry.cost) }], cost.currency));
  }

  function useCard(answer) {
    if (answer.missing.metrics) return card("Use of CPU, memory and GPU", h("p", { class: "quiet" }, answer.missing.metrics));
    if (!answer.metrics || !answer.metrics.length) return answer.metrics ? card("Use of CPU, memory and GPU", h("p", { class: "quiet" }, "There are no metrics of the last day.")) : null;
    return card("Use of CPU, memory and GPU", answer.metrics.map((series) => {
      const values = series.points.map((point) => point[1]), last = values[values.length - 1];
      const name = series.name + (series.container ? " of " + series.container : "");
      return h("div", {}, h("p", {}, name + ": " + number(last, many) + " " + series.unit + " at " + time(series.points[values.length - 1][0]) + ", at most " + number(Math.max(...values), many)), line(values, name));
    }));
  }

  function eventsCard(answer) {
    if (answer.missing.events) return wideCard("Events", h("p", { class: "quiet" }, answer.missing.events));
    if (!answer.events) return null;
    if (!answer.events.length) return wideCard("Events", h("p", { class: "quiet" }, "There are no events of the last day."));
    return wideCard("Events", table("Events", [th("When"), th("Severity"), th("Event"), th("State"), th("Message")],
      answer.events.map((e) => h("tr", {}, h("td", {}, time(e.at)), h("td", {}, e.severity), h("td", { class: "wide" }, e.event), h("td", {}, e.status), h("td", { class: "wide" }, e.message)))));
  }

  function logCards(answer) {
    if (answer.missing.logs && !(answer.logs || []).length) return wideCard("Log", h("p", { class: "quiet" }, answer.missing.logs));
    return (answer.logs || []).map((log) => wideCard("Log of container " + log.container,
      h("pre", { tabindex: 0, role: "region", "aria-label": "Log of container " + log.container, "data-scroll": "log " + log.container, "data-key": "log " + log.container }, log.lines.length ? log.lines.join("\n") : "It is empty.")));
  }

  // -- charts: bars differ in their marks as well as in their colours --------------------------------------

  let patterns = 0;
  function pattern(index, id) {
    const marks = [
      [], [s("path", { class: "mark", d: "M0 8L8 0" })], [s("path", { class: "mark", d: "M0 0L8 8" })], [s("circle", { class: "dot", cx: 4, cy: 4, r: 1.6 })],
      [s("path", { class: "mark", d: "M0 4H8" })], [s("path", { class: "mark", d: "M4 0V8" })], [s("path", { class: "mark", d: "M0 4H8M4 0V8" })], [s("path", { class: "mark", d: "M0 8L8 0M0 0L8 8" })], [s("path", { class: "mark", d: "M2 2h4v4H2z" })],
    ];
    return s("pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" }, s("rect", { width: 8, height: 8, class: "f" + index }), marks[index]);
  }

  function bars(days, series, currency, name) {
    const width = Math.max(300, Math.min(720, main().clientWidth)), height = 220, left = 64, bottom = 24, top = 10, prefix = "spcs-p" + ++patterns + "-";
    const totals = days.map((_, at) => series.reduce((sum, one_) => sum + one_.values[at], 0));
    const most = Math.max(...totals, 0) || 1, step = (width - left) / Math.max(1, days.length), scale = (height - top - bottom) / most;
    const every = Math.ceil(days.length / (width / 110)), drawn = [];
    days.forEach((date, at) => {
      let y = height - bottom;
      series.forEach((one_, index) => {
        const tall = one_.values[at] * scale;
        if (tall <= 0) return;
        y -= tall;
        drawn.push(s("rect", { x: left + at * step + step * 0.1, y, width: step * 0.8, height: tall, fill: "url(#" + prefix + index + ")" },
          s("title", {}, day(date) + ", " + (one_.name || "others") + ": " + money(one_.values[at], currency))));
      });
      if (at % every === 0) drawn.push(s("text", { x: left + (at + 0.5) * step, y: height - 7, "text-anchor": at > days.length - 3 ? "end" : "middle" }, day(date)));
    });
    const amount = Math.max(...totals, 0);
    return s("svg", { class: "chart", viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": name + ": at most " + money(amount, currency) + " a day. The table has the figures." },
      s("defs", {}, series.map((_, index) => pattern(Math.min(index, 8), prefix + index))),
      s("path", { class: "axis", d: "M" + left + " " + top + "V" + (height - bottom) + "H" + width, fill: "none" }),
      s("text", { x: 0, y: top + 8 }, amount ? money(amount, currency, 0) : ""), s("text", { x: 0, y: height - bottom }, money(0, currency, 0)), drawn);
  }

  const legend = (series) => h("ul", { class: "legend" }, series.map((one_, index) => {
    const id = "spcs-p" + ++patterns;
    return h("li", {}, s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, s("defs", {}, pattern(Math.min(index, 8), id)), s("rect", { width: 16, height: 16, fill: "url(#" + id + ")" })), one_.name || "Others");
  }));

  function line(values, name) {
    const most = Math.max(...values, 0) || 1, step = 300 / Math.max(1, values.length - 1);
    const path = values.map((value, at) => (at ? "L" : "M") + (at * step).toFixed(1) + " " + (46 - (44 * value) / most).toFixed(1)).join("");
    return s("svg", { class: "chart", viewBox: "0 0 300 48", role: "img", "aria-label": name + " over time" }, s("path", { class: "line", d: path }));
  }

  // -- the page of cost ------------------------------------------------------------------------------------

  const CSV_NAME = "model-services-cost.csv";
  const cost = { by: "pool", last: "" };

  function costPage() {
    cost.last = "";
    show(main(), h("h2", {}, "Cost"), h("div", { id: "spcs-download" }), h("div", { id: "spcs-cost" }, h("p", { class: "quiet" }, "Reading Snowflake's usage views for the first time. This can take a minute…")));
  }

  async function refreshCost(isLatest) {
    const answer = await ask(query("cost", { by: cost.by }));
    if (!isLatest()) return null;
    if (!answer.known) {
      if (answer.problem) show(byId("cost"), told(answer.problem));
      return answer.problem ? LIST_SECONDS : SOON_SECONDS;
    }
    const { age, version, problem, ...rest } = answer;
    seen = { at: null, problem };
    showAge();
    const now = JSON.stringify(rest);
    if (now !== cost.last) { cost.last = now; show(byId("cost"), costParts(answer), h("p", { class: "quiet" }, "Read from Snowflake at " + time(new Date(Date.now() - age * 1000).toISOString()) + ".")); }
    return 60;
  }

  function costParts(answer) {
    const currency = answer.price.currency, price = answer.price.amount;
    const tile = (value, text) => h("div", { class: "tile" }, h("b", {}, value), h("span", {}, text));
    const series = answer.series.map((one_) => ({ name: one_.name, values: one_.credits.map((credits) => credits * price) }));
    const by = (key, label) => h("button", { type: "button", "data-key": "by " + key, "aria-pressed": String(answer.by === key), class: answer.by === key && "main", onclick: () => { cost.by = key; poll(true); } }, label);
    const days = answer.days.length - 1, share = answer.nodes ? answer.idleNodes / answer.nodes : null;
    return [
      h("div", { class: "tiles" }, tile(money(answer.cost, currency), "in " + counted(days, "day") + ", " + number(answer.credits) + " credits"),
        tile(money(answer.monthCost, currency, 0), "a month, if it goes on like this"), tile(money(answer.costPerHour, currency), "per hour now"),
        tile(share === null ? NONE : new Intl.NumberFormat(undefined, { style: "percent" }).format(share), "of nodes idle now")),
      h("div", { class: "bar" }, h("div", { role: "group", "aria-label": "Group by" }, by("pool", "By compute pool"), " ", by("service", "By service")),
        h("a", { href: backend("cost.csv"), download: CSV_NAME, "data-key": "csv", onclick: download }, "Download as CSV")),
      answer.by === "service" && h("p", { class: "quiet" }, "What Snowflake attributes to services of the Model Registry. It is an estimate, and part of the pools' cost; other services are not in it."),
      series.length ? [costChart(answer.days, series, currency, legend(series))] : h("p", {}, "The role does not see any cost in these days."),
      answer.missing.map((m) => h("div", { class: "note" }, h("p", {}, "Missing: " + m.what + ". " + m.why), m.hint && h("p", {}, m.hint))),
      h("p", { class: "quiet" }, (answer.knownUntil ? "Snowflake's view shows cost until " + time(answer.knownUntil) + ". " : "") + "Days are days in UTC. A credit costs " + money(price, currency) + " (" + answer.price.source + ")."),
    ];
  }

  /* The browser itself would save whatever comes, a page to sign in as well. Excel knows UTF-8 by the mark at its beginning
     (Microsoft's support, "Opening CSV UTF-8 files correctly in Excel"). What failed is told until the next download: the
     page's own problem would be gone with the next answer about cost. */
  async function download(event) {
    event.preventDefault();
    const outcome = byId("download");
    show(outcome);
    try {
      const { response, text } = await asked("cost.csv", undefined, true);
      if (!response.ok || !(response.headers.get("Content-Type") || "").startsWith("text/csv")) throw refused(response, objectOf(text), true);
      const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
      h("a", { href: url, download: CSV_NAME }).click();
      setTimeout(() => URL.revokeObjectURL(url), AWAY_SECONDS * 1000);
    } catch (error) { show(outcome, told(new Refused("The file was not downloaded. " + error.message, error.hint))); }
  }

  /* Bars, and the same in figures. */
  function costChart(days, series, currency, names) {
    const all = (at) => series.reduce((sum, one_) => sum + one_.values[at], 0);
    const rows = days.map((date, at) => h("tr", {}, h("th", { scope: "row" }, day(date)),
      series.map((one_) => h("td", { class: "number" }, money(one_.values[at], currency))), names && h("td", { class: "number" }, money(all(at), currency))));
    return [bars(days, series, currency, "Cost by day"), names, h("details", { "data-scroll": "figures" }, h("summary", { "data-key": "figures" }, "Figures"),
      table("Cost by day", [th("Day"), series.map((one_) => th(one_.name || "Others", true)), names && th("All", true)], rows, "cost"))];
  }

  // -- the page to try a model -----------------------------------------------------------------------------

  function tryPage() {
    trial.hasForm = false;
    seen = null; // a problem of other pages, which show what the connection sees
    showAge();
    show(main(), h("h2", {}, "Try a model"), h("div", { id: "spcs-try" }, h("p", { class: "quiet" }, "Asking LLM Mesh for the models that you may use…")));
  }

  async function refreshTry(isLatest) {
    if (trial.hasForm) return LONG_SECONDS;
    let models;
    try { models = (await ask("models")).models.filter((one_) => one_.kind === "chat"); } catch (error) {
      if (!error.status) throw error;
      if (isLatest()) show(byId("try"), told(error));
      return PATIENCE_SECONDS;
    }
    if (!isLatest()) return null;
    seen = null;
    showAge();
    if (models.length) showForm(models);
    else show(byId("try"), h("p", {}, "You may not use any custom chat model. An administrator adds one under Administration > Connections > Custom LLM."));
    return PATIENCE_SECONDS;
  }

  function showForm(models) {
    trial.hasForm = true;
    const model = h("select", { required: true }, models.map((one_) => h("option", { value: one_.id }, one_.name)));
    const prompt = h("textarea", { rows: 5, required: true, dir: "auto", oninput: () => { trial.prompt = prompt.value; } }, trial.prompt);
    const send = h("button", { type: "submit", class: "main" }, "Ask");
    const cancel = h("button", { type: "button", disabled: true, onclick: () => { leaveTrial(); ended(h("p", { class: "quiet" }, "Cancelled. What the model still answers is not read.")); say("Cancelled."); } }, "Cancel");
    const result = h("div", { id: "spcs-answer" });
    const waiting = h("p", { class: "quiet" }), soFar = h("p", { class: "answer" });
    const form = h("form", { class: "ask", onsubmit: (event) => { event.preventDefault(); begin(); } },
      h("p", { class: "quiet" }, "The query goes through LLM Mesh with your own rights, and costs what a query costs. Leaving this page cancels it."),
      h("label", {}, "Model", model), h("label", {}, "Prompt", prompt), h("div", { class: "bar" }, send, cancel));
    show(byId("try"), form, result);

    function ended(...parts) {
      const wasThere = document.activeElement === cancel;
      send.disabled = false; cancel.disabled = true;
      if (wasThere) send.focus();
      show(result, parts);
    }

    async function begin() {
      if (trial.run || send.disabled) return;
      send.disabled = true; cancel.disabled = false;
      waiting.textContent = "The prompt is sent…"; soFar.textContent = "";
      show(result, waiting, wideCard("Answer so far", soFar));
      say("The model is answering.");
      const mine = trial.sent = {};
      let answer;
      try { answer = await ask("prompt", { model: model.value, prompt: prompt.value }); } catch (error) {
        if (trial.sent === mine) ended(told(error));
        return;
      }
      if (trial.sent !== mine) { giveUp(answer.run); return; }
      trial.run = answer.run;
      follow(answer);
    }

    function follow(answer) {
      if (!answer.done) {
        waiting.textContent = "The model is answering: " + seconds(answer.seconds) + " so far. A service that is suspended or starting takes minutes.";
        soFar.append(answer.text.slice(soFar.textContent.length)); // it grows, and what is selected of it stays
        trial.timer = setTimeout(() => look(trial.run), SOON_SECONDS * 1000);
        return;
      }
      trial.run = null;
      ended(answer.error ? [told(answer.error), answer.text && wideCard("What came before", h("p", { class: "answer" }, answer.text))] : answerParts(answer));
      say(answer.error ? answer.error.message : "The model has answered.");
    }

    async function look(run) {
      let answer;
      try { answer = await ask(query("prompt", { run })); } catch (error) {
        if (trial.run !== run) return;
        if (error.status === 404) { trial.run = null; ended(told(error)); return; }
        waiting.textContent = error.message + " The page asks again.";
        trial.timer = setTimeout(() => look(run), (error.hint === SIGN_IN ? PATIENCE_SECONDS : LIST_SECONDS) * 1000);
        return;
      }
      if (trial.run === run) follow(answer);
    }
  }

  /* A prompt whose viewer has gone is cancelled. */
  const trial = { run: null, sent: null, timer: 0, hasForm: false, prompt: "" };
  const giveUp = (run) => ask("prompt/cancel", { run }).catch(() => {});
  function leaveTrial() {
    const { run } = trial;
    clearTimeout(trial.timer);
    trial.run = trial.sent = null;
    if (run) giveUp(run);
  }

  function answerParts(answer) {
    const all = Math.max(1, ...answer.trace.map((span) => span.begin + span.length));
    const rows = answer.trace.map((span) => h("tr", {}, h("td", { class: "wide d" + Math.min(span.depth, 3) }, span.name), h("td", { class: "number" }, number(span.length, whole) + " ms"),
      h("td", {}, s("svg", { class: "span", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "f0", x: Math.min(99, (100 * span.begin) / all), y: 0, width: Math.max(1, (100 * span.length) / all), height: 8 })))));
    return [
      wideCard("Answer", answer.text ? h("p", { class: "answer" }, answer.text) : h("p", { class: "quiet" }, "The answer has no text."), answer.isCut && h("p", { class: "quiet" }, "The answer is longer. This is its beginning."),
        answer.limit && h("p", { class: "quiet" }, "The model stopped at the limit of " + number(answer.limit, whole) + " tokens, which include what it thought.")),
      wideCard("What it took", facts([
        ["Time", seconds(answer.seconds, 10) + (isNumber(answer.firstSeconds) ? ", the first words after " + seconds(answer.firstSeconds, 10) : "")], ["Tokens", number(answer.promptTokens, whole) + " in, " + number(answer.completionTokens, whole) + " out" + (answer.tokensAreEstimated ? " (estimated)" : "")],
        ["Estimated cost", isNumber(answer.cost) ? money(answer.cost, "USD", 7) : NONE],
      ])),
      rows.length ? wideCard("Trace", table("Trace", [th("Step"), th("Time", true), th("When")], rows, "trace")) : null,
    ];
  }

  // -- which page, and when it asks again ------------------------------------------------------------------

  const PAGES = { services: [servicesPage, refreshServices], service: [servicePage, refreshService], cost: [costPage, refreshCost], try: [tryPage, refreshTry] };
  let refresh = null, timer = 0, turn = 0;
  /* A proxy answers each request without a session with a cookie for the sign-in: too many of them prevent it. */
  let signedOutPause = 0;

  function route() {
    leaveTrial();
    byId("dialog").close(); // it is about the page that is left
    const [, name, argument] = (location.hash || "#/services").split("/");
    let value = "";
    try { value = decodeURIComponent(argument || ""); } catch { /* not a name */ }
    const page = PAGES[name] && (name !== "service" || value) ? name : "services";
    for (const link of document.querySelectorAll(".spcs nav a")) {
      const isHere = link.getAttribute("href") === "#/" + (page === "service" ? "services" : page);
      if (isHere) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    document.title = { services: "Model services", service: value + " – Model services", cost: "Cost – Model services", try: "Try a model – Model services" }[page];
    refresh = PAGES[page][1];
    if (page !== "service") one.id = null;
    byId("age").textContent = "";
    PAGES[page][0](value);
    poll(true);
  }

  /* `isLatest` turns false when the page asks again, or is another one: what comes later than that is out of date. */
  async function poll(isNow) {
    clearTimeout(timer);
    if (document.hidden && !isNow) return;
    const mine = ++turn, isLatest = () => mine === turn, pausedBefore = signedOutPause;
    let pause;
    signedOutPause = 0;
    try {
      if (me.user === null) me = await ask("me"); // DSS may not have been able to say it before
      if (isLatest()) pause = await refresh(isLatest);
    } catch (error) {
      if (!isLatest()) return;
      away(error instanceof Refused ? error : new Refused("The page failed unexpectedly (" + error.name + ").", "Reload the page."));
      if (!(error instanceof Refused)) console.error(error);
      if (error.hint === SIGN_IN) signedOutPause = Math.min(LONG_SECONDS, 2 * pausedBefore || AWAY_SECONDS);
      pause = signedOutPause || AWAY_SECONDS;
    }
    if (isLatest()) timer = setTimeout(poll, pause * 1000);
  }

  /* A page within another may have a base address, against which browsers resolve "#/…", too, and leave the page. */
  function followOwnLinks(event) {
    const link = event.target instanceof Element && event.target.closest('.spcs a[href^="#/"]');
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    location.hash = link.getAttribute("href");
  }

  function start() {
    document.documentElement.lang = "en";
    if (typeof window.getWebAppBackendUrl !== "function") {
      show(main(), h("p", {}, "This page works within DSS: open it from a project's webapps."));
      return;
    }
    keepToOurselves();
    byId("skip").addEventListener("click", (event) => { event.preventDefault(); main().focus(); });
    document.addEventListener("click", followOwnLinks);
    window.addEventListener("hashchange", () => { route(); main().focus({ preventScroll: true }); window.scrollTo(0, 0); });
    window.addEventListener("pointerdown", () => { pressedAt = performance.now(); }, true);
    for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => { pressedAt = -Infinity; }, true);
    window.addEventListener("pagehide", leaveTrial);
    window.addEventListener("pageshow", (event) => { if (event.persisted) route(); });
    window.addEventListener("focus", () => { if (signedOutPause) poll(true); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(true); });
    setInterval(() => { if (seen && seen.at !== null && refresh !== refreshCost) showAge(); }, 1000);
    route();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
