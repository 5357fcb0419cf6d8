package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/wapro/hub/internal/gateway"
)

const (
	maxList = 201 // messages in one page, and one more that tells whether there is another
	maxIDs  = 512 // ids asked for in one statement
)

// Message reads one message of a tenant. CodeNotFound, also when it is another tenant's.
func (s *Store) Message(ctx context.Context, tenantKey int64, id string) (gateway.Message, error) {
	return s.oneMessage(ctx, `WHERE id = $1 AND tenant_key = $2`, id, tenantKey)
}

// MessageByStanza reads the message that a tenant sent or will send under a stanza id. CodeNotFound.
func (s *Store) MessageByStanza(ctx context.Context, tenantKey int64, stanzaID string) (gateway.Message, error) {
	return s.oneMessage(ctx, `WHERE stanza_id = $1 AND tenant_key = $2`, stanzaID, tenantKey)
}

func (s *Store) oneMessage(ctx context.Context, where string, args ...any) (gateway.Message, error) {
	m, err := scanMessage(s.readRow(ctx, selectMessage+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return gateway.Message{}, noMessage()
	}
	if err != nil {
		return gateway.Message{}, s.wrap("read message", err)
	}
	return m, nil
}

func noMessage() error { return gateway.Errorf(gateway.CodeNotFound, "there is no such message") }

// Messages lists messages of a tenant, newest first, without those of a bulk that is not accepted yet. A Limit outside 1..200
// means 200.
func (s *Store) Messages(ctx context.Context, tenantKey int64, f gateway.MessageFilter) ([]gateway.Message, error) {
	var where strings.Builder
	args := []any{tenantKey}
	where.WriteString(`WHERE tenant_key = $1 AND (phase <> 'staged' OR bulk_id NOT IN ` + hiddenBulks + `)`)
	add := func(condition string, arg any) {
		args = append(args, arg)
		where.WriteString(` AND ` + strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	switch f.Status {
	case "":
	case gateway.StatusUnknown, gateway.StatusCanceled, gateway.StatusFailed, gateway.StatusExpired:
		add(`ended = ? AND ended <> ''`, f.Status) // names the partial index
	default:
		add(`status = ?`, f.Status)
	}
	if f.To != "" {
		add(`recipient = ?`, f.To)
	}
	if f.Type != "" {
		add(`type = ?`, f.Type)
	}
	if f.BulkID != "" {
		add(`bulk_id = ? AND bulk_id <> ''`, f.BulkID) // likewise
	}
	if f.Reference != "" {
		add(`reference = ? AND reference <> ''`, f.Reference)
	}
	if !f.From.IsZero() {
		add(`created_at >= ?`, micros(f.From))
	}
	if !f.Until.IsZero() {
		add(`created_at < ?`, micros(f.Until))
	}
	if f.Before > 0 {
		add(`seq < ?`, f.Before)
	}
	if f.Limit < 1 || f.Limit > maxList {
		f.Limit = maxList
	}
	args = append(args, f.Limit)
	rows, err := s.read(ctx, selectMessage+where.String()+` ORDER BY seq DESC LIMIT $`+strconv.Itoa(len(args)), args...)
	list, err := all(rows, err, scanMessage)
	if err != nil {
		return nil, s.wrap("list messages", err)
	}
	return list, nil
}

// MessagesByID reads the messages of a tenant that are among ids, in the order of ids; unknown ones are left out.
func (s *Store) MessagesByID(ctx context.Context, tenantKey int64, ids []string) ([]gateway.Message, error) {
	found := make(map[string]gateway.Message, len(ids))
	err := s.inParts(ids, func(list string, args []any) error {
		args = append(args, tenantKey)
		rows, err := s.read(ctx, selectMessage+`WHERE id IN (`+list+`) AND tenant_key = $`+strconv.Itoa(len(args)), args...)
		part, err := all(rows, err, scanMessage)
		for _, m := range part {
			found[m.ID] = m
		}
		return err
	})
	if err != nil {
		return nil, s.wrap("read messages", err)
	}
	messages := make([]gateway.Message, 0, len(found))
	for _, id := range ids {
		if m, ok := found[id]; ok {
			messages = append(messages, m)
			delete(found, id) // once, however often it was asked for
		}
	}
	return messages, nil
}

// Statuses reads the statuses of messages of any tenant; unknown ids are left out. The caller has checked whose they
// are.
func (s *Store) Statuses(ctx context.Context, ids []string) (map[string]gateway.Status, error) {
	found := make(map[string]gateway.Status, len(ids))
	err := s.inParts(ids, func(list string, args []any) error {
		rows, err := s.read(ctx, `SELECT id, status FROM messages WHERE id IN (`+list+`)`, args...)
		_, err = all(rows, err, func(row scanner) (none struct{}, err error) {
			var id string
			var status gateway.Status
			err = row.Scan(&id, &status)
			found[id] = status
			return none, err
		})
		return err
	})
	if err != nil {
		return nil, s.wrap("read statuses", err)
	}
	return found, nil
}

// inParts calls do with the placeholders and values of at most maxIDs ids at a time. Their number is rounded up to a
// power of two by repeating the last id, so that few different statements have to be prepared.
func (s *Store) inParts(ids []string, do func(list string, args []any) error) error {
	for len(ids) > 0 {
		part := ids[:min(len(ids), maxIDs)]
		ids = ids[len(part):]
		size := 1
		for size < len(part) {
			size *= 2
		}
		args := make([]any, size, size+1)
		for i := range args {
			args[i] = part[min(i, len(part)-1)]
		}
		if err := do(placeholders(1, size), args); err != nil {
			return err
		}
	}
	return nil
}

// KnownContact reports whether a message to a person was sent before, or one was received: to is how the tenant writes the recipient (Message.To),
// recipientJID the JID of a number, bare, as far as it is known. The two may be of different numbers, where a country's numbers have two forms.
func (s *Store) KnownContact(ctx context.Context, tenantKey int64, to, recipientJID string) (bool, error) {
	var n int
	number, jid := spellings(to)
	err := s.readRow(ctx, knownContact, tenantKey, recipientJID, (&gateway.Inbound{Sender: recipientJID}).Number(), number, jid).Scan(&n)
	if err != nil {
		return false, s.wrap("look up contact", err)
	}
	return n > 0, nil
}

const (
	knownContact = `SELECT (SELECT COUNT(*) FROM (` + sentToJID + `) known) + (SELECT COUNT(*) FROM (` + sentToName + `) named)
		+ (SELECT COUNT(*) FROM (SELECT 1 FROM inbound_messages WHERE tenant_key = $1 AND number = $3 AND number <> '' LIMIT 1) wrote)`
	sentToJID  = `SELECT 1 FROM messages WHERE tenant_key = $1 AND recipient_jid = $2 AND sent_at > 0 LIMIT 1`
	sentToName = `SELECT 1 FROM messages WHERE tenant_key = $1 AND recipient IN ($4, $5) AND sent_at > 0 LIMIT 1`
)

// spellings are the two ways of writing the number to as a recipient.
func spellings(to string) (number, jid string) {
	number = strings.TrimSuffix(to, "@"+gateway.ServerUser)
	return number, gateway.UserJID(number)
}
