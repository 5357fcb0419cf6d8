package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

// Receive of inbound messages. A message is stored with what follows from it, its event and an opt-out, in one transaction, before WhatsApp is told that it
// has arrived. docs/decisions/0017.

// ReceiveInbound stores a message that a tenant's number has received, once, however often it arrives, and fills in what follows from it. It is on
// disk when it returns nil. Of a tenant that is gone nothing is stored, which is no error.
func (s *Store) ReceiveInbound(ctx context.Context, m *gateway.Inbound) error {
	return s.write(ctx, "store an inbound message", func(t *tx) error {
		var words string // locked: what is added behind a deletion would keep the tenant's row for ever
		err := t.row(s.d.sql(`SELECT words FROM tenants WHERE tenant_key = $1 AND deleted_at = 0 {share}`), m.TenantKey).Scan(&words)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		own, err := readWords(words)
		if err != nil {
			return err
		}
		m.OptOut = gateway.OptOutNone
		if m.Type == gateway.TypeText && !m.IsGroup() {
			m.OptOut = own.Change(m.Text)
		}
		if m.RefersToID, err = t.inboundRefersTo(m); err != nil {
			return err
		}
		m.At, m.ReceivedAt = stored(m.At), stored(m.ReceivedAt)
		n, err := t.exec(`INSERT INTO inbound_messages (`+inboundColumns+`) VALUES (`+placeholders(1, inboundCount)+`) ON CONFLICT DO NOTHING`, inboundArgs(m)...)
		if err != nil || n == 0 {
			return err
		}
		if err := t.changeOptOut(m); err != nil {
			return err
		}
		return t.appendEvent(m.TenantKey, gateway.EventMessageReceived, m.Chat, m.ReceivedAt, gateway.InboundNotice(m))
	})
}

// inboundRefersTo finds our id of the message that m is about or answers.
func (t *tx) inboundRefersTo(m *gateway.Inbound) (id string, err error) {
	if m.RefersTo == "" {
		return "", nil
	}
	err = t.row(`SELECT id FROM messages WHERE tenant_key = $1 AND stanza_id = $2`, m.TenantKey, m.RefersTo).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.row(`SELECT id FROM inbound_messages WHERE tenant_key = $1 AND chat = $2 AND stanza_id = $3 LIMIT 1`, m.TenantKey, m.Chat, m.RefersTo).Scan(&id)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

func (t *tx) changeOptOut(m *gateway.Inbound) error {
	names := m.Names()
	for i, name := range names {
		var err error
		switch m.OptOut {
		case gateway.OptOutAdded: // what is there already learns the other name
			other := ""
			if len(names) == 2 {
				other = names[1-i]
			}
			_, err = t.exec(`INSERT INTO opt_outs (tenant_key, recipient, other, source, created_at) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (tenant_key, recipient) DO UPDATE SET other = excluded.other WHERE excluded.other <> ''`,
				m.TenantKey, name, other, gateway.OptOutByWord, micros(m.ReceivedAt))
		case gateway.OptOutEnded:
			_, err = t.removeOptOut(m.TenantKey, name)
		case gateway.OptOutNone:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Inbound reads one inbound message. CodeNotFound, also when it is another tenant's.
func (s *Store) Inbound(ctx context.Context, tenantKey int64, id string) (gateway.Inbound, error) {
	m, err := scanInbound(s.readRow(ctx, selectInbound+`WHERE id = $1 AND tenant_key = $2`, id, tenantKey))
	if errors.Is(err, sql.ErrNoRows) {
		return m, gateway.Errorf(gateway.CodeNotFound, "there is no such inbound message")
	}
	if err != nil {
		return m, s.wrap("read an inbound message", err)
	}
	return m, nil
}

// KeepInboundFetched notes that the file of an inbound message was fetched, and is what the message says. One that is gone stays gone.
func (s *Store) KeepInboundFetched(ctx context.Context, tenantKey int64, id string) error {
	return s.write(ctx, "keep that a file was fetched", func(t *tx) error {
		_, err := t.exec(`UPDATE inbound_messages SET fetched_at = $1 WHERE id = $2 AND tenant_key = $3`, micros(s.now()), id, tenantKey)
		return err
	})
}

// Inbounds lists inbound messages of a tenant, newest first.
func (s *Store) Inbounds(ctx context.Context, tenantKey int64, f gateway.InboundFilter) ([]gateway.Inbound, error) {
	where, args := strings.Builder{}, []any{tenantKey}
	where.WriteString(`WHERE tenant_key = $1`)
	add := func(condition string, value any) {
		args = append(args, value)
		where.WriteString(` AND ` + strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	switch {
	case f.From == "":
	case gateway.IsJID(f.From):
		add(`sender = ?`, f.From)
	default:
		add(`number = ?`, f.From)
	}
	if f.Chat != "" {
		add(`chat = ?`, f.Chat)
	}
	if f.Type != "" {
		add(`type = ?`, f.Type)
	}
	if !f.Since.IsZero() {
		add(`received_at >= ?`, micros(f.Since))
	}
	if !f.Till.IsZero() {
		add(`received_at < ?`, micros(f.Till))
	}
	if f.Before != "" {
		add(`id < ?`, f.Before)
	}
	if f.Limit < 1 || f.Limit > maxList {
		f.Limit = maxList
	}
	args = append(args, f.Limit)
	rows, err := s.read(ctx, selectInbound+where.String()+` ORDER BY inbound_messages.id DESC LIMIT $`+strconv.Itoa(len(args)), args...)
	list, err := all(rows, err, scanInbound)
	if err != nil {
		return nil, s.wrap("list inbound messages", err)
	}
	return list, nil
}

// inboundContent is what an inbound message holds beside its text.
type inboundContent struct {
	Media    *gateway.InboundMedia    `json:"media,omitempty"`
	Location *gateway.Location        `json:"location,omitempty"`
	Contacts []gateway.InboundContact `json:"contacts,omitempty"`
	Mentions []string                 `json:"mentions,omitempty"`
}

// key is that of the file, nil when there is none.
func (c inboundContent) key() []byte {
	if c.Media == nil {
		return nil
	}
	return c.Media.Key
}

func readInboundContent(stored string) (c inboundContent, err error) {
	if stored == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(stored), &c); err != nil {
		return c, fmt.Errorf("read the content of an inbound message: %w", err)
	}
	return c, nil
}

const (
	inboundColumns = `id, tenant_key, stanza_id, chat, sender, sender_alt, number, push_name, type, body, content, refers_to, refers_to_id, opt_out, at, received_at`
	inboundCount   = 16
	selectInbound  = `SELECT (SELECT t.id FROM tenants t WHERE t.tenant_key = inbound_messages.tenant_key), ` + inboundColumns + `, fetched_at FROM inbound_messages `
)

func inboundArgs(m *gateway.Inbound) []any {
	content := ""
	if m.Media != nil || m.Location != nil || m.Contacts != nil || m.Mentions != nil {
		written, err := json.Marshal(inboundContent{m.Media, m.Location, m.Contacts, m.Mentions})
		if err != nil {
			panic(err) // strings and numbers
		}
		content = string(written)
	}
	return []any{
		m.ID, m.TenantKey, m.StanzaID, m.Chat, m.Sender, m.SenderAlt, m.Number(), []byte(m.PushName), m.Type, []byte(m.Text), content,
		m.RefersTo, m.RefersToID, m.OptOut, micros(m.At), micros(m.ReceivedAt),
	}
}

func scanInbound(row scanner) (m gateway.Inbound, err error) {
	var number, content string
	var name, body []byte
	var at, received, fetched int64
	err = row.Scan(&m.TenantID, &m.ID, &m.TenantKey, &m.StanzaID, &m.Chat, &m.Sender, &m.SenderAlt, &number, &name, &m.Type, &body, &content,
		&m.RefersTo, &m.RefersToID, &m.OptOut, &at, &received, &fetched)
	if err != nil {
		return m, err
	}
	m.PushName, m.Text, m.At, m.ReceivedAt, m.FetchedAt = string(name), string(body), fromMicros(at), fromMicros(received), fromMicros(fetched)
	c, err := readInboundContent(content)
	if err != nil {
		return m, err
	}
	m.Media, m.Location, m.Contacts, m.Mentions = c.Media, c.Location, c.Contacts, c.Mentions
	return m, nil
}

func readWords(stored string) (*gateway.Words, error) {
	if stored == "" {
		return nil, nil
	}
	w := &gateway.Words{}
	if err := json.Unmarshal([]byte(stored), w); err != nil {
		return nil, fmt.Errorf("read the stored words: %w", err)
	}
	return w, nil
}

func writeWords(w *gateway.Words) (string, error) {
	if w == nil {
		return "", nil
	}
	written, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("write the words: %w", err)
	}
	return string(written), nil
}
