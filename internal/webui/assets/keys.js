// A key that was just created is shown once, and kept for this browser session so that the samples of the documentation have it.
'use strict';

(() => {
  const shown = document.querySelector('#new-key');
  document.addEventListener('api:done', (event) => {
    const form = event.target;
    if (!form.matches('[data-new-key]')) return;
    event.preventDefault();
    const { key, name } = event.detail;
    if (!key) return;
    document.querySelector('#new-key-secret').textContent = key;
    document.querySelector('#new-key-name').textContent = name || 'The key';
    try {
      sessionStorage.setItem('hub:key:' + document.querySelector('#keys').dataset.channel, key);
    } catch { /* no storage: the samples go without */ }
    form.reset();
    shown.hidden = false;
    shown.focus();
    htmx.trigger('#keys', 'live');
  });
})();
