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

  // api calls the API as whoever signed in here, or with the key that is given, and returns the decoded answer.
  async function api(method, path, body, { key, headers, signal, idempotencyKey } = {}) {
    const h = new Headers(headers);
    if (key) h.set('x-api-key', key);
    if (idempotencyKey) h.set('Idempotency-Key', idempotencyKey);
    let sent = body;
    if (body !== undefined && body !== null && !(body instanceof FormData) && !(body instanceof Blob) && typeof body !== 'string') {
      h.set('Content-Type', 'application/json');
      sent = JSON.stringify(body);
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

  function explain(problem) {
    const parts = (problem.errors || []).map((e) => `${e.pointer} ${e.detail}`);
    return [problem.message, ...parts.filter((p) => !p.endsWith(problem.message))].join(' · ') + (problem.code ? ` (${problem.code})` : '');
  }

  // fields reads a form as JSON: a name with dots nests, data-type says what is no text (number, boolean, json, time), what is empty
  // is left out, or null with data-empty="null".
  function fields(form) {
    const out = {};
    let some = false;
    for (const f of form.elements) {
      if (!f.name || f.disabled || (f.type === 'radio' && !f.checked)) continue;
      let value = f.value;
      if (f.type === 'checkbox') value = f.checked;
      else if (value === '') {
        if (f.dataset.empty !== 'null') continue;
        value = null;
      } else if (f.dataset.type === 'number') value = Number(value);
      else if (f.dataset.type === 'boolean') value = value === 'true';
      else if (f.dataset.type === 'json') value = JSON.parse(value);
      else if (f.dataset.type === 'time') value = new Date(value).toISOString();
      let at = out;
      const names = f.name.split('.');
      for (const n of names.slice(0, -1)) at = at[n] ??= {};
      at[names.at(-1)] = value;
      some = true;
    }
    return some ? out : undefined;
  }

  // <form data-api="PATCH" action="/api/..." data-confirm="Sure?" data-then="reload"> calls the API. data-then: reload (when it is
  // left out), a path in which {id} stands for what the answer says, or none; the event api:done carries the answer in any case.
  async function send(form, submitter) {
    const ask = submitter?.dataset.confirm || form.dataset.confirm;
    if (ask && !confirm(ask)) return;
    const buttons = [...form.querySelectorAll('button')].filter((b) => !b.disabled);
    const error = form.querySelector('[data-error]');
    if (error) { error.hidden = true; error.textContent = ''; }
    let stay = false;
    try {
      const body = fields(form);
      buttons.forEach((b) => { b.disabled = true; });
      const answer = await api(form.dataset.api, submitter?.getAttribute('formaction') || form.getAttribute('action'), body);
      stay = !form.dispatchEvent(new CustomEvent('api:done', { bubbles: true, cancelable: true, detail: answer }));
      const then = form.dataset.then || 'reload';
      if (stay || then === 'none') return;
      if (then === 'reload') location.reload();
      else location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name])));
    } catch (err) {
      const text = err instanceof Problem ? explain(err) : String(err.message || err);
      if (error) { error.textContent = text; error.hidden = false; error.focus?.(); } else notice(text, 'bad');
    } finally {
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
    clearTimeout(button.copied);
    button.copied = setTimeout(() => { button.textContent = button.dataset.label; }, 2000);
  }

  document.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-copy]');
    if (button) copy(button);
  });

  document.addEventListener('htmx:afterSwap', (event) => localise(event.target.parentElement || document));
  window.hub = { api, notice, explain, fields, localise, Problem };
  localise(document);
})();
