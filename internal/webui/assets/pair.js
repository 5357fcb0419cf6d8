// The pairing page: it follows the session's stream, draws each new code, and counts down how long it holds.
'use strict';

(() => {
  const root = document.querySelector('#pairing');
  const channel = root.dataset.channel;
  const api = '/api/' + encodeURIComponent(channel) + '/session';
  const $ = (id) => document.getElementById(id);
  const image = $('qr'), timer = $('countdown'), bar = $('countdown-bar'), shownCode = $('pairing-code');
  let expires = 0, began = 0, skew = 0, present = null;

  // Between the browser's clock and the hub's.
  function learnClock(answer) {
    const date = Date.parse(answer.headers.get('Date') || '');
    if (date) skew = date + 500 - Date.now();
  }

  function show(what) {
    root.dataset.shows = what;
    for (const part of root.querySelectorAll('[data-when]')) part.hidden = !part.dataset.when.split(' ').includes(what);
  }

  async function draw(code) {
    present = code;
    const isNew = root.dataset.code !== code.code;
    root.dataset.code = code.code;
    if (code.method === 'code') {
      shownCode.textContent = code.code;
      shownCode.setAttribute('aria-label', 'The code is ' + code.code.split('').join(' '));
      show('code');
    } else {
      const answer = await fetch(api + '/qr', { headers: { Accept: 'image/svg+xml' }, credentials: 'same-origin' });
      if (!answer.ok || present !== code) return; // another one is on its way
      learnClock(answer);
      image.src = 'data:image/svg+xml;base64,' + btoa(await answer.text());
      image.dataset.code = code.code;
      show('qr');
    }
    expires = Date.parse(code.expiresAt);
    if (isNew) began = Date.now() + skew;
    tick();
  }

  function tick() {
    if (!present) return;
    const left = Math.max(0, expires - (Date.now() + skew));
    const seconds = Math.ceil(left / 1000);
    timer.textContent = seconds > 0
      ? (present.method === 'code' ? 'Enter it within ' : 'A new code comes in ') + seconds + (seconds === 1 ? ' second' : ' seconds')
      : 'Waiting for a new code';
    bar.max = Math.max(1, expires - began);
    bar.value = left;
  }
  setInterval(tick, 500);

  root.addEventListener('stream', (event) => {
    const { name, data } = event.detail;
    if (name === 'code') {
      draw(data);
      return;
    }
    root.dataset.state = data.state;
    if (data.state !== 'pairing') {
      present = null;
      delete root.dataset.code;
      show(data.state === 'online' ? 'paired' : data.number ? 'linked' : 'start');
    } else if (!present) {
      show('waiting');
    }
  });

  // What was asked for is on its way; the form for an 8-character code is answered with it.
  root.addEventListener('api:done', (event) => {
    const answer = event.detail;
    if (answer?.pairingCode) draw({ method: 'code', code: answer.pairingCode, expiresAt: answer.expiresAt });
    else if (!present && root.dataset.state !== 'online') show('waiting');
  });

  // In the sandbox a simulated phone scans what is shown, or types it.
  $('scan')?.addEventListener('submit', async (event) => {
    event.preventDefault();
    const form = event.target;
    hub.forget(form);
    if (!present) return;
    const number = form.elements.number.value;
    const body = present.method === 'code' ? { code: present.code, number } : { qr: image.dataset.code, number };
    event.submitter.disabled = true;
    try {
      await hub.api('POST', '/sandbox/pair', body);
    } catch (problem) {
      if (!(problem instanceof hub.Problem)) throw problem;
      await hub.refuse(form, problem);
    } finally {
      event.submitter.disabled = false;
    }
  });

  if (location.hash === '#start') {
    history.replaceState(null, '', location.pathname + location.search);
    document.addEventListener('DOMContentLoaded', () => document.querySelector('#start-qr')?.click());
  }
})();
