// A key that was just created is shown once, and kept for this browser session so that the samples of the documentation have it.
'use strict';

(() => {
  const form = document.querySelector('#create-key');
  const shown = document.querySelector('#new-key');
  form?.addEventListener('api:done', (event) => {
    event.preventDefault();
    const { key, name } = event.detail;
    if (!key) return;
    document.querySelector('#new-key-secret').textContent = key;
    document.querySelector('#new-key-name').textContent = name || 'The key';
    try {
      sessionStorage.setItem('hub:key:' + form.dataset.channel, key);
    } catch { /* no storage: the samples go without */ }
    form.reset();
    shown.hidden = false;
    shown.focus();
    htmx.trigger('#keys', 'live');
  });
})();
