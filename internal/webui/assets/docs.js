// The documentation: one channel, one language and one key for every sample on the page, and a message that is really sent.
(() => {
  'use strict';
  const form = document.querySelector('[data-reader]');
  const channelInput = document.getElementById('channel');
  const languageInput = document.getElementById('language');
  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* it is asked for again */ } };
  const asked = new URLSearchParams(location.search);

  function setLanguage(name) {
    for (const codes of document.querySelectorAll('.codes')) {
      codes.dataset.show = name;
      for (const tab of codes.querySelectorAll('[role="tab"]')) {
        const on = tab.dataset.lang === name;
        tab.setAttribute('aria-selected', on);
        tab.tabIndex = on ? 0 : -1;
      }
    }
    if (languageInput) languageInput.value = name;
  }

  function chooseLanguage(name) {
    setLanguage(name);
    remember('hub.language', name);
  }

  function setFill(name, value) {
    for (const span of document.querySelectorAll(`[data-fill="${name}"]`)) {
      span.dataset.first ??= span.textContent;
      span.textContent = value || span.dataset.first;
    }
  }

  function setChannel(id) {
    setFill('channel', id);
    setFill('token', hub.token(id));
    for (const a of document.querySelectorAll('[data-channel-path]')) a.href = a.dataset.channelPath.replace('{channel}', encodeURIComponent(id));
  }

  const valid = (id) => /^[a-z0-9][a-z0-9-]{0,62}$/.test(id);
  const offered = (id) => channelInput.tagName !== 'SELECT' || [...channelInput.options].some((o) => o.value === id);

  document.addEventListener('click', (event) => {
    const tab = event.target.closest('.languages [role="tab"]');
    if (tab) chooseLanguage(tab.dataset.lang);
  });
  document.addEventListener('keydown', (event) => {
    const tab = event.target.closest?.('.languages [role="tab"]');
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tab || !step) return;
    event.preventDefault();
    const tabs = [...tab.parentElement.querySelectorAll('[role="tab"]')];
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    chooseLanguage(next.dataset.lang);
    next.focus();
  });

  if (form) {
    form.addEventListener('submit', (event) => event.preventDefault());
    languageInput.addEventListener('change', () => chooseLanguage(languageInput.value));
    channelInput.addEventListener(channelInput.tagName === 'SELECT' ? 'change' : 'input', () => {
      if (!valid(channelInput.value)) return;
      setChannel(channelInput.value);
      remember('hub.channel', channelInput.value);
    });
    const language = asked.get('lang') || remembered('hub.language');
    if (language && [...languageInput.options].some((o) => o.value === language)) setLanguage(language);
    const channel = asked.get('channel') || remembered('hub.channel');
    if (channel && valid(channel) && offered(channel)) channelInput.value = channel;
    setChannel(channelInput.value);
  }
  for (const d of document.querySelectorAll('details[data-wide-open]')) d.open = matchMedia('(min-width: 55.01rem)').matches;

  // Try it: send, then show each status as it comes.
  const tryIt = document.querySelector('[data-try]');
  if (!tryIt) return;
  const result = tryIt.querySelector('[data-result]');
  const timeline = tryIt.querySelector('[data-timeline]');
  const answer = tryIt.querySelector('[data-answer]');
  const error = tryIt.querySelector('[data-error]');
  const way = ['sending', 'sent', 'delivered', 'read'];
  const ends = ['read', 'failed', 'expired', 'canceled'];
  let running;
  let posting = false;

  function show(message, events) {
    answer.textContent = JSON.stringify(message, null, 2);
    timeline.replaceChildren(...events.map((e) => {
      const item = document.createElement('li');
      const state = document.createElement('span');
      state.className = 'state';
      state.dataset.state = e.status;
      state.textContent = e.status;
      const time = document.createElement('time');
      time.dateTime = e.at;
      time.textContent = e.at;
      item.append(state, ' ', time, e.detail ? ' ' + e.detail : '');
      return item;
    }));
    hub.localise(timeline);
  }

  tryIt.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (posting) return; // clicked twice
    running?.abort();
    running = new AbortController();
    const options = { key: document.getElementById('try-key').value || undefined, signal: running.signal };
    const channel = encodeURIComponent(channelInput.value);
    error.hidden = true;
    try {
      posting = true;
      let message = await hub.api('POST', `/api/${channel}/message`, { to: tryIt.elements.to.value, message: tryIt.elements.message.value }, options)
        .finally(() => { posting = false; });
      const path = `/api/${channel}/messages/${encodeURIComponent(message.id)}`;
      result.hidden = false;
      show(message, (await hub.api('GET', path + '/events', undefined, options)).data);
      for (let i = 0; i < way.length && !ends.includes(message.status); i++) {
        message = await hub.api('GET', `${path}?wait=50s&until=${way[i]}`, undefined, options);
        show(message, (await hub.api('GET', path + '/events', undefined, options)).data);
        i = Math.max(i, way.indexOf(message.status));
      }
    } catch (err) {
      if (err.name === 'AbortError') return;
      error.textContent = err instanceof hub.Problem ? hub.explain(err) : String(err);
      error.hidden = false;
      error.focus();
    }
  });
})();
