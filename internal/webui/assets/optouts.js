// The list of opt-outs takes a CSV file as it is.
'use strict';

document.querySelector('#add-many')?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  hub.forget(form);
  event.submitter.disabled = true;
  try {
    const { added, known, invalid } = await hub.api('POST', form.dataset.csv, form.elements.csv.files[0], { headers: { 'Content-Type': 'text/csv' } });
    let told = `${added} added, ${known} were on the list already.`;
    if (invalid.length) told += ` ${invalid.length} rows are no recipient, the first is row ${invalid[0].row}: ${invalid[0].to}`;
    hub.leave(told);
    location.reload();
  } catch (problem) {
    if (!(problem instanceof hub.Problem)) throw problem;
    await hub.refuse(form, problem);
  } finally {
    event.submitter.disabled = false;
  }
});
