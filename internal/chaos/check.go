package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// event is one of a message's history.
type event struct {
	Status gateway.Status `json:"status"`
	At     time.Time      `json:"at"`
	Detail string         `json:"detail"`
}

// entry is a message on a simulated phone.
type entry struct {
	phone     string
	ID        string      `json:"id"`
	From      string      `json:"from"`
	Text      string      `json:"text"`
	Caption   string      `json:"caption"` // the text of a message with a file
	SHA256    string      `json:"sha256"`  // of the file
	At        time.Time   `json:"at"`
	Decrypted []time.Time `json:"decrypted"`
}

// verdict is what became of one accepted message.
type verdict struct {
	*message
	status  gateway.Status // as the hub says; empty: it does not know the message
	history []event
	shows   []entry

	shown, waiting, failed, lost, twice, twoIDs, again bool
	untrue, backwards                                  string // what is wrong, empty when nothing is
}

// offends reports whether the message missed a bar. Decrypted again is none: a phone shows it once all the same. Waiting, when patience
// was over, is one: nobody knows what would have become of it.
func (v *verdict) offends() bool {
	return v.waiting || v.failed || v.lost || v.twice || v.twoIDs || v.untrue != "" || v.backwards != ""
}

// judge compares what the hub says of an accepted message with what the phones show under its text.
func judge(m *message, status gateway.Status, history []event, shows []entry) *verdict {
	v := &verdict{message: m, status: status, history: history, shows: shows, shown: len(shows) > 0}
	ids := map[string]int{m.stanza: 0}
	for _, s := range shows {
		ids[s.ID]++
		v.again = v.again || len(s.Decrypted) > 1
		v.twice = v.twice || ids[s.ID] > 1
	}
	v.twoIDs = len(ids) > 1
	switch status {
	case gateway.StatusFailed, gateway.StatusExpired, gateway.StatusUnknown, gateway.StatusCanceled:
	default:
		v.waiting = status != "" && !status.Final()
		v.lost = !v.shown && !v.waiting
	}
	v.failed = status == gateway.StatusFailed && m.to != numberThat(wasim.NotOnWhatsApp)
	v.untrue = v.untruth()
	v.backwards = retreat(history)
	return v
}

// untruth is what the hub says of a message that is not so.
func (v *verdict) untruth() string {
	arrived := claimsArrival(v.status)
	switch {
	case arrived && !v.shown:
		return fmt.Sprintf("is %s, and no phone shows it", v.status)
	case v.shown && (v.status == gateway.StatusFailed || v.status == gateway.StatusExpired || v.status == gateway.StatusCanceled):
		return fmt.Sprintf("is %s, and a phone shows it", v.status)
	case len(v.history) == 0:
		return "has no history"
	case v.history[len(v.history)-1].Status != v.status && !v.waiting: // which may have gone on since
		return fmt.Sprintf("is %s, and its history ends with %s", v.status, v.history[len(v.history)-1].Status)
	}
	first := time.Time{}
	for _, s := range v.shows {
		if s.phone != v.to || s.From != tenantNumber(v.tenant) {
			return fmt.Sprintf("went from %s to %s", s.From, s.phone)
		}
		if s.SHA256 != v.sha256 {
			return fmt.Sprintf("was shown with the file %q instead of %q", s.SHA256, v.sha256)
		}
		if first.IsZero() || s.At.Before(first) {
			first = s.At
		}
	}
	for _, e := range v.history {
		if claimsArrival(e.Status) && v.shown && !v.waiting && e.At.Before(first) {
			return fmt.Sprintf("was %s %s before a phone had it", e.Status, first.Sub(e.At))
		}
	}
	return ""
}

func claimsArrival(s gateway.Status) bool {
	return s == gateway.StatusSent || s == gateway.StatusDelivered || s == gateway.StatusRead
}

// retreat is the first step of a history that docs/message-status.md does not allow. An event that keeps the status tells of an attempt.
func retreat(history []event) string {
	for i := 1; i < len(history); i++ {
		before, after := history[i-1].Status, history[i].Status
		if before != after && !before.CanMove(after) {
			return fmt.Sprintf("went from %s to %s", before, after)
		}
	}
	return ""
}

// ended is when the message was final for the first time; zero when it never was.
func (v *verdict) ended() time.Time {
	for _, e := range v.history {
		if e.Status.Final() {
			return e.At
		}
	}
	return time.Time{}
}

// look is how often the end is looked for, settle how long receipts may take after everything is final.
const (
	look   = time.Second
	settle = time.Minute
	tell   = 30 * time.Second // between two words about restrictions, see allow
	askers = 8                // requests of the examination at the same time
	batch  = 1000
)

// judgeAll waits until every accepted message is final, asks the phones, and judges. nil when that was not possible.
func (w *world) judgeAll(messages []*message, faults []*fault) *result {
	r := &result{shape: w.shape, faults: faults}
	var accepted []*message
	for _, m := range messages {
		r.requests += m.requests
		if m.accepted.IsZero() {
			r.unanswered++
			continue
		}
		accepted = append(accepted, m)
	}
	statuses, err := w.awaitEnd(accepted)
	if err != nil {
		w.t.Errorf("%s: %v", w.shape, err)
		return nil
	}
	w.logf("asking the phones and the hub about %d messages", len(accepted))
	shows, err := w.phones(accepted)
	if err != nil {
		w.t.Errorf("%s: %v", w.shape, err)
		return nil
	}
	r.verdicts = make([]*verdict, len(accepted))
	err = w.inParallel(len(accepted), func(i int) error {
		m := accepted[i]
		var answer struct {
			Data []event `json:"data"`
		}
		err := w.read(w.hub, http.MethodGet, "/api/"+tenantID(m.tenant)+"/messages/"+m.id+"/events", nil, &answer)
		r.verdicts[i] = judge(m, statuses[m.id], answer.Data, shows[m.text])
		return err
	})
	if err != nil {
		w.t.Errorf("%s: %v", w.shape, err)
		return nil
	}
	r.took = time.Since(w.epoch)
	return r
}

// awaitEnd polls until every message is final and then, for at most settle, until every one is read or ended otherwise. It
// returns what the hub says of each when that was so, or when patience was over. Meanwhile the server tells the tenants that have messages
// waiting that it forbids them nothing any more.
func (w *world) awaitEnd(messages []*message) (map[string]gateway.Status, error) {
	statuses := map[string]gateway.Status{}
	open := messages
	began, quiet, told := time.Now(), time.Time{}, time.Time{}
	for {
		if err := w.ask(open, statuses); err != nil {
			return nil, err
		}
		final := func(m *message) bool { return statuses[m.id].Final() }
		open = slices.DeleteFunc(slices.Clone(open), func(m *message) bool {
			s := statuses[m.id]
			return final(m) && s != gateway.StatusSent && s != gateway.StatusDelivered
		})
		working := slices.ContainsFunc(open, func(m *message) bool { return !final(m) })
		switch {
		case len(open) == 0:
			w.logf("everything is final after %s", time.Since(began).Round(time.Second))
			return statuses, nil
		case time.Since(began) > w.patience:
			w.logf("%d messages are not read, or not even final, after %s", len(open), w.patience)
			return statuses, nil
		case working:
			quiet = time.Time{}
		case quiet.IsZero():
			quiet = time.Now()
		case time.Since(quiet) > settle:
			w.logf("everything is final, %d messages were never confirmed as read", len(open))
			return statuses, nil
		}
		if working && time.Since(told) > tell {
			told = time.Now()
			if err := w.allow(open, statuses); err != nil {
				return nil, err
			}
		}
		if !w.pause(look) {
			return nil, w.ctx.Err()
		}
	}
}

// allow ends the restrictions of the tenants whose messages are not all final.
func (w *world) allow(open []*message, statuses map[string]gateway.Status) error {
	tenants := map[int]bool{}
	for _, m := range open {
		if !statuses[m.id].Final() {
			tenants[m.tenant] = true
		}
	}
	for tenant := range tenants {
		if _, err := w.plant(timelock(tenant, leastTimelock)); err != nil {
			return err
		}
	}
	return nil
}

// ask reads the statuses of messages. Those that the hub does not know stay out.
func (w *world) ask(messages []*message, statuses map[string]gateway.Status) error {
	byTenant := map[int][]string{}
	for _, m := range messages {
		byTenant[m.tenant] = append(byTenant[m.tenant], m.id)
	}
	for tenant, ids := range byTenant {
		for part := range slices.Chunk(ids, batch) {
			var answer struct {
				Data []struct {
					ID     string         `json:"id"`
					Status gateway.Status `json:"status"`
				} `json:"data"`
			}
			err := w.read(w.hub, http.MethodPost, "/api/"+tenantID(tenant)+"/messages/status", map[string]any{"ids": part}, &answer)
			if err != nil {
				return err
			}
			for _, s := range answer.Data {
				statuses[s.ID] = s.Status
			}
		}
	}
	return nil
}

// phones reads what every phone shows that a message went to, by text.
func (w *world) phones(messages []*message) (map[string][]entry, error) {
	numbers := map[string]bool{}
	for _, m := range messages {
		numbers[m.to] = true
	}
	var all []string
	for number := range numbers {
		all = append(all, number)
	}
	shows := map[string][]entry{}
	var mu sync.Mutex
	err := w.inParallel(len(all), func(i int) error {
		var answer struct {
			Data []entry `json:"data"`
		}
		if err := w.read(w.sandbox, http.MethodGet, "/sandbox/phones/"+all[i]+"/messages", nil, &answer); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range answer.Data {
			e.phone = all[i]
			text := e.Text + e.Caption // it has one of them
			shows[text] = append(shows[text], e)
		}
		return nil
	})
	return shows, err
}

// read repeats a request that changes nothing until it is answered, for at most a minute: the last process that was killed may
// still be starting.
func (w *world) read(c *client, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	for {
		status, answer, err := c.call(ctx, method, path, body, out)
		if err == nil && status == http.StatusOK {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%d %s", status, strings.TrimSpace(answer))
		}
		if ctx.Err() != nil || status/100 == 4 || !w.pause(100*time.Millisecond) {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
}

// inParallel calls do for 0 to n-1, some at the same time.
func (w *world) inParallel(n int, do func(i int) error) error {
	next := make(chan int)
	errs := make([]error, askers)
	var working sync.WaitGroup
	for k := range askers {
		working.Go(func() {
			for i := range next {
				if errs[k] == nil {
					errs[k] = do(i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	working.Wait()
	return errors.Join(errs...)
}
