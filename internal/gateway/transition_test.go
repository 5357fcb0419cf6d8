package gateway

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	number = "4915550000001@s.whatsapp.net"
	lid    = "777@lid"
	own    = "4915559999999@s.whatsapp.net"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func queued() *Message {
	return &Message{
		ID: "m", TenantKey: 1, To: "4915550000001", Type: TypeText, Priority: PriorityNormal, WhatsAppID: "3EB0",
		Status: StatusQueued, Phase: PhaseWaiting, CreatedAt: start, ExpiresAt: start.Add(time.Hour), UpdatedAt: start,
	}
}

func begun(t *testing.T) *Message {
	t.Helper()
	m := queued()
	if _, err := m.Begin(start, "p"); err != nil {
		t.Fatal(err)
	}
	return m
}

func receipt(kind ReceiptKind, sender string) Receipt {
	return Receipt{Kind: kind, Chat: sender, Sender: sender, At: start.Add(time.Minute)}
}

func TestStatusNeverMovesBackwards(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := queued()
		group := rapid.Bool().Draw(t, "group")
		if group {
			m.To = "1-2@g.us"
		}
		m.HoldUnknown = rapid.Bool().Draw(t, "left to the operator")
		now := start
		members := map[string]Confirmed{}
		history := []Status{m.Status}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "seconds")) * time.Second)
			before := *m
			var events []Event
			var err error
			instance := rapid.SampledFrom([]string{"p1", "p2"}).Draw(t, "instance")
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0:
				events, err = m.Begin(now, instance)
			case 1:
				events, err = m.BeginAlone(now, instance)
			case 2, 3:
				events = m.Apply(now, instance, drawOutcome(t, now))
			case 4:
				sender := rapid.SampledFrom([]string{number, lid, own, "1@lid"}).Draw(t, "sender")
				r := Receipt{Kind: drawReceipt(t), Chat: sender, Sender: sender, At: now.Truncate(time.Second)}
				if group {
					r.Chat = m.To
				}
				match := m.Match(r, []string{own})
				if sender == own && match != MatchStranger {
					t.Fatal("our own device confirmed a message")
				}
				if match != MatchRecipient {
					break
				}
				had := Confirmed{Delivered: !m.DeliveredAt.IsZero(), Read: !m.ReadAt.IsZero()}
				if group {
					had = members[sender]
				}
				members[sender], events = m.Receive(now, r, had)
			case 5:
				if rapid.Bool().Draw(t, "cancel") {
					events, err = m.Cancel(now)
				} else {
					events = m.Expire(now)
				}
			case 6:
				events = m.Abandon(now, instance)
			case 7:
				end := rapid.SampledFrom([]func(*Message, time.Time) []Event{(*Message).Lapse, (*Message).Purge, (*Message).CancelWithBulk, (*Message).Disown}).Draw(t, "end")
				events = end(m, now)
			}
			if err != nil && (len(events) > 0 || *m != before) {
				t.Fatalf("refused with %v, yet %+v became %+v", err, before, *m)
			}
			if m.Status != before.Status {
				if !before.Status.CanMove(m.Status) || m.Status.rank() < before.Status.rank() {
					t.Fatalf("moved from %s to %s", before.Status, m.Status)
				}
				if len(events) != 1 || events[0].Status != m.Status || !events[0].At.Equal(now) {
					t.Fatalf("moved to %s with history %+v", m.Status, events)
				}
				history = append(history, m.Status)
			}
			check(t, m, &before)
		}
		for i, s := range history[1:] {
			if slices.Contains(history[:i+1], s) {
				t.Fatalf("went through %s twice: %v", s, history)
			}
		}
	})
}

// check holds what is true of every message at every time.
func check(t *rapid.T, m, before *Message) {
	switch {
	case m.Status.Final() && (m.Phase != PhaseNone || !m.NextAttemptAt.IsZero()):
		t.Fatalf("%s has phase %q until %v", m.Status, m.Phase, m.NextAttemptAt)
	case !m.Status.Final() && m.Phase == PhaseNone:
		t.Fatalf("%s has no phase", m.Status)
	case (m.Phase == PhaseBackoff || m.Phase == PhaseHeld) == m.NextAttemptAt.IsZero() && !m.Status.Final():
		t.Fatalf("phase %s is due at %v", m.Phase, m.NextAttemptAt)
	case m.Phase == PhaseWorking != (m.InFlight != "" && !m.Status.Final()):
		t.Fatalf("phase %s in the hands of %q", m.Phase, m.InFlight)
	case m.HoldUnknown && m.Uncertain && !m.Status.Final() && m.InFlight == "":
		t.Fatalf("%s waits for another attempt although it may have been delivered", m.ID)
	case before.Uncertain && !m.Uncertain:
		t.Fatal("an uncertain attempt was forgotten")
	case m.Uncertain && (m.Status == StatusExpired || m.Status == StatusCanceled):
		t.Fatalf("%s although it may have been delivered", m.Status)
	case m.Uncertain && m.Status == StatusFailed && m.Error.Code != CodePoison:
		t.Fatalf("failed with %s although it may have been delivered", m.Error.Code)
	case m.Attempts < 0 || m.Attempts > MaxAttempts:
		t.Fatalf("%d attempts", m.Attempts)
	case m.Deaths > MaxDeaths || m.DeliveredCount < m.ReadCount:
		t.Fatalf("%d deaths, %d delivered, %d read", m.Deaths, m.DeliveredCount, m.ReadCount)
	case !m.IsGroup() && m.DeliveredCount > 1:
		t.Fatalf("one person confirmed %d times", m.DeliveredCount)
	case m.Status == StatusSent && m.SentAt.IsZero(), m.Status == StatusDelivered && m.DeliveredAt.IsZero(),
		m.Status == StatusRead && m.ReadAt.IsZero(), m.Status == StatusFailed != (!m.FailedAt.IsZero() && m.Status != StatusExpired):
		t.Fatalf("%s with sent %v, delivered %v, read %v, failed %v", m.Status, m.SentAt, m.DeliveredAt, m.ReadAt, m.FailedAt)
	case !m.DeliveredAt.IsZero() && (m.SentAt.IsZero() || m.DeliveredAt.Before(m.SentAt)), !m.ReadAt.IsZero() && m.ReadAt.Before(m.DeliveredAt):
		t.Fatalf("sent %v, delivered %v, read %v", m.SentAt, m.DeliveredAt, m.ReadAt)
	case slices.Contains([]Status{StatusFailed, StatusExpired, StatusCanceled, StatusUnknown}, m.Status) == (m.Error == nil) && m.Status.Final():
		t.Fatalf("%s with error %+v", m.Status, m.Error)
	case before.Status == StatusCanceled && m.Status != StatusCanceled:
		t.Fatalf("canceled became %s", m.Status)
	}
}

func drawOutcome(t *rapid.T, now time.Time) Outcome {
	o := Outcome{
		Kind:    rapid.SampledFrom([]OutcomeKind{OutcomeSent, OutcomeRetry, OutcomeRetry, OutcomeWait, OutcomeHold, OutcomePermanent}).Draw(t, "outcome"),
		Failure: Failure{Code: rapid.SampledFrom([]Code{CodeTimeout, CodeExpired}).Draw(t, "code"), Message: "because"},
		OnWire:  rapid.Bool().Draw(t, "on wire"),
		RetryAt: now.Add(time.Second),
	}
	if o.Kind == OutcomeSent {
		o = Outcome{Kind: OutcomeSent, Sent: &Sent{RecipientJID: number, RecipientLID: lid, At: now.Truncate(time.Second)}}
	}
	return o
}

func drawReceipt(t *rapid.T) ReceiptKind {
	return rapid.SampledFrom([]ReceiptKind{ReceiptDelivered, ReceiptRead, ReceiptPlayed, "sender", "retry"}).Draw(t, "receipt")
}

func TestReceiptsEndTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom([]ReceiptKind{ReceiptDelivered, ReceiptRead, ReceiptPlayed}), 1, 6).Draw(t, "kinds")
		want := StatusDelivered
		if slices.Contains(kinds, ReceiptRead) || slices.Contains(kinds, ReceiptPlayed) {
			want = StatusRead
		}
		end := func(kinds []ReceiptKind) Status {
			m := queued()
			m.Status, m.Phase = StatusSent, PhaseNone
			had := Confirmed{}
			for _, kind := range kinds {
				had, _ = m.Receive(start, receipt(kind, number), had)
			}
			return m.Status
		}
		shuffled := rapid.Permutation(kinds).Draw(t, "shuffled")
		if got := end(append(shuffled, kinds...)); got != want {
			t.Fatalf("%v and again ends as %s, want %s", shuffled, got, want)
		}
	})
}

func TestOutcomesOfAnAttempt(t *testing.T) {
	t.Parallel()
	at := start.Add(time.Minute)
	failure := Failure{Code: CodeTimeout, Message: "no answer", Retryable: true}
	for name, test := range map[string]struct {
		attempts  int
		uncertain bool
		outcome   Outcome
		status    Status
		phase     Phase
		left      int // attempts counted afterwards
		next      time.Time
		code      Code
		events    int
	}{
		"sent":                      {1, false, Outcome{Kind: OutcomeSent, Sent: &Sent{}}, StatusSent, "", 1, time.Time{}, "", 1},
		"sent after uncertainty":    {2, true, Outcome{Kind: OutcomeSent, Sent: &Sent{}}, StatusSent, "", 2, time.Time{}, "", 1},
		"sent without its proof":    {1, false, Outcome{Kind: OutcomeSent}, StatusSent, "", 1, time.Time{}, "", 1},
		"retry":                     {1, false, Outcome{Kind: OutcomeRetry, RetryAt: at, Failure: failure}, StatusSending, PhaseBackoff, 1, at, CodeTimeout, 1},
		"the last retry":            {MaxAttempts, false, Outcome{Kind: OutcomeRetry, RetryAt: at, Failure: failure}, StatusFailed, "", MaxAttempts, time.Time{}, CodeTimeout, 1},
		"the last, on the wire":     {MaxAttempts, false, Outcome{Kind: OutcomeRetry, OnWire: true, Failure: failure}, StatusUnknown, "", MaxAttempts, time.Time{}, CodeOutcomeUnknown, 1},
		"the last, uncertain":       {MaxAttempts, true, Outcome{Kind: OutcomeRetry, Failure: failure}, StatusUnknown, "", MaxAttempts, time.Time{}, CodeOutcomeUnknown, 1},
		"wait":                      {1, false, Outcome{Kind: OutcomeWait}, StatusSending, PhaseOffline, 0, time.Time{}, "", 0},
		"wait with a reason":        {3, false, Outcome{Kind: OutcomeWait, Failure: Failure{Code: CodeSessionOffline}}, StatusSending, PhaseOffline, 2, time.Time{}, CodeSessionOffline, 0},
		"hold":                      {1, false, Outcome{Kind: OutcomeHold, RetryAt: at, Failure: Failure{Code: CodeReachOutLimited}}, StatusSending, PhaseHeld, 0, at, CodeReachOutLimited, 1},
		"permanent":                 {1, false, Outcome{Kind: OutcomePermanent, Failure: Failure{Code: CodeNotOnWhatsApp}}, StatusFailed, "", 1, time.Time{}, CodeNotOnWhatsApp, 1},
		"permanent, uncertain":      {2, true, Outcome{Kind: OutcomePermanent, Failure: Failure{Code: CodeMediaLost}}, StatusUnknown, "", 2, time.Time{}, CodeOutcomeUnknown, 1},
		"too late":                  {1, false, Outcome{Kind: OutcomePermanent, Failure: Failure{Code: CodeExpired}}, StatusExpired, "", 0, time.Time{}, CodeExpired, 1},
		"too late, yet uncertain":   {2, true, Outcome{Kind: OutcomePermanent, Failure: Failure{Code: CodeExpired}}, StatusUnknown, "", 2, time.Time{}, CodeOutcomeUnknown, 1},
		"an unknown kind of ending": {1, false, Outcome{Kind: "?", Failure: failure}, StatusFailed, "", 1, time.Time{}, CodeTimeout, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := begun(t)
			m.Attempts, m.Uncertain = test.attempts, test.uncertain
			events := m.Apply(start.Add(time.Second), "p", test.outcome)
			code := Code("")
			if m.Error != nil {
				code = m.Error.Code
			}
			if m.Status != test.status || m.Phase != test.phase || m.Attempts != test.left || !m.NextAttemptAt.Equal(test.next) ||
				code != test.code || len(events) != test.events || m.InFlight != "" {
				t.Fatalf("became %+v with error %s and history %+v", m, code, events)
			}
			if test.outcome.OnWire != m.Uncertain && !test.uncertain {
				t.Fatalf("uncertain %t", m.Uncertain)
			}
			// Recorded again, because the first success was not noticed.
			again := *m
			if events := m.Apply(start.Add(time.Hour), "p", test.outcome); len(events) > 0 || *m != again {
				t.Fatalf("recorded again it became %+v with %+v", m, events)
			}
		})
	}
}

func TestAHoldIsToldOnceForEachReason(t *testing.T) {
	t.Parallel()
	m := queued()
	now := start
	hold := func(failure Failure, want int) {
		t.Helper()
		now = now.Add(time.Minute)
		if _, err := m.Begin(now, "p"); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Minute)
		if events := m.Apply(now, "p", Outcome{Kind: OutcomeHold, RetryAt: at, Failure: failure}); len(events) != want || m.Phase != PhaseHeld || !m.NextAttemptAt.Equal(at) ||
			*m.Error != failure || m.Attempts != 0 {
			t.Errorf("held for %s: %+v, %+v with %d rows of history, want %d", failure.Message, m, m.Error, len(events), want)
		}
		now = at
	}
	capped, paused := Failure{Code: CodePaced, Message: "a cap"}, Failure{Code: CodePaced, Message: "a pause"}
	for _, step := range []struct {
		why  Failure
		want int
	}{{capped, 1}, {capped, 0}, {paused, 1}, {paused, 0}, {paused, 0}, {capped, 1}} {
		hold(step.why, step.want)
	}
}

func TestClaimWritesHistoryOnlyWhenThereIsNews(t *testing.T) {
	t.Parallel()
	m := queued()
	began := func(want int) {
		t.Helper()
		events, err := m.Begin(start, "p")
		if err != nil || len(events) != want {
			t.Fatalf("%d events, %v; want %d", len(events), err, want)
		}
		if _, err := m.Begin(start, "p"); !errors.Is(err, ErrNotDue) {
			t.Fatalf("claimed twice: %v", err)
		}
	}
	began(1) // queued -> sending
	m.Apply(start, "p", Outcome{Kind: OutcomeWait})
	began(0) // the same first attempt, begun again
	m.Apply(start, "p", Outcome{Kind: OutcomeRetry, RetryAt: start.Add(time.Second)})
	if m.Due(start) || !m.Due(start.Add(time.Second)) {
		t.Fatal("due at the wrong time")
	}
	if _, err := m.Begin(start, "p"); !errors.Is(err, ErrNotDue) {
		t.Fatalf("claimed before its time: %v", err)
	}
	m.NextAttemptAt = start
	began(1) // a second attempt
	if m.Attempts != 2 {
		t.Fatalf("%d attempts", m.Attempts)
	}
	if _, err := queued().Begin(start, ""); err == nil {
		t.Fatal("claimed by nobody")
	}
}

func TestCancelEndsOnlyWhatWasNeverClaimed(t *testing.T) {
	t.Parallel()
	for _, status := range Statuses() {
		m := queued()
		m.Status = status
		events, err := m.Cancel(start)
		switch status {
		case StatusScheduled, StatusQueued:
			if err != nil || len(events) != 1 || m.Status != StatusCanceled || m.Error.Code != CodeCanceled {
				t.Errorf("%s: %+v, %v, %v", status, m, events, err)
			}
		case StatusCanceled:
			if err != nil || len(events) != 0 {
				t.Errorf("canceling twice: %v, %v", events, err)
			}
		default:
			if !errors.Is(err, &Error{Code: CodeNotCancelable}) || m.Status != status {
				t.Errorf("%s: %v", status, err)
			}
		}
	}
}

func TestExpiryNeverClaimsThatNothingWasSent(t *testing.T) {
	t.Parallel()
	late := start.Add(time.Hour)
	m := queued()
	if m.Expire(late.Add(-1)) != nil || len(m.Expire(late)) != 1 || m.Status != StatusExpired || m.Error.Code != CodeExpired {
		t.Fatalf("%+v", m)
	}
	m = begun(t)
	if m.Expire(late) != nil {
		t.Fatal("expired in the middle of an attempt")
	}
	m.Apply(start, "p", Outcome{Kind: OutcomeRetry, OnWire: true, RetryAt: start})
	if len(m.Expire(late)) != 1 || m.Status != StatusUnknown || m.Error.Code != CodeOutcomeUnknown {
		t.Fatalf("%+v", m)
	}
	m = begun(t)
	m.Apply(start, "p", Outcome{Kind: OutcomeRetry, RetryAt: start})
	if len(m.Expire(late)) != 1 || m.Status != StatusExpired {
		t.Fatalf("%+v", m)
	}
	m = queued()
	m.ExpiresAt = time.Time{}
	if m.Expire(late) != nil {
		t.Fatal("expired without a deadline")
	}
}

func TestThirdDeathAloneConvicts(t *testing.T) {
	t.Parallel()
	m := queued()
	for death := 1; death <= MaxDeaths; death++ {
		begin := m.Begin
		if death > AloneAfter {
			if before := *m; !errors.Is(second(m.Begin(start, "p")), ErrNotAlone) || *m != before {
				t.Fatalf("claimed beside others after %d deaths: %+v", m.Deaths, m)
			}
			begin = m.BeginAlone
		}
		if _, err := begin(start, "p"); err != nil {
			t.Fatal(err)
		}
		if m.Abandon(start, "p") != nil {
			t.Fatal("taken from a process that lives")
		}
		if events := m.Abandon(start, "heir"); len(events) != 1 || m.Deaths != death || !m.Uncertain || m.InFlight != "" {
			t.Fatalf("%+v after %+v", m, events)
		}
		if again := *m; m.Abandon(start, "heir") != nil || *m != again {
			t.Fatal("died twice of one death")
		}
		if death < MaxDeaths && (m.Status != StatusSending || !m.Due(start)) {
			t.Fatalf("after death %d: %+v", death, m)
		}
	}
	if m.Status != StatusFailed || m.Error.Code != CodePoison {
		t.Fatalf("%+v", m)
	}
	for _, begin := range []func(time.Time, string) ([]Event, error){m.Begin, m.BeginAlone} {
		if _, err := begin(start, "p"); !errors.Is(err, ErrNotDue) {
			t.Fatalf("claimed after its end: %v", err)
		}
	}
}

func second(_ []Event, err error) error { return err }

// TestBystandersAreNotConvicted lets two processes claim messages as the dispatcher does, and die with any of them in hand: a
// message is convicted at its third death and no other, and it died that one alone.
func TestBystandersAreNotConvicted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		messages, deaths := make([]*Message, 5), make([]int, 5)
		for i := range messages {
			messages[i] = queued()
		}
		hands := [2][]int{}  // the messages that each process has in hand
		alone := [2]bool{}   // it has one, alone
		lives := [2]string{} // the process that dies comes back under another name
		for p := range lives {
			lives[p] = string(rune('a' + p))
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			p := rapid.IntRange(0, 1).Draw(t, "process")
			i := rapid.IntRange(0, len(messages)-1).Draw(t, "message")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				for _, i := range hands[p] {
					messages[i].Abandon(start, "heir of "+lives[p])
					deaths[i]++
					if messages[i].Status == StatusFailed && (len(hands[p]) != 1 || !alone[p]) {
						t.Fatalf("message %d is convicted of a death that %v died with it", i, hands[p])
					}
				}
				hands[p], alone[p], lives[p] = nil, false, lives[p]+"'"
			case 1:
				if slices.Contains(hands[p], i) {
					messages[i].Apply(start, lives[p], Outcome{Kind: OutcomeRetry, RetryAt: start})
					hands[p], alone[p] = slices.DeleteFunc(hands[p], func(n int) bool { return n == i }), false
				}
			default:
				if alone[p] {
					break
				}
				_, err := messages[i].Begin(start, lives[p])
				if errors.Is(err, ErrNotAlone) && len(hands[p]) == 0 {
					_, err = messages[i].BeginAlone(start, lives[p])
					alone[p] = err == nil
				}
				if err == nil {
					hands[p] = append(hands[p], i)
				}
			}
			for i, m := range messages {
				if m.Deaths != deaths[i] || (m.Error != nil && m.Error.Code == CodePoison) != (deaths[i] == MaxDeaths) {
					t.Fatalf("after %d deaths message %d is %+v", deaths[i], i, m)
				}
			}
		}
	})
}

func TestUnknownOutcomeIsLeftToTheOperator(t *testing.T) {
	t.Parallel()
	onWire := Outcome{Kind: OutcomeRetry, OnWire: true, RetryAt: start.Add(time.Minute), Failure: Failure{Code: CodeTimeout, Message: "No answer."}}
	for name, end := range map[string]func(*Message) []Event{
		"by its outcome":     func(m *Message) []Event { m.HoldUnknown = true; return m.Apply(start, "p", onWire) },
		"by a death":         func(m *Message) []Event { m.HoldUnknown = true; return m.Abandon(start, "heir") },
		"by a later setting": func(m *Message) []Event { m.Apply(start, "p", onWire); m.HoldUnknown = true; return m.Lapse(start) },
		"by a purge":         func(m *Message) []Event { m.Apply(start, "p", onWire); return m.Purge(start) },
		"by another number":  func(m *Message) []Event { m.Apply(start, "p", onWire); return m.Disown(start) },
		"by its expiry":      func(m *Message) []Event { m.Apply(start, "p", onWire); return m.Lapse(start.Add(time.Hour)) },
		"given back afterward": func(m *Message) []Event {
			m.HoldUnknown, m.Uncertain = true, true
			return m.Apply(start, "p", Outcome{Kind: OutcomeWait})
		},
	} {
		m := begun(t)
		events := end(m)
		if len(events) != 1 || m.Status != StatusUnknown || m.Error == nil || m.Error.Code != CodeOutcomeUnknown {
			t.Errorf("%s: %+v with history %+v", name, m, events)
		}
	}
	// What certainly did not arrive is tried again as ever.
	m := begun(t)
	m.HoldUnknown = true
	if m.Apply(start, "p", Outcome{Kind: OutcomeRetry, RetryAt: start}); m.Phase != PhaseBackoff || m.Lapse(start) != nil || m.Disown(start) != nil {
		t.Errorf("%+v", m)
	}
}

func TestPurgeSaysWhatIsKnown(t *testing.T) {
	t.Parallel()
	retried := begun(t)
	retried.Apply(start, "p", Outcome{Kind: OutcomeRetry, RetryAt: start.Add(time.Minute)})
	scheduled := queued()
	scheduled.Status, scheduled.Phase = StatusScheduled, PhaseSchedule
	for _, test := range []struct {
		m    *Message
		want Status
	}{{queued(), StatusCanceled}, {scheduled, StatusCanceled}, {retried, StatusFailed}} {
		if events := test.m.Purge(start); len(events) != 1 || test.m.Status != test.want || test.m.Error.Code != CodeCanceled {
			t.Errorf("want %s: %+v with history %+v", test.want, test.m, events)
		}
		if again := *test.m; test.m.Purge(start) != nil || *test.m != again {
			t.Errorf("purged twice: %+v", test.m)
		}
	}
	if m := begun(t); m.Purge(start) != nil || m.Status != StatusSending {
		t.Errorf("purged in hand: %+v", m)
	}
}

// A receipt can be faster than the record of the attempt, and the process can die in between.
func TestReceiptBeforeTheRecord(t *testing.T) {
	t.Parallel()
	outcomes := map[string]Outcome{
		"sent":   {Kind: OutcomeSent, Sent: &Sent{RecipientJID: number, RecipientLID: lid, At: start}},
		"broken": {Kind: OutcomeRetry, OnWire: true, Failure: Failure{Code: CodeDisconnected}},
	}
	for name, o := range outcomes {
		m := begun(t)
		if _, events := m.Receive(start, receipt(ReceiptDelivered, number), Confirmed{}); len(events) != 1 || m.Status != StatusDelivered {
			t.Fatalf("%s: %+v", name, m)
		}
		if events := m.Apply(start, "p", o); len(events) != 0 || m.Status != StatusDelivered || m.InFlight != "" || m.Phase != "" {
			t.Fatalf("%s: %+v", name, m)
		}
		if name == "sent" && (m.RecipientJID != number || m.RecipientLID != lid) {
			t.Fatalf("%s: the recipient's names are lost: %+v", name, m)
		}
	}
	m := begun(t)
	m.Receive(start, receipt(ReceiptDelivered, number), Confirmed{})
	if events := m.Abandon(start, "heir"); len(events) != 0 || m.Status != StatusDelivered || m.InFlight != "" || m.Deaths != 0 {
		t.Fatalf("%+v", m)
	}
}

// A slow process whose message was taken over still brings the proof; whatever else it says is void.
func TestRecordOfAProcessGivenUpForDead(t *testing.T) {
	t.Parallel()
	m := begun(t)
	m.Abandon(start, "heir")
	if before := *m; m.Apply(start, "p", Outcome{Kind: OutcomePermanent}) != nil || *m != before {
		t.Fatalf("%+v", m)
	}
	if _, err := m.Begin(start, "heir"); err != nil {
		t.Fatal(err)
	}
	if events := m.Apply(start, "p", Outcome{Kind: OutcomeSent, Sent: &Sent{At: start}}); len(events) != 1 || m.Status != StatusSent || m.InFlight != "heir" {
		t.Fatalf("%+v", m)
	}
	if events := m.Apply(start, "heir", Outcome{Kind: OutcomeRetry, RetryAt: start}); len(events) != 0 || m.Status != StatusSent || m.InFlight != "" {
		t.Fatalf("%+v", m)
	}
}

func TestReceiptsComeFromTheRecordedRecipient(t *testing.T) {
	t.Parallel()
	type names struct{ chat, sender, alt string }
	for name, test := range map[string]struct {
		change func(*Message)
		from   names
		want   Match
	}{
		"its number":                            {nil, names{number, number, ""}, MatchRecipient},
		"its LID, number known":                 {nil, names{lid, lid, number}, MatchRecipient},
		"its LID, nothing recorded yet":         {nil, names{lid, lid, ""}, MatchStranger},
		"its LID, about to be recorded":         {func(m *Message) { m.InFlight = "p" }, names{lid, lid, ""}, MatchLater},
		"its recorded LID":                      {func(m *Message) { m.RecipientJID, m.RecipientLID = number, lid }, names{lid, lid, ""}, MatchRecipient},
		"another number than recorded":          {func(m *Message) { m.RecipientJID = "1@s.whatsapp.net" }, names{number, number, ""}, MatchStranger},
		"a LID as it was asked for":             {func(m *Message) { m.To = lid }, names{lid, lid, ""}, MatchRecipient},
		"a stranger":                            {nil, names{"5@lid", "5@lid", "5@s.whatsapp.net"}, MatchStranger},
		"a stranger while in hand, names known": {func(m *Message) { m.RecipientJID, m.InFlight = number, "p" }, names{"5@lid", "5@lid", ""}, MatchStranger},
		"ourselves":                             {func(m *Message) { m.To = "4915559999999" }, names{own, own, ""}, MatchStranger},
		"ourselves by the other name":           {nil, names{number, number, own}, MatchStranger},
		"nobody":                                {nil, names{number, "", number}, MatchStranger},
		"the recipient, in a group":             {nil, names{"1-2@g.us", number, ""}, MatchStranger},
		"a member":                              {func(m *Message) { m.To = "1-2@g.us" }, names{"1-2@g.us", lid, ""}, MatchRecipient},
		"a member of another group":             {func(m *Message) { m.To = "1-2@g.us" }, names{"3-4@g.us", lid, ""}, MatchStranger},
		"ourselves in the group":                {func(m *Message) { m.To = "1-2@g.us" }, names{"1-2@g.us", own, ""}, MatchStranger},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := queued()
			m.Status, m.Phase = StatusSending, PhaseWorking
			if test.change != nil {
				test.change(m)
			}
			r := Receipt{Kind: ReceiptRead, Chat: test.from.chat, Sender: test.from.sender, SenderAlt: test.from.alt}
			if got := m.Match(r, []string{own, "999@lid"}); got != test.want {
				t.Fatalf("matched as %d, want %d", got, test.want)
			}
		})
	}
}

func TestReceiptLiftsWhatSeemedToHaveFailed(t *testing.T) {
	t.Parallel()
	for _, status := range Statuses() {
		m := queued()
		m.Status, m.FailedAt, m.Error = status, start, &Failure{Code: CodeTimeout}
		has, events := m.Receive(start, receipt(ReceiptRead, number), Confirmed{})
		switch status {
		case StatusScheduled, StatusQueued, StatusCanceled:
			if has != (Confirmed{}) || events != nil || m.Status != status {
				t.Errorf("%s became %s", status, m.Status)
			}
		case StatusRead:
			if events != nil || m.ReadCount != 1 {
				t.Errorf("%s: %+v", status, m)
			}
		default:
			at := start.Add(time.Minute)
			if len(events) != 1 || m.Status != StatusRead || m.Error != nil || !m.FailedAt.IsZero() ||
				!m.SentAt.Equal(at) || !m.DeliveredAt.Equal(at) || !m.ReadAt.Equal(at) || m.DeliveredCount != 1 || m.ReadCount != 1 {
				t.Errorf("%s became %+v", status, m)
			}
		}
	}
	// WhatsApp's clock may be behind ours: no message was delivered before it was accepted.
	m := begun(t)
	r := receipt(ReceiptDelivered, number)
	r.At = start.Add(-time.Second)
	m.Receive(start, r, Confirmed{})
	if !m.SentAt.Equal(start) || !m.DeliveredAt.Equal(start) {
		t.Fatalf("sent %v, delivered %v", m.SentAt, m.DeliveredAt)
	}
}
