// The form of a new bulk send: it offers the columns of the chosen file as placeholders, and shows what the API would send before
// anything is.
'use strict';

(() => {
  const form = document.querySelector('#new-bulk');
  const preview = document.querySelector('#preview');
  const offer = document.querySelector('#columns');
  const sending = document.querySelector('#send');
  const base = form.getAttribute('action');
  const number = new Intl.NumberFormat();

  // ---- columns

  // The first line of a CSV file, as the API reads it: separated by whichever of , ; and tab it has most of.
  function columnsOf(text) {
    const line = text.replace(/^\uFEFF/, '').split(/\r?\n/, 1)[0];
    const by = [',', ';', '\t'].sort((a, b) => line.split(b).length - line.split(a).length)[0];
    return line.split(by).map((c) => c.trim().replace(/^"(.*)"$/, '$1').replaceAll('""', '"').trim()).filter(Boolean);
  }

  form.elements.file.addEventListener('change', async () => {
    stale();
    offer.replaceChildren();
    const file = form.elements.file.files[0];
    if (!file) return;
    const columns = columnsOf(await file.slice(0, 65536).text());
    if (!columns.length || columns.length > 64) return;
    const label = document.createElement('span');
    label.textContent = 'Insert: ';
    offer.append(label);
    for (const column of columns) {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'chip';
      button.textContent = '{{' + column + '}}';
      button.addEventListener('click', () => {
        const text = form.elements.message;
        text.setRangeText(button.textContent, text.selectionStart, text.selectionEnd, 'end');
        text.focus();
        stale();
      });
      offer.append(button, ' ');
    }
  });

  form.elements.media.addEventListener('change', () => {
    stale();
    form.elements.message.required = form.elements.media.files.length === 0;
  });

  // ---- preview

  function stale() {
    preview.hidden = true;
    sending.hidden = true;
  }
  form.addEventListener('input', stale);

  function cell(row, text, name) {
    const td = document.createElement('td');
    td.textContent = text;
    if (name) td.className = name;
    row.append(td);
  }

  function fill(body, rows) {
    body.replaceChildren(...rows.map((cells) => {
      const row = document.createElement('tr');
      cells.forEach(([text, name]) => cell(row, text, name));
      return row;
    }));
  }

  function show(p) {
    const people = (n) => number.format(n) + (n === 1 ? ' message' : ' messages');
    document.querySelector('#preview-summary').textContent = p.invalidCount === 0
      ? `${people(p.valid)}, one for each row.`
      : `${people(p.valid)} of ${number.format(p.rows)} rows. ${number.format(p.invalidCount)} rows cannot be sent: ` +
        Object.entries(p.invalidByCode).map(([code, n]) => number.format(n) + ' ' + code.replaceAll('_', ' ')).join(', ') + '.';
    fill(document.querySelector('#preview-messages tbody'), p.messages.map((m) => [[m.row], [m.to, 'number'], [m.message, 'text']]));
    document.querySelector('#preview-messages').hidden = p.messages.length === 0;
    document.querySelector('#preview-more').hidden = p.valid <= p.messages.length;
    document.querySelector('#preview-invalid').hidden = p.invalid.length === 0;
    fill(document.querySelector('#preview-invalid tbody'), p.invalid.map((r) => [[r.row], [r.to, 'number'], [r.detail]]));
    form.elements.onInvalid.value = p.invalidCount > 0 ? 'skip' : 'refuse';
    sending.textContent = p.invalidCount > 0
      ? `Send ${people(p.valid)}, leave out ${number.format(p.invalidCount)}`
      : `Send ${people(p.valid)}`;
    sending.hidden = p.valid === 0;
    preview.hidden = false;
    preview.focus();
  }

  async function ask(path, then) {
    if (form.dataset.busy) return;
    hub.forget(form);
    let data;
    try {
      data = hub.formData(form);
    } catch {
      await hub.refuse(form, { title: 'Invalid parameter', detail: 'A time cannot be read.', errors: [] });
      return;
    }
    form.dataset.busy = 'true';
    form.setAttribute('aria-busy', 'true');
    try {
      then(await hub.api('POST', path, data));
    } catch (problem) {
      if (!(problem instanceof hub.Problem)) throw problem;
      stale();
      await hub.refuse(form, problem);
    } finally {
      delete form.dataset.busy;
      form.removeAttribute('aria-busy');
    }
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (event.submitter === sending) {
      ask(base, (bulk) => { location.href = form.dataset.follow + encodeURIComponent(bulk.id); });
    } else {
      ask(base + '/preview', show);
    }
  });
})();
