// What every page has: forms that call the API, times in the reader's own zone, buttons that copy. window.hub is for the scripts
// of single pages.
(() => {
  'use strict';

  // A refusal of the API: {status, code, title, detail, errors}.
  class Problem extends Error {
    constructor(status, body) {
      super(body.detail || body.title || `The hub answered ${status}.`);
      Object.assign(this, { status, code: '', errors: [] }, body);
    }
  }

  // Keys of the posts that were not answered yet, by what they said: saying it once more is then the same post, not another.
  const unanswered = new Map();

  function said(path, sent) {
    const file = (f) => (f instanceof Blob ? [f.name, f.size, f.lastModified] : f);
    const body = sent instanceof FormData ? [...sent].map(([name, value]) => [name, file(value)]) : file(sent);
    return JSON.stringify([path, body]);
  }

  function newKey() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
  }

  // api calls the API as whoever signed in here, or with the key that is given, and returns the decoded answer.
  async function api(method, path, body, { key, headers, signal } = {}) {
    const h = new Headers(headers);
    if (key) h.set('x-api-key', key);
    let sent = body;
    if (body !== undefined && body !== null && !(body instanceof FormData) && !(body instanceof Blob) && typeof body !== 'string') {
      h.set('Content-Type', 'application/json');
      sent = JSON.stringify(body);
    }
    const post = method === 'POST' && !path.endsWith('/preview') ? said(path, sent) : '';
    if (post) {
      if (!unanswered.has(post)) unanswered.set(post, newKey());
      h.set('Idempotency-Key', unanswered.get(post));
    }
    let answer;
    try {
      answer = await fetch(path, { method, headers: h, body: sent ?? undefined, signal, credentials: 'same-origin', cache: 'no-store' });
    } catch (err) {
      if (err.name === 'AbortError') throw err;
      throw new Problem(0, { title: 'Not reached', detail: 'The hub does not answer. Is it running, and are you online?' });
    }
    const text = await answer.text();
    const json = /[/+]json/.test(answer.headers.get('Content-Type') || '');
    const value = json && text ? JSON.parse(text) : text;
    if (answer.status < 500 && value.code !== 'idempotency_busy') unanswered.delete(post);
    if (answer.ok) return value;
    if (answer.status === 401 && !key) {
      location.assign('/signin?next=' + encodeURIComponent(location.pathname + location.search));
    }
    throw new Problem(answer.status, json ? value : { detail: text });
  }

  // notice says something above the page's content; kind is good, wait, bad or empty. Screen readers are told.
  function notice(text, kind = '') {
    const place = document.getElementById('notice');
    if (!place) return;
    const box = document.createElement('p');
    box.className = 'notice ' + kind;
    box.textContent = text;
    place.replaceChildren(...(text ? [box] : []));
  }

  // leave says something on the page that is shown next.
  const left = 'hub:done';
  function leave(text) {
    sessionStorage.setItem(left, text);
  }

  function explain(problem) {
    const parts = (problem.errors || []).map((e) => `${e.pointer} ${e.detail}`);
    return [problem.message, ...parts.filter((p) => !p.endsWith(problem.message))].join(' · ') + (problem.code ? ` (${problem.code})` : '');
  }

  // What the catalogue of errors says to do about a code.
  async function remedy(code) {
    if (!/^[a-z0-9_]+$/.test(code || '')) return '';
    try {
      return await api('GET', '/remedies/' + code);
    } catch {
      return '';
    }
  }

  // refuse shows a refusal in a form: what is wrong beside each field that the API points at, the rest in a box that gets the focus.
  async function refuse(form, problem) {
    forget(form);
    const box = document.createElement('div');
    box.className = 'notice bad';
    box.dataset.problem = '';
    box.setAttribute('role', 'alert');
    box.tabIndex = -1;
    const add = (tag, text) => {
      if (!text) return;
      const line = document.createElement(tag);
      line.textContent = text;
      box.append(line);
    };
    const detail = problem.detail || problem.message;
    const elsewhere = [];
    let beside = false;
    (problem.errors || []).forEach((error, i) => {
      const name = error.pointer.slice(1).replaceAll('/', '.');
      const field = form.elements.namedItem(name);
      if (!(field instanceof Element) || field.type === 'hidden') {
        elsewhere.push(error.detail);
        return;
      }
      const note = document.createElement('p');
      note.className = 'field-problem';
      note.id = `problem-${i}`;
      note.textContent = error.detail;
      field.dataset.described ??= field.getAttribute('aria-describedby') || '';
      field.setAttribute('aria-invalid', 'true');
      field.setAttribute('aria-describedby', `${field.dataset.described} ${note.id}`.trim());
      field.after(note);
      beside ||= error.detail === detail;
    });
    add('strong', problem.title);
    if (!beside) add('p', detail);
    if (elsewhere.length > 1) {
      const list = document.createElement('ul');
      for (const one of [...elsewhere.slice(0, 10), ...(elsewhere.length > 10 ? [`and ${elsewhere.length - 10} more`] : [])]) {
        const line = document.createElement('li');
        line.textContent = one;
        list.append(line);
      }
      box.append(list);
    }
    (form.querySelector('[data-error]') || form).append(box);
    box.focus();
    const what = await remedy(problem.code);
    if (what) add('p', 'What to do: ' + what);
  }

  function forget(form) {
    for (const old of form.querySelectorAll('[data-problem], .field-problem')) old.remove();
    for (const field of form.querySelectorAll('[aria-invalid="true"]')) {
      field.removeAttribute('aria-invalid');
      if (field.dataset.described) field.setAttribute('aria-describedby', field.dataset.described);
      else field.removeAttribute('aria-describedby');
    }
  }

  function changed(field) {
    if (field.type === 'checkbox' || field.type === 'radio') return field.checked !== field.defaultChecked;
    if (field.tagName === 'SELECT') return [...field.options].some((o) => o.selected !== o.defaultSelected);
    return field.value !== field.defaultValue;
  }

  // valueOf is a field as JSON; undefined leaves it out.
  function valueOf(field) {
    if (field.type === 'radio' && !field.checked) return undefined;
    if (field.type === 'checkbox') return field.dataset.type === 'list' ? (field.checked ? field.value : undefined) : field.checked;
    if (field.dataset.type === 'words') return field.value.split(',').map((w) => w.trim()).filter(Boolean);
    if (field.value === '') return field.dataset.empty === 'null' ? null : undefined;
    switch (field.dataset.type) {
      case 'number': return Math.round(Number(field.value) * Number(field.dataset.factor || 1) * 1e6) / 1e6;
      case 'boolean': return field.value === 'true';
      case 'json': return JSON.parse(field.value);
      case 'time': return new Date(field.value).toISOString();
      default: return field.value;
    }
  }

  // fields reads a form as JSON. A name with dots nests. data-type says what is no text: number (times data-factor), boolean, json,
  // time, words (between commas), list (the checked ones of a name). What is empty is left out, or null with data-empty="null". A form with data-changed sends
  // only what was changed; fields of one data-group go together, and are null together when all are empty.
  function fields(form) {
    const out = {};
    let some = false;
    const all = [...form.elements].filter((f) => f.name && !f.disabled && f.tagName !== 'BUTTON' && f.tagName !== 'FIELDSET');
    const groups = new Set(all.filter(changed).map((f) => f.dataset.group).filter(Boolean));
    for (const f of all) {
      if ('changed' in form.dataset && !changed(f) && !groups.has(f.dataset.group)) continue;
      const value = valueOf(f);
      if (value === undefined) continue;
      let at = out;
      const names = f.name.split('.');
      for (const n of names.slice(0, -1)) at = at[n] ??= {};
      if (f.dataset.type === 'list') (at[names.at(-1)] ??= []).push(value);
      else at[names.at(-1)] = value;
      some = true;
    }
    for (const group of groups) {
      const names = group.split('.');
      const at = names.slice(0, -1).reduce((o, n) => o?.[n], out);
      if (at && Object.values(at[names.at(-1)] || {}).every((v) => v === null)) at[names.at(-1)] = null;
    }
    return some || 'changed' in form.dataset ? out : undefined;
  }

  // formData is fields for a form with a file.
  function formData(form) {
    const data = new FormData();
    for (const f of form.elements) {
      if (!f.name || f.disabled) continue;
      if (f.type === 'file') {
        if (f.files[0]) data.append(f.name, f.files[0]);
        continue;
      }
      const value = valueOf(f);
      if (value !== undefined && value !== null) data.append(f.name, value);
    }
    return data;
  }

  // sure asks in a dialog of the page's own.
  function sure(question, yes) {
    const dialog = document.createElement('dialog');
    const text = document.createElement('p');
    text.id = 'question';
    text.textContent = question;
    dialog.setAttribute('aria-labelledby', text.id);
    const buttons = document.createElement('form');
    buttons.method = 'dialog';
    buttons.className = 'row end';
    for (const [value, label, look] of [['no', 'Leave it', 'button'], ['yes', yes, 'button danger']]) {
      const button = document.createElement('button');
      button.value = value;
      button.textContent = label;
      button.className = look;
      buttons.append(button);
    }
    dialog.append(text, buttons);
    document.body.append(dialog);
    const before = document.activeElement;
    return new Promise((resolve) => {
      dialog.addEventListener('close', () => {
        dialog.remove();
        before?.focus?.();
        resolve(dialog.returnValue === 'yes');
      });
      dialog.showModal();
    });
  }

  // <form data-api="PATCH" action="/api/..." data-confirm="Sure?" data-then="reload" data-done="Saved."> calls the API; {to} in its
  // action is its field of that name, data-json of a button is sent instead of the fields. data-then: reload (when it is left out), a
  // path in which {id} stands for what the answer says, or none; the event api:done carries the answer in any case. data-done is said
  // afterwards, on the page that follows.
  async function send(form, submitter) {
    if (form.ariaBusy === 'true') return;
    const ask = submitter?.dataset.confirm || form.dataset.confirm;
    if (ask && !(await sure(ask, submitter?.dataset.yes || submitter?.textContent.trim() || 'Yes'))) return;
    forget(form);
    const buttons = [...form.querySelectorAll('button')].filter((b) => !b.disabled);
    try {
      const method = submitter?.dataset.api || form.dataset.api;
      let body;
      if (submitter?.dataset.json) body = JSON.parse(submitter.dataset.json);
      else if (method !== 'DELETE') body = fields(form);
      const path = (submitter?.getAttribute('formaction') || form.getAttribute('action'))
        .replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(form.elements.namedItem(name).value));
      form.ariaBusy = 'true';
      buttons.forEach((b) => { b.disabled = true; });
      const answer = await api(method, path, body);
      const done = submitter?.dataset.done || form.dataset.done;
      const stay = !form.dispatchEvent(new CustomEvent('api:done', { bubbles: true, cancelable: true, detail: answer }));
      const then = submitter?.dataset.then || form.dataset.then || 'reload';
      if (stay || then === 'none') {
        if (done) notice(done, 'good');
        return;
      }
      if (done) leave(done);
      if (then === 'reload') location.reload();
      else location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name])));
    } catch (err) {
      await refuse(form, err);
    } finally {
      form.ariaBusy = null;
      buttons.forEach((b) => { b.disabled = false; });
    }
  }

  document.addEventListener('submit', (event) => {
    const form = event.target.closest('form[data-api]');
    if (!form) return;
    event.preventDefault();
    send(form, event.submitter);
  });

  const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  function localise(root) {
    for (const time of root.querySelectorAll('time[datetime]:not([title])')) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = time.textContent;
      time.textContent = zoned.format(at);
    }
  }

  // <input type="datetime-local" data-utc>: the page and its address have UTC; who looks at it sees and chooses times of the browser's time zone.
  const clock = (at) => new Date(at).toISOString().slice(0, 19).replace(/:00$/, '');
  for (const input of document.querySelectorAll('input[data-utc]')) {
    const at = new Date(input.defaultValue + 'Z');
    if (!Number.isNaN(at.getTime())) input.value = clock(at - at.getTimezoneOffset() * 60000);
    for (const label of input.labels) label.querySelector('[data-zone]').textContent = 'your time zone';
  }
  document.addEventListener('formdata', (event) => {
    for (const input of event.target.querySelectorAll('input[data-utc]')) {
      if (input.value) event.formData.set(input.name, clock(new Date(input.value)));
    }
  });

  // <button data-copy="#id"> copies the text of that element; without an id, of the pre in the same .code.
  async function copy(button) {
    const from = button.dataset.copy ? document.querySelector(button.dataset.copy) : button.closest('.code').querySelector('pre');
    const text = from.value ?? from.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no secure context, or no permission: the older way
      const area = document.createElement('textarea');
      area.value = text;
      area.className = 'visually-hidden';
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
      button.focus();
    }
    button.dataset.label ??= button.textContent;
    button.textContent = 'Copied';
    button.dataset.copied = 'yes';
    clearTimeout(button.copied);
    button.copied = setTimeout(() => { button.textContent = button.dataset.label; }, 2000);
  }

  document.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-copy]');
    if (button) copy(button);
  });

  // A key just made is kept for this window alone, so that the documentation can fill it in; signing out forgets it.
  function token(channel) {
    try { return sessionStorage.getItem('hub:key:' + channel) || ''; } catch { return ''; }
  }
  function rememberToken(channel, key) {
    try { sessionStorage.setItem('hub:key:' + channel, key); } catch { /* then it is pasted by hand */ }
  }
  document.querySelector('form[action="/signout"]')?.addEventListener('submit', () => {
    try { sessionStorage.clear(); } catch { /* nothing is there */ }
  });

  document.addEventListener('htmx:afterSwap', (event) => localise(event.target.parentElement || document));
  window.hub = { api, notice, leave, explain, refuse, forget, fields, formData, localise, token, rememberToken, Problem };
  localise(document);
  if (sessionStorage.getItem(left)) {
    notice(sessionStorage.getItem(left), 'good');
    sessionStorage.removeItem(left);
  }
})();
