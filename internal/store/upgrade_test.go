package store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/store"
	"github.com/wapro/hub/internal/testkit/services"
)

// old is a hub as some older version left it: a tenant with a key and a session, and one message in each state.
type old struct {
	version int64
	now     time.Time
	hash    [32]byte
}

// has reports whether the version had what came with another one.
func (o old) has(since int64) bool { return o.version >= since }

// fill writes the rows as that version did.
func (o old) fill(exec func(query string, args ...any)) {
	at := o.now.UnixMicro()
	later := o.now.Add(time.Hour).UnixMicro()
	exec(`INSERT INTO settings (name, value) VALUES ('mode', 'real')`)
	exec(`INSERT INTO tenants (id, name, last_seq, created_at) VALUES ('algo', 'Algo', 7, $1)`, at)
	exec(`INSERT INTO api_keys (id, tenant_key, name, scopes, hash, hash_prefix, created_at) VALUES ('key', 1, 'Shop', $4, $1, $2, $3)`, o.hash[:], o.hash[:8], at, map[bool]string{false: "send session", true: "send manage"}[o.has(25)])
	exec(`INSERT INTO idempotency (tenant_key, scope, idem_key, body_hash, lock_until, expires_at, status, header, body)
		VALUES (1, 'POST /message', 'again', $1, 0, $2, 202, '{"Location":"/x"}', $3)`, o.hash[:], later, []byte(`{"id":"sent"}`))
	exec(`INSERT INTO sessions (tenant_key, state, reason, jid, lid, since, owner, epoch, lease_until)
		VALUES (1, 'online', 'connected', '15550009999:3@s.whatsapp.net', '77@lid', $1, 'dead', 4, 1)`, at)
	exec(`INSERT INTO commands (tenant_key, kind, created_at) VALUES (1, 'connect', $1)`, at)
	message := func(seq int, id, to, status, phase, inFlight string, next, sent int64) {
		jid, sha, mime := to+"@s.whatsapp.net", "", ""
		var size int64
		if id == "sent" {
			sha, mime, size = "c0ffee", "image/png", 9
		}
		if sent == 0 {
			jid = ""
		}
		attempts := 0
		if status != "queued" {
			attempts = 1
		}
		exec(`INSERT INTO messages (id, tenant_key, seq, stanza_id, recipient, recipient_jid, recipient_lid, type, body, lane, reference, bulk_id, retry_of,
				media_mimetype, media_filename, media_size, media_sha256, media_voice, media_seconds, status, phase, attempts, next_attempt_at, uncertain, deaths,
				in_flight, error_code, error_message, error_retryable, created_at, send_at, expires_at, sent_at, delivered_at, read_at, failed_at, updated_at,
				delivered_count, read_count)
			VALUES ($1, 1, $2, $3, $4, $5, '', 'text', $6, 'normal', 'ref', '', '', $7, '', $8, $9, FALSE, 0, $10, $11, $12, $13, FALSE, 0, $14, '', '', FALSE,
				$15, 0, $16, $17, 0, 0, 0, $15, 0, 0)`,
			id, seq, "3EB0"+id, to, jid, "the text of "+id, mime, size, sha, status, phase, attempts, next, inFlight, at, later, sent)
		exec(`INSERT INTO message_events (message_id, n, status, at, detail) VALUES ($1, 1, 'queued', $2, '')`, id, at)
		if status != "queued" {
			exec(`INSERT INTO message_events (message_id, n, status, at, detail) VALUES ($1, 2, $2, $3, 'as it was')`, id, status, at)
		}
	}
	message(1, "sent", "4915550000001", "sent", "", "", 0, at)
	message(2, "inhand", "4915550000002", "sending", "working", "dead", 0, 0)
	message(3, "backing", "4915550000003", "sending", "backoff", "", 1, 0)
	message(4, "waiting", "4915550000004", "queued", "waiting", "", 0, 0)
	exec(`INSERT INTO message_receipts (message_id, member, kind, at) VALUES ('sent', '4915550000001@s.whatsapp.net', 'delivered', $1)`, at)
	if o.has(3) {
		exec(`INSERT INTO workers (id, host, pid, started_at, seen_at, live_until) VALUES ('dead', 'host', 7, $1, $1, 1)`, at)
	}
	if o.has(4) {
		exec(`INSERT INTO sent_contents (tenant_key, stanza_id, content, kept_at) VALUES (1, '3EB0sent', $1, $2)`, []byte("as sent"), at)
		exec(`INSERT INTO blobs (sha256, size, created_at, used_at) VALUES ('c0ffee', 9, 1, 1)`)
	}
	if o.has(5) {
		exec(`UPDATE tenants SET hold_unknown = TRUE, expiry_bulk = 7200`)
		exec(`UPDATE sessions SET last_number = '15550009999', restriction_kind = 'first_contacts', restriction_until = $1, restriction_count = 2`, later)
	}
	if o.has(6) {
		exec(`INSERT INTO bulks (id, tenant_key, name, status, reason, lane, retry_of, first_seq, row_count, total, invalid, max_failure_rate, judge_from,
				created_at, started_at, finished_at, touched_at)
			VALUES ('bulk', 1, 'News', 'running', '', 'bulk', '', 6, 2, 1, 1, 1, 0, $1, $1, 0, $1)`, at)
		exec(`INSERT INTO bulk_invalid (bulk_id, row_number, recipient, code) VALUES ('bulk', 2, 'nobody', 'invalid_recipient')`)
		message(6, "staged", "4915550000006", "queued", "staged", "", 0, 0)
		exec(`UPDATE messages SET lane = 'bulk', bulk_id = 'bulk' WHERE id = 'staged'`)
	}
	if o.has(8) {
		exec(`INSERT INTO opt_outs (tenant_key, recipient, source, created_at) VALUES (1, '4915550000008', 'api', $1)`, at)
	}
	if o.has(9) {
		exec(`UPDATE tenants SET pacing = '{"delayMs":1500,"quiet":{"from":1320,"to":480,"zone":"Europe/Berlin"}}'`)
		exec(`UPDATE messages SET first_contact = TRUE WHERE id = 'sent'`)
	}
	if o.has(10) {
		exec(`INSERT INTO uploads (tenant_key, sha256, kind, url, direct_path, media_key, enc_sha256, size, uploaded_at)
			VALUES (1, 'c0ffee', 'image', 'https://x', '/x', $1, $2, 9, $3)`, []byte("key"), []byte("hash"), at)
	}
	if o.has(11) {
		exec(`UPDATE bulks SET send_at = 5`)
	}
	if o.has(21) {
		exec(`INSERT INTO event_streams (tenant_key, since, heard_at, last_pos) VALUES (1, $1, $1, 41)`, at)
		exec(`INSERT INTO event_outbox (tenant_key, kind, subject, at, detail, code) VALUES (1, 'message.sent', 'sent', $1, '', '')`, at)
	}
	if o.has(22) {
		exec(`INSERT INTO webhook_endpoints (id, tenant_key, url, events, secret, old_secret, old_until, status, reason, since, created_at, failures, failing_since, rest_until)
			VALUES ('hook', 1, 'https://example.com/hub', 'message.* session.*', $1, $2, 0, 'enabled', '', $3, $3, 0, 0, 0)`, []byte("sealed"), []byte{}, at)
	}
	if o.has(23) {
		exec(`UPDATE messages SET content = '{"mentions":["4915550000002"]}' WHERE id = 'sent'`)
		exec(`INSERT INTO queries (id, tenant_key, kind, question, answer, created_at, answered_at) VALUES ('groups', 1, 'groups', '', '[]', $1, $1)`, at)
		exec(`INSERT INTO commands (tenant_key, kind, query, created_at) VALUES (1, 'query', 'groups', $1)`, at)
		exec(`INSERT INTO number_checks (tenant_key, number, jid, checked_at) VALUES (1, '4915550000001', '4915550000001@s.whatsapp.net', $1)`, at)
	}
	if o.has(24) {
		exec(`UPDATE tenants SET words = '{"stop":["Genug"]}'`)
		exec(`INSERT INTO inbound_messages (id, tenant_key, stanza_id, chat, sender, sender_alt, number, push_name, type, body, content, refers_to, refers_to_id,
				opt_out, at, received_at)
			VALUES ('received', 1, '3A01', '88@lid', '88@lid', '4915550000001@s.whatsapp.net', '4915550000001', $1, 'text', $2, '{"mentions":["1@lid"]}', '3EB0sent',
				'sent', '', $3, $3)`, []byte("Bob"), []byte("an answer"), at)
	}
}

// TestEveryOlderVersionIsUpgraded fills a database of each older version, opens it with this one, and reads and continues through the
// store what was in it.
func TestEveryOlderVersionIsUpgraded(t *testing.T) {
	t.Parallel()
	upgrade := func(t *testing.T, version int64, url string) (newest int64) {
		t.Helper()
		o := old{version: version, now: time.Now().UTC().Truncate(time.Microsecond), hash: sha256.Sum256([]byte("a key"))}
		newest, err := store.FillVersion(t.Context(), url, version, o.fill)
		if err != nil {
			t.Fatal(err)
		}
		o.check(t, open(t, url, store.Options{}))
		return newest
	}
	sqlite := func(t *testing.T) string { t.Helper(); return "sqlite://" + filepath.Join(t.TempDir(), "hub.db") }
	newest := upgrade(t, 1, sqlite(t))
	for version := int64(2); version <= newest; version++ {
		t.Run(fmt.Sprintf("sqlite %d", version), func(t *testing.T) {
			t.Parallel()
			upgrade(t, version, sqlite(t))
		})
	}
	for version := int64(1); version <= newest; version++ {
		t.Run(fmt.Sprintf("postgres %d", version), func(t *testing.T) {
			t.Parallel()
			upgrade(t, version, services.Postgres(t))
		})
	}
}

func (o old) check(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fine(s.StampMode(ctx, "real"))
	if err := s.StampMode(ctx, "sandbox"); !errors.Is(err, &gateway.Error{Code: gateway.CodeConflict}) {
		t.Errorf("the mode is forgotten: %v", err)
	}

	tenant, err := s.Tenant(ctx, "algo")
	fine(err)
	if tenant.Key != 1 || tenant.Name != "Algo" || !tenant.CreatedAt.Equal(o.now) || tenant.Settings.HoldUnknown != o.has(5) || (tenant.Settings.Expiry.Bulk == 2*time.Hour) != o.has(5) {
		t.Errorf("the tenant is %+v", tenant)
	}
	pacing := tenant.Settings.Pacing
	if o.has(9) && (pacing.Delay == nil || *pacing.Delay != 1500*time.Millisecond || pacing.Quiet == nil || pacing.Quiet.From.String() != "22:00") || !o.has(9) && pacing != (gateway.PacingChoice{}) {
		t.Errorf("the pacing is %+v", pacing)
	}
	keys, err := s.KeysByPrefix(ctx, [8]byte(o.hash[:8]))
	fine(err)
	if len(keys) != 1 || keys[0].Hash != o.hash || keys[0].TenantKey != 1 || !slices.Equal(keys[0].Scopes, []string{"send", "manage"}) || !keys[0].ExpiresAt.IsZero() {
		t.Errorf("the keys are %+v", keys)
	}
	answer, err := s.ReserveIdempotency(ctx, gateway.Idempotency{TenantKey: 1, Scope: "POST /message", Key: "again", BodyHash: o.hash, LockUntil: o.now.Add(time.Minute)})
	fine(err)
	if answer == nil || answer.Status != 202 || answer.Header["Location"] != "/x" || string(answer.Body) != `{"id":"sent"}` {
		t.Errorf("the answer that was kept is %+v", answer)
	}

	// The messages as they were.
	sent, err := s.MessageByStanza(ctx, 1, "3EB0sent")
	fine(err)
	if sent.ID != "sent" || sent.Status != gateway.StatusSent || sent.Text != "the text of sent" || sent.Media == nil || sent.Media.SHA256 != "c0ffee" ||
		!sent.SentAt.Equal(o.now) || sent.Reference != "ref" || sent.FirstContact != o.has(9) || sent.RecipientJID != "4915550000001@s.whatsapp.net" {
		t.Errorf("what was sent is %+v", sent)
	}
	events, err := s.Events(ctx, 1, "sent")
	fine(err)
	if len(events) != 2 || events[1].Detail != "as it was" {
		t.Errorf("its history is %+v", events)
	}
	content, err := s.SentContent(ctx, 1, "3EB0sent")
	fine(err)
	if (string(content) == "as sent") != o.has(4) {
		t.Errorf("it went out as %q", content)
	}
	if known, err := s.KnownContact(ctx, 1, "4915550000001", "4915550000001@s.whatsapp.net"); err != nil || !known {
		t.Errorf("who was written to is known: %t, %v", known, err)
	}
	if dropped, err := s.DropBlob(ctx, "c0ffee", o.now.Add(time.Hour), func() error { return nil }); err != nil || dropped {
		t.Errorf("the file of a message was dropped: %t, %v", dropped, err)
	}
	if u, err := s.Upload(ctx, 1, "c0ffee", "image", time.Hour); err != nil || (u != nil) != o.has(10) {
		t.Errorf("the upload is %+v, %v", u, err)
	}
	if out, err := s.OptedOut(ctx, 1, []string{"4915550000008"}); err != nil || out["4915550000008"] != o.has(8) {
		t.Errorf("opted out: %v, %v", out, err)
	}

	// What has happened, and whom to tell.
	if _, err := s.SettleEvents(ctx, 1); err != nil {
		t.Error(err)
	}
	notices, err := s.Notices(ctx, 1, 0, nil, 10)
	fine(err)
	if (len(notices) == 1 && notices[0].Pos > 42 && notices[0].Kind == "message.sent") != o.has(21) {
		t.Errorf("what has happened is %+v", notices)
	}
	hooks, err := s.Webhooks(ctx, 1)
	fine(err)
	if (len(hooks) == 1 && hooks[0].Waiting == 1 && len(hooks[0].Events) == 2) != o.has(22) {
		t.Errorf("the webhooks are %+v", hooks)
	}

	// What was asked, and received.
	if mentions := sent.Content != nil && slices.Equal(sent.Content.Mentions, []string{"4915550000002"}); mentions != o.has(23) {
		t.Errorf("the content is %+v", sent.Content)
	}
	if q, err := s.LastQuery(ctx, 1, gateway.QueryGroups, o.now.Add(-time.Second)); err != nil || (q != nil && q.Answer == "[]" && q.Code == "") != o.has(23) {
		t.Errorf("the answer about groups is %+v, %v", q, err)
	}
	known, _, err := s.NumberChecks(ctx, 1, []string{"4915550000001"}, o.now.Add(-time.Second))
	fine(err)
	if c := known["4915550000001"]; (c.OnWhatsApp && c.JID == "4915550000001@s.whatsapp.net") != o.has(23) {
		t.Errorf("known of numbers is %+v", known)
	}
	if slices.Equal(tenant.Settings.Words.StopWords(), []string{"Genug"}) != o.has(24) {
		t.Errorf("the words are %+v", tenant.Settings.Words)
	}
	received, err := s.Inbounds(ctx, 1, gateway.InboundFilter{From: "4915550000001"})
	fine(err)
	if (len(received) == 1 && received[0].Text == "an answer" && received[0].RefersToID == "sent" && len(received[0].Mentions) == 1) != o.has(24) {
		t.Errorf("received was %+v", received)
	}
	again := gateway.Inbound{
		ID: "again", TenantKey: 1, StanzaID: "3A01", Chat: "88@lid", Sender: "88@lid", Type: gateway.TypeText, Text: "an answer", At: o.now, ReceivedAt: o.now,
	}
	fine(s.ReceiveInbound(ctx, &again)) // WhatsApp delivers it again
	received, err = s.Inbounds(ctx, 1, gateway.InboundFilter{})
	fine(err)
	if len(received) != 1 || (received[0].ID == "received") != o.has(24) {
		t.Errorf("received are %+v", received)
	}

	// And they go on: the session is taken over, with what was in the hands of the old process.
	session, err := s.Session(ctx, 1)
	fine(err)
	if session.State != gateway.SessionOnline || session.JID != "15550009999:3@s.whatsapp.net" || session.QueuePaused || (session.Restriction.Count == 2) != o.has(5) {
		t.Errorf("the session is %+v", session)
	}
	fine(s.SeeWorker(ctx, gateway.Worker{ID: "new", Host: "host", PID: 8}, time.Hour))
	taken, err := s.AcquireSessions(ctx, "new", time.Hour, 10)
	fine(err)
	if len(taken) != 1 || taken[0].Epoch != 5 {
		t.Fatalf("took %+v", taken)
	}
	fence := taken[0].Fence()
	commands, err := s.TakeCommands(ctx, "new")
	fine(err)
	asked := len(commands) == 2 && commands[1].Kind == gateway.CommandQuery && commands[1].Query == "groups"
	if len(commands) == 0 || commands[0].Kind != gateway.CommandConnect || commands[0].Phone != "" || asked != o.has(23) || len(commands) > 1 && !asked {
		t.Errorf("the commands are %+v", commands)
	}
	dead, err := s.InFlightElsewhere(ctx, fence, "new", 10)
	fine(err)
	if len(dead) != 1 || dead[0].ID != "inhand" {
		t.Errorf("in the hands of the dead: %+v", dead)
	}
	due, err := s.Unfinished(ctx, 1, gateway.PriorityNormal, 10)
	fine(err)
	if len(due) != 2 || due[0].MessageID != "backing" || due[1].MessageID != "waiting" {
		t.Errorf("due are %+v", due)
	}
	claimed, err := s.Claim(ctx, fence, due[1], func(m *gateway.Message) ([]gateway.Event, error) { return m.Begin(o.now, "new") })
	fine(err)
	if claimed == nil || claimed.ID != "waiting" || claimed.InFlight != "new" {
		t.Errorf("claimed %+v", claimed)
	}
	next := message(tenant, 8)
	fine(s.Accept(ctx, []*gateway.Message{next}, nil))
	if next.Seq != 8 {
		t.Errorf("the next message is number %d", next.Seq)
	}

	bulks, err := s.OpenBulks(ctx, 1)
	fine(err)
	if !o.has(6) {
		if len(bulks) > 0 {
			t.Errorf("the bulks are %+v", bulks)
		}
		return
	}
	if len(bulks) != 1 || bulks[0].Name != "News" || bulks[0].Total != 1 || bulks[0].Invalid != 1 || bulks[0].SendAt.IsZero() == o.has(11) {
		t.Fatalf("the bulks are %+v", bulks)
	}
	invalid, err := s.BulkInvalid(ctx, "bulk", 0, 10)
	fine(err)
	if len(invalid) != 1 || invalid[0].Row != 2 {
		t.Errorf("the invalid rows are %+v", invalid)
	}
	tickets, more, err := s.ReleaseBulk(ctx, 1, "bulk", 10, 10)
	fine(err)
	if len(tickets) != 1 || tickets[0].MessageID != "staged" || more {
		t.Errorf("released %+v, more: %t", tickets, more)
	}
}
