package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

// SealedSecrets reads the sealed secrets of up to limit rows of a table (gateway.SecretsOf...) behind the row after, in the order of their ids. next is
// the last row that was looked at, empty at the end. Keys of files that were stored when there was no master key are among them, as they are.
func (s *Store) SealedSecrets(ctx context.Context, table, after string, limit int) (list []gateway.SealedSecret, next string, err error) {
	var query string
	var scan func(row scanner) (sealedRow, error)
	switch table {
	case gateway.SecretsOfWebhooks:
		query, scan = `SELECT id, secret, old_secret FROM webhook_endpoints WHERE id > $1 ORDER BY id LIMIT $2`, scanSealedWebhook
	case gateway.SecretsOfInbound:
		query = `SELECT id, CASE WHEN content LIKE '%"key":%' THEN content ELSE '' END FROM inbound_messages WHERE id > $1 ORDER BY id LIMIT $2`
		scan = scanSealedInbound
	default:
		return nil, "", fmt.Errorf("there are no sealed secrets in %q", table)
	}
	rows, err := s.read(ctx, query, after, limit)
	found, err := all(rows, err, scan)
	if err != nil {
		return nil, "", s.wrap("read sealed secrets", err)
	}
	for _, r := range found {
		for column, value := range r.columns {
			if len(value) > 0 {
				list = append(list, gateway.SealedSecret{Table: table, Column: column, Row: r.id, Value: value})
			}
		}
	}
	if len(found) == limit {
		next = found[limit-1].id
	}
	return list, next, nil
}

type sealedRow struct {
	id      string
	columns map[string][]byte
}

func scanSealedWebhook(row scanner) (r sealedRow, err error) {
	var secret, old []byte
	err = row.Scan(&r.id, &secret, &old)
	r.columns = map[string][]byte{"secret": secret, "old_secret": old}
	return r, err
}

func scanSealedInbound(row scanner) (r sealedRow, err error) {
	var content string
	if err := row.Scan(&r.id, &content); err != nil {
		return r, err
	}
	c, err := readInboundContent(content)
	r.columns = map[string][]byte{"content": c.key()}
	return r, err
}

// ReplaceSecrets stores secrets that were sealed anew, in one transaction, where what was sealed before still stands: who wrote there meanwhile knows
// better. It returns how many it replaced.
func (s *Store) ReplaceSecrets(ctx context.Context, list []gateway.ResealedSecret) (replaced int, err error) {
	err = s.write(ctx, "replace sealed secrets", func(t *tx) error {
		replaced = 0
		for _, r := range list {
			n, err := t.replaceSecret(r)
			if err != nil {
				return err
			}
			replaced += int(n)
		}
		return nil
	})
	return replaced, err
}

func (t *tx) replaceSecret(r gateway.ResealedSecret) (int64, error) {
	switch [2]string{r.Table, r.Column} {
	case [2]string{gateway.SecretsOfWebhooks, "secret"}:
		return t.exec(`UPDATE webhook_endpoints SET secret = $1 WHERE id = $2 AND secret = $3`, r.New, r.Row, r.Value)
	case [2]string{gateway.SecretsOfWebhooks, "old_secret"}:
		return t.exec(`UPDATE webhook_endpoints SET old_secret = $1 WHERE id = $2 AND old_secret = $3`, r.New, r.Row, r.Value)
	case [2]string{gateway.SecretsOfInbound, "content"}:
		var content string
		err := t.row(t.s.d.sql(`SELECT content FROM inbound_messages WHERE id = $1 {lock}`), r.Row).Scan(&content)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		c, err := readInboundContent(content)
		if err != nil || !bytes.Equal(c.key(), r.Value) {
			return 0, err
		}
		c.Media.Key = r.New
		written, err := json.Marshal(c)
		if err != nil {
			return 0, fmt.Errorf("write the content of an inbound message: %w", err)
		}
		return t.exec(`UPDATE inbound_messages SET content = $1 WHERE id = $2`, string(written), r.Row)
	}
	return 0, fmt.Errorf("there are no sealed secrets in %s.%s", r.Table, r.Column)
}
