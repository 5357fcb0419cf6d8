// Regions of the dashboard that follow the hub:
//
//   <div data-events="/api/..." data-on="progress end" data-to="#live">
//     an event stream; each event is told to the element #live as the event "live", on which htmx fetches it anew, and to scripts as
//     "stream". data-key names a field of the events: when it changes, the elements of data-also are told too. After the event
//     data-end the stream is over, and the element is told now and then.
'use strict';

(() => {
  const find = (selector) => document.querySelector(selector);

  // A stream that breaks is opened again by the browser; one that the hub ended (an answer that is no stream) a while later.
  function follow(element) {
    let source, timer, last = null, pause = 3000;
    const target = () => find(element.dataset.to) || element;
    const tell = (name, data) => {
      if (!element.isConnected) {
        source.close();
        return;
      }
      element.dispatchEvent(new CustomEvent('stream', { bubbles: true, detail: { name, data } }));
      if (document.hidden) return; // told when somebody looks again
      if (window.htmx) htmx.trigger(target(), 'live');
      const key = element.dataset.key;
      if (!key || !data) return;
      if (last !== null && data[key] !== last) {
        for (const other of document.querySelectorAll(element.dataset.also)) htmx.trigger(other, 'live');
      }
      last = data[key];
    };
    const open = () => {
      source = new EventSource(element.dataset.events);
      for (const name of element.dataset.on.split(' ')) {
        source.addEventListener(name, (event) => {
          let data = null;
          try {
            data = JSON.parse(event.data);
          } catch { /* the page is asked for its content anyway */ }
          pause = 3000;
          tell(name, data);
          if (name === element.dataset.end) {
            source.close();
            source = null;
            afterwards();
          }
        });
      }
      source.addEventListener('error', () => {
        if (source && source.readyState === EventSource.CLOSED) {
          timer = setTimeout(open, pause);
          pause = Math.min(2 * pause, 60000); // it may be refused for good
        }
      });
    };
    // What the stream followed has ended, but for receipts: look now and then, less often when nothing comes.
    const afterwards = () => {
      let pause = 1500, before = '';
      const look = () => {
        if (!element.isConnected) return;
        if (!document.hidden) htmx.trigger(target(), 'live');
        const now = target().textContent;
        pause = now === before ? Math.min(pause * 1.5, 30000) : 1500;
        before = now;
        timer = setTimeout(look, pause);
      };
      timer = setTimeout(look, pause);
    };
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && window.htmx) htmx.trigger(target(), 'live');
    });
    window.addEventListener('pagehide', () => {
      clearTimeout(timer);
      source?.close();
    });
    window.addEventListener('pageshow', (event) => {
      if (event.persisted) open();
    });
    open();
  }

  // What has not changed is not replaced: a pointer, a focus and a screen reader stay where they are.
  const known = new Map();
  for (const region of document.querySelectorAll('[hx-select][id]')) known.set('#' + region.id, region.outerHTML);
  document.addEventListener('htmx:beforeSwap', (event) => {
    const region = event.detail.elt, selector = region.getAttribute('hx-select');
    if (!selector || event.detail.xhr.status !== 200) return;
    const now = new DOMParser().parseFromString(event.detail.serverResponse, 'text/html').querySelector(selector)?.outerHTML;
    if (now === undefined) return;
    if (known.get(selector) === now) event.detail.shouldSwap = false;
    known.set(selector, now);
  });

  for (const element of document.querySelectorAll('[data-events]')) follow(element);
})();
