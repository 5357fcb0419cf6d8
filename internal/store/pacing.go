package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// SentTimes lists when a tenant's last messages were sent after since, oldest first, at most the newest limit of them.
func (s *Store) SentTimes(ctx context.Context, tenantKey int64, since time.Time, limit int) ([]time.Time, error) {
	return s.times(ctx, `tenant_key = $1 AND sent_at > $2 AND sent_at <> 0`, tenantKey, micros(since), limit)
}

// FirstContactTimes is SentTimes for messages to people who were never written to before. Which those are is noted while a cap asks for
// it; what was sent before the cap was switched on is looked up: the first message to its recipient.
func (s *Store) FirstContactTimes(ctx context.Context, tenantKey int64, since time.Time, limit int) ([]time.Time, error) {
	return s.times(ctx, firstContacts, tenantKey, micros(since), limit)
}

const firstContacts = `tenant_key = $1 AND sent_at > $2 AND sent_at <> 0 AND recipient NOT LIKE '%@g.us' AND (first_contact OR NOT EXISTS (
	SELECT 1 FROM messages e WHERE e.tenant_key = messages.tenant_key AND e.recipient_jid = messages.recipient_jid AND e.sent_at > 0
		AND (e.sent_at < messages.sent_at OR e.sent_at = messages.sent_at AND e.seq < messages.seq)))`

// SentTimesTo is SentTimes for messages to one recipient, as To names it, however else it was written: as a number or a JID, and in the other
// form of its number or as a LID when WhatsApp said once that they are the same.
func (s *Store) SentTimesTo(ctx context.Context, tenantKey int64, to string, since time.Time, limit int) ([]time.Time, error) {
	number, jid := spellings(to)
	return s.timesOf(ctx, sentTo, tenantKey, micros(since), limit, number, jid)
}

// Two looks into indexes: by the recipient as the tenant writes it, and by what WhatsApp says. The sum keeps Postgres from reading all of the
// tenant's last sends instead.
const sentTo = `SELECT sent_at FROM (SELECT id, sent_at FROM messages WHERE tenant_key = $1 AND recipient IN ($4, $5) AND sent_at + 0 > $2
	UNION SELECT id, sent_at FROM messages WHERE tenant_key = $1 AND recipient_jid IN ($5, (SELECT r.recipient_jid FROM messages r
		WHERE r.tenant_key = $1 AND r.recipient IN ($4, $5) AND r.sent_at > 0 AND r.recipient_jid <> '' LIMIT 1)) AND sent_at > 0 AND sent_at + 0 > $2) sent
	ORDER BY sent_at DESC LIMIT $3`

// HeldBefore counts the messages of m's tenant that are held for the same reason, until a time before within (zero: any), and are to go before
// m: those of higher lanes and the older ones of its own, but none that will have expired by then, and none of a bulk that is paused or canceled. It counts
// no more than limit.
func (s *Store) HeldBefore(ctx context.Context, m *gateway.Message, reason gateway.Failure, within time.Time, limit int) (int, error) {
	until := int64(math.MaxInt64)
	if !within.IsZero() {
		until = micros(within)
	}
	total := 0
	for _, lane := range gateway.Priorities() {
		before := m.Seq
		if lane != m.Priority {
			before = math.MaxInt64 // all of it
		}
		var n int
		if err := s.readRow(ctx, heldBefore, m.TenantKey, lane, until, before, reason.Code, reason.Message, limit-total).Scan(&n); err != nil {
			return 0, s.wrap("count what is held", err)
		}
		if total += n; total >= limit || lane == m.Priority {
			break
		}
	}
	return total, nil
}

const heldBefore = `SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE tenant_key = $1 AND lane = $2 AND phase NOT IN ('', 'schedule') AND phase = 'held'
	AND next_attempt_at < $3 AND seq < $4 AND error_code = $5 AND error_message = $6 AND (expires_at = 0 OR next_attempt_at < expires_at)
	AND bulk_id NOT IN (SELECT b.id FROM bulks b WHERE b.tenant_key = $1 AND b.finished_at = 0 AND b.status IN ('paused', 'canceled')) LIMIT $7) before`

func (s *Store) times(ctx context.Context, where string, args ...any) ([]time.Time, error) {
	return s.timesOf(ctx, `SELECT sent_at FROM messages WHERE `+where+` ORDER BY sent_at DESC LIMIT $3`, args...)
}

func (s *Store) timesOf(ctx context.Context, query string, args ...any) ([]time.Time, error) {
	rows, err := s.read(ctx, query, args...)
	list, err := all(rows, err, func(row scanner) (at time.Time, err error) {
		var us int64
		err = row.Scan(&us)
		return fromMicros(us), err
	})
	if err != nil {
		return nil, s.wrap("list when messages were sent", err)
	}
	slices.Reverse(list)
	return list, nil
}

// Pacing reads what a tenant chose of its pacing.
func (s *Store) Pacing(ctx context.Context, tenantKey int64) (gateway.PacingChoice, error) {
	var stored string
	if err := s.readRow(ctx, `SELECT pacing FROM tenants WHERE tenant_key = $1`, tenantKey).Scan(&stored); err != nil {
		return gateway.PacingChoice{}, s.wrap("read the pacing", err)
	}
	return readPacing(stored)
}

// pacing is a gateway.PacingChoice as stored.
type pacing struct {
	DelayMS            *int64      `json:"delayMs,omitempty"`
	RandomDelayMS      *int64      `json:"randomDelayMs,omitempty"`
	PerMinute          *int        `json:"perMinute,omitempty"`
	PerHour            *int        `json:"perHour,omitempty"`
	PerDay             *int        `json:"perDay,omitempty"`
	FirstContacts      *int        `json:"firstContactsPerDay,omitempty"`
	PerRecipientPerDay *int        `json:"perRecipientPerDay,omitempty"`
	Quiet              *quietHours `json:"quiet,omitempty"`
}

// quietHours without a zone are none.
type quietHours struct {
	From gateway.ClockTime `json:"from"`
	To   gateway.ClockTime `json:"to"`
	Zone string            `json:"zone"`
}

func readPacing(stored string) (c gateway.PacingChoice, err error) {
	if stored == "" {
		return c, nil
	}
	var p pacing
	if err := json.Unmarshal([]byte(stored), &p); err != nil {
		return c, fmt.Errorf("read the stored pacing: %w", err)
	}
	c = gateway.PacingChoice{
		Delay: duration(p.DelayMS), RandomDelay: duration(p.RandomDelayMS), PerMinute: p.PerMinute, PerHour: p.PerHour, PerDay: p.PerDay,
		FirstContactsPerDay: p.FirstContacts, PerRecipientPerDay: p.PerRecipientPerDay,
	}
	if q := p.Quiet; q != nil {
		c.Quiet = &gateway.QuietHours{}
		if q.Zone != "" {
			zone, err := time.LoadLocation(q.Zone)
			if err != nil {
				return c, fmt.Errorf("read the stored pacing: %w", err)
			}
			*c.Quiet = gateway.QuietHours{From: q.From, To: q.To, Zone: zone}
		}
	}
	return c, nil
}

func writePacing(c gateway.PacingChoice) (string, error) {
	if c == (gateway.PacingChoice{}) {
		return "", nil
	}
	p := pacing{
		DelayMS: milliseconds(c.Delay), RandomDelayMS: milliseconds(c.RandomDelay), PerMinute: c.PerMinute, PerHour: c.PerHour, PerDay: c.PerDay,
		FirstContacts: c.FirstContactsPerDay, PerRecipientPerDay: c.PerRecipientPerDay,
	}
	if q := c.Quiet; q != nil {
		p.Quiet = &quietHours{}
		if q.Zone != nil {
			*p.Quiet = quietHours{From: q.From, To: q.To, Zone: q.Zone.String()}
		}
	}
	stored, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("write the pacing: %w", err)
	}
	return string(stored), nil
}

func duration(ms *int64) *time.Duration {
	if ms == nil {
		return nil
	}
	d := time.Duration(*ms) * time.Millisecond
	return &d
}

func milliseconds(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}
