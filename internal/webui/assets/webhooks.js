// The secret of a webhook that was just made or rotated is shown once.
'use strict';

(() => {
  const shown = document.querySelector('#new-secret');
  document.addEventListener('api:done', (event) => {
    const form = event.target;
    if (!form.matches('[data-new-secret]')) return;
    event.preventDefault();
    if (!event.detail?.secret) return;
    document.querySelector('#new-secret-text').textContent = event.detail.secret;
    form.reset();
    shown.hidden = false;
    shown.focus();
    htmx.trigger('#webhooks', 'live');
  });
})();
